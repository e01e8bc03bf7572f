"""Workers of private persons: DeepLX translations, and pictures drawn through a chat."""

import base64
from datetime import UTC, datetime

import orjson
import pytest
from hypothesis import given
from hypothesis import strategies as st

from pipeline.dialects import DeepLX, ImageWorker, Link, Refusals
from pipeline.errors import (
    AttemptError,
    InvalidRequest,
    RateLimited,
    ResponseTruncated,
    ServerFault,
    Unauthorized,
    UnreadableAnswer,
)
from pipeline.records import Form, Media, Raw
from pipeline.wire import HttpResponse

JSON = "application/json"
PNG = b"\x89PNG\r\n\x1a\nrest"


def refusals(base):
    return Refusals(base_url=base, api_key_env=None, now=lambda: datetime(2026, 11, 23, tzinfo=UTC))


def deeplx(base="https://d.example.com"):
    return DeepLX(base_url=base, refusals=refusals(base))


def images(base="https://i.example.com"):
    return ImageWorker(base_url=base, model="flux", refusals=refusals(base))


def response(body, status=200, kind=JSON):
    raw = body if isinstance(body, bytes) else orjson.dumps(body)
    return HttpResponse(status, {"content-type": kind}, raw, 4.0)


# -- DeepLX -------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("base", ["https://d.example.com", "https://d.example.com/translate"])
def test_a_text_to_translate(base):
    request = deeplx(base).encode({"text": "Hallo", "source_lang": "de", "target_lang": "en", "more": 1})
    assert request.url == "https://d.example.com/translate"
    assert orjson.loads(request.body) == {"text": "Hallo", "source_lang": "de", "target_lang": "en"}
    assert request.headers == {"content-type": JSON}


def test_a_source_that_is_not_named_is_found_by_the_server():
    request = deeplx().encode({"text": "Hallo", "target_lang": "en"})
    assert orjson.loads(request.body)["source_lang"] == "auto"


@pytest.mark.parametrize(
    "payload", [{}, {"text": ["a"], "target_lang": "en"}, {"text": "a"}, Raw(b"", ""), {"text": "a", "target_lang": ""}]
)
def test_what_deeplx_cannot_translate(payload):
    with pytest.raises(ValueError, match="DeepLX"):
        deeplx().encode(payload)


def test_a_translation():
    body = {"code": 200, "data": "Hello", "alternatives": ["Hi"], "source_lang": "DE", "target_lang": "EN"}
    answer = deeplx().decode(response(body))
    assert answer.result == {"translated_text": "Hello"}
    assert answer.latency_ms == 4.0
    assert deeplx().decode(response({"data": "Hello"})).result == {"translated_text": "Hello"}


@pytest.mark.parametrize(
    ("status", "body", "kind", "words"),
    [
        (200, {"code": 429, "message": "too many requests"}, RateLimited, "too many requests"),
        (200, {"code": 403, "data": None, "msg": "password error"}, Unauthorized, "password error"),
        (200, {"code": 500, "message": "m"}, ServerFault, "m"),
        (200, {"code": 404, "message": "no target"}, AttemptError, "no target"),
        (401, b"Unauthorized", Unauthorized, "HTTP 401"),
        (429, {"code": 429, "message": "blocked"}, RateLimited, "blocked"),
        (503, b"<html>", AttemptError, "HTTP 503"),
        (400, {"error": "bad lang"}, InvalidRequest, "bad lang"),
        (200, b"<html>", UnreadableAnswer, "not JSON"),
        (200, b'{"code": 200, "da', ResponseTruncated, "breaks off"),
        (200, {"code": 200, "data": ""}, UnreadableAnswer, "no translation"),
        (200, {"code": 200, "data": None}, UnreadableAnswer, "no translation"),
        (200, {"code": 200, "data": ["a"]}, UnreadableAnswer, "no translation"),
        (200, {"code": 200}, UnreadableAnswer, "no translation"),
        (200, [], UnreadableAnswer, "no translation"),
        (200, None, UnreadableAnswer, "no translation"),
    ],
)
def test_what_deeplx_says_instead(status, body, kind, words):
    with pytest.raises(kind, match=words):
        deeplx().decode(response(body, status))


# -- pictures -----------------------------------------------------------------------------------------------------


def chat(content):
    return {"choices": [{"message": {"role": "assistant", "content": content}}]}


@pytest.mark.parametrize(
    "base",
    ["https://i.example.com", "https://i.example.com/v1", "https://i.example.com/v1/chat/completions"],
)
def test_a_prompt_goes_out_as_a_chat(base):
    request = images(base).encode({"prompt": "a cat 16:9", "steps": 4})
    assert request.url == "https://i.example.com/v1/chat/completions"
    assert orjson.loads(request.body) == {
        "model": "flux",
        "messages": [{"role": "user", "content": "a cat 16:9"}],
        "stream": False,
        "steps": 4,
    }


@pytest.mark.parametrize("payload", [{}, {"prompt": 5}, Form(()), Raw(b"", "")])
def test_without_a_prompt_nothing_leaves(payload):
    with pytest.raises(ValueError, match="prompt"):
        images().encode(payload)


FLUX = (
    "🎨 Original Prompt: a cat see https://docs.example.com/prompts\n📐 Image Specifications: 1024x1024\n"
    "Here is the result:\n\n![Generated Image](https://i.example.com/image/image_1_ab)"
)


@pytest.mark.parametrize(
    ("content", "url"),
    [
        (FLUX, "https://i.example.com/image/image_1_ab"),
        ('![x](https://cdn.example.com/a.png "title")', "https://cdn.example.com/a.png"),
        ("![](<https://cdn.example.com/a b.png>)", None),
        ("Here: https://cdn.example.com/a.png.", "https://cdn.example.com/a.png"),
        ("<https://cdn.example.com/ü.png>", "https://cdn.example.com/%C3%BC.png"),
        ("https://cdn.example.com/a%20b.png?x=1&y=2", "https://cdn.example.com/a%20b.png?x=1&y=2"),
    ],
)
def test_a_link_is_found_in_the_answer(content, url):
    if url is None:
        content = content.replace(" b", "")
        url = "https://cdn.example.com/a.png"
    assert images().decode(response(chat(content))).result == Link(url)


def test_a_picture_in_the_answer_itself():
    coded = base64.b64encode(PNG).decode()
    for content in (f"![x](data:image/png;base64,{coded})", f"data:image/webp;base64,{coded}"):
        assert images().decode(response(chat(content))).result == Media(PNG, "image/png")
    assert images().decode(response({"data": [{"b64_json": coded}]})).result == Media(PNG, "image/png")
    assert images().decode(response({"data": [{"url": "https://c.example.com/x"}]})).result == Link(
        "https://c.example.com/x"
    )
    assert images().decode(response(PNG, kind="image/png")).result == Media(PNG, "image/png")


@pytest.mark.parametrize(
    "content",
    [
        "",
        "I cannot draw that.",
        None,
        5,
        [],
        "![x](ftp://a.example.com/x)",
        "![x](http://cdn.example.com/x.png)",
        "![x](https://127.0.0.1/x)",
        "![x](https://localhost/x)",
        "![x](https://169.254.169.254/latest/meta-data)",
        "![x](https://10.0.0.1/x)",
        "![x](https://[::1]/x)",
        "![x](https://router.local/x)",
        "![x](https://user:pw@cdn.example.com/x)",
        "![x](https://cdn.example.com:port/x)",
        "![x](file:///etc/passwd)",
        "![x](javascript:alert(1))",
        "data:image/png;base64,",
        "data:image/png;base64,A",
        "data:text/html;base64,PGh0bWw+",
        "data:image/svg+xml;base64,PHN2Zz4=",
        "https://" + "a" * 5000,
    ],
)
def test_an_answer_without_a_picture_or_with_an_address_that_may_not_be_asked(content):
    """A hostile answer must not make us look around in our own network."""
    with pytest.raises(UnreadableAnswer) as caught:
        images().decode(response(chat(content)))
    assert caught.value.http_status == 200
    assert len(str(caught.value)) < 300


def test_a_worker_on_this_machine_may_name_addresses_on_it():
    found = images("http://127.0.0.1:8080").decode(response(chat("![x](http://127.0.0.1:8080/image/1)")))
    assert found.result == Link("http://127.0.0.1:8080/image/1")


@pytest.mark.parametrize(
    ("status", "body", "kind"),
    [
        (401, b"Unauthorized", Unauthorized),
        (500, {"error": "Internal Server Error: x"}, ServerFault),
        (200, {"error": "Internal Server Error: x"}, ServerFault),
        (400, {"error": "no user message"}, InvalidRequest),
        (200, {"choices": []}, UnreadableAnswer),
        (200, b"<html>", UnreadableAnswer),
        (200, {"data": [{}]}, UnreadableAnswer),
    ],
)
def test_what_an_image_worker_says_instead(status, body, kind):
    with pytest.raises(kind):
        images().decode(response(body, status))


@pytest.mark.parametrize(
    ("content", "told", "mime"),
    [
        (PNG, "application/octet-stream", "image/png"),
        (b"\xff\xd8\xff\xe0x", "image/png", "image/jpeg"),
        (b"RIFF....WEBPx", "", "image/webp"),
        (b"unknown", "image/avif", "image/avif"),
    ],
)
def test_a_fetched_picture_is_judged_by_its_first_bytes(content, told, mime):
    assert images().picture(response(content, kind=told)) == Media(content, mime)


@pytest.mark.parametrize(
    ("status", "content", "told"),
    [
        (200, b"<html>", "text/html"),
        (200, b"", "image/png"),
        (200, b"<svg onload=x>", "image/svg+xml"),
        (404, b"Image not found", "text/plain"),
        (302, b"", "image/png"),
        (500, PNG, "image/png"),
    ],
)
def test_an_address_that_gives_no_picture_fails_the_record_alone(status, content, told):
    """The run goes on: a picture that is gone says nothing of the server's key or address."""
    with pytest.raises(UnreadableAnswer, match="picture"):
        images().picture(response(content, status, told))


@given(st.text(max_size=300))
def test_no_text_makes_anything_but_a_picture_or_a_typed_failure(content):
    try:
        answer = images().decode(response(chat(content)))
    except UnreadableAnswer:
        return
    assert isinstance(answer.result, Link | Media)


def test_a_long_hostile_text_is_searched_quickly():
    """No expression runs away on what is almost a link."""
    for content in ("![" * 200_000, "![x](" * 200_000, "data:image/" * 200_000, "https://" * 200_000):
        with pytest.raises(UnreadableAnswer):
            images().decode(response(chat(content)))

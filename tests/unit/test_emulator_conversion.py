"""Simulated conversion: a result for each file, errors among them."""

import json

import pytest

from pipeline.emulator.config import EmulatorConfig
from pipeline.emulator.refusals import Refusal
from pipeline.emulator.tasks import CONVERTER, CONVERTING
from pipeline.emulator.tasks.base import FormFields, Upload
from tests.support.drawing import picture


def converted(*files, **fields):
    uploads = [Upload(content, "", name) for name, content in files]
    body = FormFields(files=uploads[0] if len(uploads) == 1 else uploads, **fields)
    return CONVERTING(CONVERTER, body, EmulatorConfig()).output


@pytest.mark.parametrize(
    ("name", "content", "text"),
    [
        (
            "a.html",
            b"<head><title>no</title></head><h1>One</h1><p>Two &amp; <b>three</b></p>",
            "# One\n\nTwo & three\n",
        ),
        ("a.csv", b"x,y\n1,2\n", "| x | y |\n| --- | --- |\n| 1 | 2 |\n"),
        ("a.txt", "grüß dich".encode(), "grüß dich"),
        ("a.xml", b"<a>one<b>two</b></a>", "one two"),
        ("a.png", picture(7, 5), "[simulated] A picture of 7 x 5 pixels.\n"),
    ],
)
def test_a_file_becomes_text(name, content, text):
    (result,) = converted((name, content))
    assert result["data"] == text
    assert (result["name"], result["format"]) == (name, "markdown")
    assert result["tokens"] > 0


def test_the_shown_text_of_a_plain_pdf():
    (result,) = converted(("a.pdf", b"%PDF-1.4 (Hello) Tj T* (World) Tj"))
    assert result["data"].startswith("# a.pdf\n")
    assert "[simulated]\nHello\nWorld" in result["data"]


def test_what_cannot_be_converted_is_an_error_beside_the_others():
    """Under one answer."""
    results = converted(("a.txt", b"fine"), ("b.pdf", b"no"), ("c.zip", b"PK"), ("d.png", b"no"), ("e.txt", b"\xff"))
    assert [result["format"] for result in results] == ["markdown", "error", "error", "error", "error"]
    assert all(result["error"] for result in results[1:])


def test_options_are_read():
    options = json.dumps({"output": {"format": "text"}})
    assert converted(("a.txt", b"fine"), conversionOptions=options)[0]["format"] == "text"
    for wrong in ("{", "[]", '{"docx": {}}'):
        with pytest.raises(Refusal):
            converted(("a.txt", b"fine"), conversionOptions=wrong)


@pytest.mark.parametrize("body", [{}, FormFields(), FormFields(files="text"), {"files": "x"}])
def test_a_form_with_files_is_wanted(body):
    with pytest.raises(Refusal):
        CONVERTING(CONVERTER, body, EmulatorConfig())

"""`generate`: what is said for a record. Conversations, system texts with columns, images."""

import base64
from dataclasses import replace

import orjson
import pytest

from pipeline.catalog import Catalog, resolve_model
from pipeline.errors import PlanError, RecordUnusable
from pipeline.records import Record, Request, digest
from pipeline.rows import outline_of
from pipeline.schemas import check_input
from pipeline.tasks.asking import Said
from pipeline.tasks.asking import repair as repair_of
from pipeline.tasks.base import TaskContext
from pipeline.tasks.conversation import Prompts
from pipeline.tasks.vision import MOST_BYTES, image_tokens
from pipeline.template import TextTemplate
from tests.support.chatting import NEW, generate
from tests.support.fakes import record

# -- conversations ----------------------------------------------------------------------------------------------

TALK = [
    {"role": "user", "content": "Hi"},
    {"role": "assistant", "content": "Hello"},
    {"role": "user", "content": "How are you?"},
]


def of(adapter, **fields):
    given = Record(0, "r0", "s", 0, fields)
    (piece,) = adapter.pieces(given)
    assert adapter.outline(given) == outline_of([piece])
    return adapter.payload(Request((piece,))), piece


@pytest.mark.parametrize("column", [TALK, orjson.dumps(TALK).decode(), [{**message, "name": None} for message in TALK]])
def test_a_conversation_is_sent_as_it_is(column):
    """A list, its JSON text in a table of texts, or structs of Parquet with empty members."""
    payload, piece = of(generate(messages_column="talk"), talk=column, text="not this")
    assert payload["messages"] == TALK
    with_system, more = of(generate(messages_column="talk", system="Be brief."), talk=column)
    assert with_system["messages"] == [{"role": "system", "content": "Be brief."}, *TALK]
    assert more.ceiling > piece.ceiling
    own = [{"role": "system", "content": "My own."}, *TALK]
    assert of(generate(messages_column="talk", system="Be brief."), talk=own)[0]["messages"] == own


@pytest.mark.parametrize(
    ("talk", "why"),
    [
        (None, "should hold a list of messages"),
        ([], "should hold a list of messages"),
        (5, "should hold a list of messages"),
        ("Hello there", "is no JSON"),
        ([{"role": "user", "content": "x"}, "y"], 'message 2 of column "talk" is no object'),
        ([{"role": "bot", "content": "x"}], r"role of message 1 .* one of system, user, assistant, not 'bot'"),
        ([{"content": "x"}], "role of message 1"),
        ([{"role": ["user"], "content": "x"}], "role of message 1"),
        ([{"role": "user", "content": " "}], "content of message 1"),
        ([{"role": "user", "content": [{"type": "text"}]}], "content of message 1"),
        ([{"role": "user", "content": "\ud800"}], "half a surrogate pair"),
        ([{"role": "user", "content": "x", "tool_calls": []}], "'tool_calls', which is not sent"),
        (TALK[:2], "the last message .* is by assistant"),
    ],
)
def test_a_conversation_that_cannot_be_sent_says_which_message_is_at_fault(talk, why):
    """A failure row names the record; the reason names the message."""
    adapter = generate(messages_column="talk")
    for work in (adapter.pieces, adapter.outline, adapter.sent):
        with pytest.raises(RecordUnusable, match=why):
            work(record(0, talk=talk))
    with pytest.raises(RecordUnusable, match='no column "talk"'):
        adapter.pieces(record(0))


def test_a_system_text_may_name_columns():
    """It then belongs to what is sent for the record: another language is another request."""
    adapter = generate(system="You answer in {lang}. {{ok}}")
    english, one = of(adapter, text="hello", lang="English")
    german, two = of(adapter, text="hello", lang="German")
    assert english["messages"][0]["content"] == "You answer in English. {ok}"
    assert german["messages"][0]["content"] == "You answer in German. {ok}"
    assert one.payload_key != two.payload_key
    fixed = generate(system="Be brief.")
    assert of(fixed, text="hello")[1].payload_key == digest(b"hello")
    assert adapter.uses() == [("params.system", ("lang",)), ("input.text", ("text",))]
    with pytest.raises(RecordUnusable, match=r'params\.system: there is no column "lang"'):
        adapter.pieces(record(0, "hello"))


def test_a_prompt_may_stand_in_the_parameters():
    """A text for all, or a template."""
    payload, _ = of(generate(prompt="What is {this}?"), this="love")
    assert payload["messages"] == [{"role": "user", "content": "What is love?"}]
    assert generate(prompt="What is {this}?").uses() == [("params.prompt", ("this",))]
    assert generate(messages_column="m", system="{s}").uses() == [
        ("params.system", ("s",)),
        ("params.messages_column", ("m",)),
    ]


def test_what_was_sent_is_shown_to_people():
    """Column `input` and `wai explain`: the prompt, or the whole conversation."""
    assert generate(system="x").sent(record(0, "hello")) == "hello"
    shown = generate(messages_column="talk").sent(record(0, talk=TALK))
    assert shown == "user: Hi\nassistant: Hello\nuser: How are you?"


@pytest.mark.parametrize(
    ("params", "key", "why"),
    [
        ({"system": "{a"}, "params.system", r"\{\{"),
        ({"system": '{"a": 1}'}, "params.system", r"write \{\{ and \}\}"),
        ({"system": " "}, "params.system", "text"),
        ({"prompt": "{}"}, "params.prompt", "placeholder"),
        ({"messages_column": 5}, "params.messages_column", "name of a column"),
        ({"messages_column": "m", "prompt": "x"}, "params.prompt", "remove one"),
        ({"image_column": "path"}, "params.image_column", "does not take images; models that do: .*@cf/google/gemma-4"),
        ({"retry_truncated": 0}, "params.retry_truncated", "number of times"),
        ({"retry_truncated": "yes"}, "params.retry_truncated", "number of times"),
        ({"keep_reasoning": "yes"}, "params.keep_reasoning", "true or false"),
        ({"reasoning": {"effort": "low"}}, "params.reasoning", "takes no effort"),
        ({"reasoning": "low"}, "params.reasoning", "effort: low"),
    ],
)
def test_parameters_of_ours_that_make_no_sense_are_refused(params, key, why):
    """Before anything is sent, with the key."""
    with pytest.raises(PlanError, match=why) as caught:
        generate(**params)
    assert caught.value.key == key


def test_a_model_of_which_nobody_knows_how_it_takes_images_is_refused():
    """Its page says that it sees; its schema is not published."""
    model = replace(resolve_model("generate", NEW), name="@cf/swiss-ai/apertus-v1.5-8b", vision=True)
    context = TaskContext(model, {"image_column": "path"}, TextTemplate.parse("text"), frozenset())
    with pytest.raises(PlanError, match="is said to see, but how it takes an image is not published; models") as caught:
        Prompts(context)
    assert caught.value.key == "params.image_column"
    assert "apertus" not in str(caught.value).partition(";")[2]


# -- images -----------------------------------------------------------------------------------------------------

IMAGES = {
    "a.png": (b"\x89PNG\r\n\x1a\n and so on", "image/png"),
    "b.jpg": (b"\xff\xd8\xff\xe0 and so on", "image/jpeg"),
    "c.webp": (b"RIFF1234WEBPVP8 and so on", "image/webp"),
    "d.gif": (b"GIF89a and so on", "image/gif"),
}
VISION = [model.name for model in Catalog.load().models("generate") if model.vision and model.prices]


@pytest.mark.parametrize("model", VISION)
@pytest.mark.parametrize("name", IMAGES)
def test_an_image_goes_with_the_prompt_in_the_form_the_model_takes(model, name, tmp_path):
    """A part of the message, or the field `image`; a data URI with the file's own type in either."""
    content, mime = IMAGES[name]
    (tmp_path / name).write_bytes(content)
    uri = f"data:{mime};base64,{base64.b64encode(content).decode()}"
    adapter = generate(model, image_column="file", system="Look.")
    plain = generate(model, system="Look.")
    given = Record(0, "r0", str(tmp_path / "table.csv"), 0, {"text": "What is it?", "file": name})
    (piece,) = adapter.pieces(given)
    assert adapter.outline(given) == outline_of([piece])
    payload = adapter.payload(Request((piece,)))
    assert check_input(model, payload, "text-generation") == []
    if "image" in payload:
        assert (payload["image"], payload["messages"][1]["content"]) == (uri, "What is it?")
        assert model == "@cf/meta/llama-3.2-11b-vision-instruct"
    else:
        assert payload["messages"][1]["content"] == [
            {"type": "text", "text": "What is it?"},
            {"type": "image_url", "image_url": {"url": uri}},
        ]
    assert adapter.is_heavy
    assert not plain.is_heavy
    (without,) = plain.pieces(given)
    extra = image_tokens(model) * resolve_model("generate", model).input_per_m_tokens / 1e6
    assert piece.ceiling - without.ceiling == pytest.approx(extra)
    assert piece.expected <= piece.ceiling
    assert piece.payload_key != without.payload_key
    assert adapter.sent(given).endswith(f"(image: {tmp_path / name})")
    repair = adapter.payload(Request((replace(piece, content=asked_again(piece.content)),)))
    assert str(repair).count(uri) == 1


def asked_again(asking):
    return repair_of(asking, Said(values={}, text="bad", is_cut=False, problem="no JSON"))


def test_image_files_are_records(tmp_path):
    """With `input.format: images` the only column is the path; what is asked stands in the parameters."""
    path = tmp_path / "a.png"
    path.write_bytes(IMAGES["a.png"][0])
    given = Record(0, str(path), str(path), 0, {"path": str(path)})
    adapter = generate(NEW, image_column="path", prompt="What is it?")
    assert adapter.uses() == [("params.image_column", ("path",))]
    (piece,) = adapter.pieces(given)
    assert adapter.payload(Request((piece,)))["messages"][0]["content"][0]["text"] == "What is it?"
    with pytest.raises(RecordUnusable, match=r"set params\.image_column: path"):
        generate(NEW).pieces(given)
    path.write_bytes(b"\x89PNG\r\n\x1a\n another")
    with pytest.raises(RecordUnusable, match="has changed"):
        adapter.payload(Request((piece,)))
    assert adapter.pieces(given)[0].payload_key != piece.payload_key


@pytest.mark.parametrize(
    ("content", "fields", "why"),
    [
        (b"BM bitmap", {"file": "x"}, "no PNG, JPEG, WebP or GIF"),
        (b"", {"file": "x"}, "is empty"),
        (b"\xff\xd8\xff" + bytes(MOST_BYTES), {"file": "x"}, "larger than 7.5 MB"),
        (b"x", {"file": "y"}, "no file y"),
        (b"x", {"file": None}, 'column "file", but it is empty'),
        (b"x", {"file": 5}, 'column "file", but it is empty'),
        (b"x", {}, 'there is no column "file"'),
    ],
)
def test_what_is_no_image_fails_its_record_alone(content, fields, why, tmp_path):
    """Before anything is sent."""
    (tmp_path / "x").write_bytes(content)
    given = Record(0, "r0", str(tmp_path / "table.csv"), 0, {"text": "What is it?", **fields})
    with pytest.raises(RecordUnusable, match=why):
        generate(NEW, image_column="file").pieces(given)

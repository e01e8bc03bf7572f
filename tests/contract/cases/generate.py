"""The task `generate` as the contract suite tries it."""

import base64

import orjson
from hypothesis import strategies as st

from pipeline.emulator.tasks.chat_images import IMAGE_TOKENS
from pipeline.emulator.tokens import chat_tokens
from pipeline.schemas import takes_images
from tests.contract.cases.base import TaskCase
from tests.contract.cases.texts import TEXTS, most_tokens

SCHEMA = {
    "type": "object",
    "properties": {
        "label": {"type": "string"},
        "score": {"type": "number"},
        "tags": {"type": "array"},
        "where": {"type": "object", "properties": {"x": {"type": "integer"}}},
    },
    "required": ["label"],
}
PARAMS = [
    {},
    {"max_tokens": 7, "system": "Be brief. 短く。"},
    {"json_schema": SCHEMA, "max_tokens": 64},
    {"system": "You answer in {lang}.", "prompt": "{lang}: {text}", "keep_reasoning": True},
    {"messages_column": "talk", "retry_truncated": 2, "max_tokens": 9},
    {"image_column": "image", "system": "Look closely."},
]
NARROW = {"@cf/meta/llama-guard-3-8b"}
"""Takes no system message and no JSON schema."""

_PIXEL = base64.b64decode(
    "iVBORw0KGgoAAAANSUhEUgAAAAEAAAABCAYAAAAfFcSJAAAADUlEQVR42mNk+M9QDwADhgGAWjR9awAAAABJRU5ErkJggg=="
)
_TURNS = st.lists(st.tuples(st.sampled_from(["user", "assistant"]), TEXTS), max_size=3)


def records(folder):
    """A text and all that the parameters name besides."""
    image = folder / "pixel.png"
    image.write_bytes(_PIXEL)
    talks = st.builds(
        lambda turns, last: [{"role": role, "content": text} for role, text in (*turns, ("user", last))], _TURNS, TEXTS
    )
    return st.fixed_dictionaries({"text": TEXTS, "lang": TEXTS, "talk": talks, "image": st.just(str(image))})


def takes(model, params):
    """Images need eyes and a schema that knows of them, and one model takes nothing but a conversation."""
    if "image_column" in params:
        return takes_images(model)
    return model.name not in NARROW or not (params.keys() & {"system", "json_schema"})


def answers(request, payload, model):
    """The older shape, a chat completion, and gpt-oss in the Responses form with its text in either place."""
    is_json = "response_format" in payload or "JSON Schema" in str(payload["messages"][0]["content"])
    said = {"label": "fine", "where": {"x": 1}} if is_json else "Hi"
    text = orjson.dumps(said).decode() if is_json else said
    message = {"role": "assistant", "content": text, "reasoning_content": None, "tool_calls": []}
    thoughts = {"type": "reasoning", "content": [{"type": "reasoning_text", "text": "hm"}]}
    return [
        {"response": said, "usage": {}},
        {"response": text, "tool_calls": []},
        {
            "id": "x",
            "object": "chat.completion",
            "choices": [{"index": 0, "message": message, "finish_reason": "stop"}],
        },
        {"choices": [{"message": {**message, "reasoning_content": "hm"}, "finish_reason": "length"}]},
        {
            "output": [thoughts, {"type": "message", "content": [{"type": "output_text", "text": text}]}],
            "status": "completed",
        },
        {"output_text": text, "output": []},
    ]


def charge(model, params, request, payload):
    """Tokens of all that is said, and of images, and an answer as long as allowed."""
    texts, n_images = [], int("image" in payload)
    for message in payload["messages"]:
        content = message["content"]
        parts = [{"text": content}] if isinstance(content, str) else content
        texts.append("".join(part.get("text", "") for part in parts))
        n_images += sum("image_url" in part for part in parts)
    cap = payload.get("max_tokens", payload.get("max_completion_tokens"))
    if not request.pieces[0].stage:
        assert cap == params.get("max_tokens", 256)
    said = most_tokens(chat_tokens, texts) + n_images * IMAGE_TOKENS
    return (said * model.input_per_m_tokens + cap * (model.output_per_m_tokens or 0.0)) / 1e6


CASE = TaskCase(
    task="generate",
    columns=[
        ("response", "string"),
        ("finish_reason", "string"),
        ("prompt_tokens", "int64"),
        ("completion_tokens", "int64"),
    ],
    params=PARAMS,
    records=records,
    answers=answers,
    charge=charge,
    takes=takes,
)

import copy
import random

import jsonschema_rs
import orjson
import pytest
from hypothesis import given
from hypothesis import strategies as st

from pipeline.emulator.config import EmulatorConfig
from pipeline.emulator.models import find_model, models, output_fields, published_schema
from pipeline.emulator.refusals import Refusal
from pipeline.emulator.tasks.chat_images import IMAGE_TOKENS
from pipeline.emulator.tasks.generation import run, run_openai
from pipeline.emulator.tasks.samples import Sampler
from pipeline.emulator.tokens import count_tokens

CONFIG = EmulatorConfig()
OLD = "@cf/meta/llama-3.2-1b-instruct"
NEW = "@cf/google/gemma-4-26b-a4b-it"
OSS = "@cf/openai/gpt-oss-120b"
CHATS = [m.name for m in models().values() if m.task == "text-generation" and not m.deprecated]
ASK = [{"role": "user", "content": "Name three rivers of Europe"}]
SCHEMA = {
    "type": "object",
    "properties": {
        "label": {"type": "string", "enum": ["good", "bad"]},
        "score": {"type": "number", "minimum": 0, "maximum": 1},
        "count": {"type": "integer", "exclusiveMinimum": 2, "maximum": 4},
        "sure": {"type": "boolean"},
        "tags": {"type": "array", "items": {"type": "string", "maxLength": 12}, "minItems": 2},
        "note": {"type": ["string", "null"]},
        "nested": {"$ref": "#/$defs/point"},
    },
    "required": ["label", "score", "count", "sure", "tags", "note", "nested"],
    "additionalProperties": False,
    "$defs": {
        "point": {
            "type": "object",
            "properties": {"x": {"anyOf": [{"type": "integer"}, {"type": "null"}]}},
            "required": ["x"],
            "additionalProperties": False,
        }
    },
}


def chat(name, **body):
    return run(find_model(name), {"messages": copy.deepcopy(ASK), **body}, CONFIG)


def refused(name, **body):
    with pytest.raises(Refusal) as caught:
        run(find_model(name), body, CONFIG)
    return caught.value


@pytest.mark.parametrize("name", CHATS)
def test_every_model_answers_in_the_shape_its_schema_names(name):
    result = chat(name, max_tokens=300).output
    fields = output_fields(name)
    if "choices" in fields:
        message = result["choices"][0]["message"]
        assert message["content"].startswith("[simulated] ")
        assert ("reasoning_content" in message) == find_model(name).reasoning
        message.pop("reasoning_content", None)
    else:
        thoughts, end, said = result["response"].rpartition("</think>\n\n")
        assert said.startswith("[simulated] ")
        assert (bool(end), thoughts.startswith("<think>\n[simulated] ")) == (find_model(name).reasoning,) * 2
    result["usage"].pop("neurons", None)
    result["usage"].pop("completion_tokens_details", None)
    result["usage"].pop("prompt_tokens_details")
    if name == "@cf/meta/llama-3.2-11b-vision-instruct":  # its published type forgets usage
        result.pop("usage")
    assert jsonschema_rs.is_valid(published_schema(name, "output"), result)


def test_the_same_request_gets_the_same_answer_and_another_one_another():
    assert chat(OLD).output == chat(OLD).output
    assert chat(OLD).output != chat(OLD, seed=2).output
    assert chat(OLD).output["response"] != chat("@cf/meta/llama-3.2-3b-instruct").output["response"]


def test_usage_counts_what_was_written_and_neurons_are_its_price():
    for name in (OLD, NEW, "@cf/qwen/qwq-32b"):
        model, ran = find_model(name), chat(name)
        usage = ran.output["usage"]
        assert usage["total_tokens"] == usage["prompt_tokens"] + usage["completion_tokens"]
        price = (ran.input_tokens * model.input_price + ran.output_tokens * model.output_price) / 1e6
        assert usage["neurons"] == ran.neurons == price
    assert chat(OLD).output_tokens == count_tokens(chat(OLD).output["response"])
    assert "neurons" not in chat("@cf/daily-co/phonellm-mini-alpha-2").output["usage"]


@given(st.integers(1, 90))
def test_the_answer_keeps_to_max_tokens(bound):
    old, new = chat(OLD, max_tokens=bound), chat(NEW, max_tokens=bound)
    assert 1 <= old.output_tokens <= bound
    assert new.output_tokens <= bound
    choice = new.output["choices"][0]
    assert choice["finish_reason"] == ("length" if new.output_tokens == bound else "stop") or bound > 60
    if choice["finish_reason"] == "stop":
        assert choice["message"]["content"].startswith("[simulated] ")


def test_reasoning_can_use_up_the_bound_and_leave_no_content():
    choice = chat(NEW, max_tokens=4).output["choices"][0]
    assert choice["message"]["content"] is None
    assert choice["finish_reason"] == "length"


def test_thinking_can_be_switched_off():
    ran = chat(NEW, chat_template_kwargs={"enable_thinking": False})
    assert "reasoning_content" not in ran.output["choices"][0]["message"]
    assert ran.output_tokens < chat(NEW).output_tokens


def test_gpt_oss_answers_in_the_form_it_was_asked_in():
    ran = run(find_model(OSS), {"input": "Name a river", "instructions": "Be short"}, CONFIG)
    assert ran.output["object"] == "response"
    assert ran.output["output_text"].startswith("[simulated] ")
    assert ran.output["usage"]["output_tokens"] == ran.output_tokens
    ran.output["usage"].pop("neurons")
    assert jsonschema_rs.is_valid(published_schema(OSS, "output"), ran.output)
    assert chat(OSS).output["object"] == "chat.completion"


@pytest.mark.parametrize("wish", [SCHEMA, {"name": "verdict", "schema": SCHEMA, "strict": True}])
def test_json_mode_satisfies_the_schema_given_bare_or_wrapped(wish):
    form = {"type": "json_schema", "json_schema": wish}
    old = chat(OLD, response_format=form, max_tokens=900).output["response"]
    new = chat(NEW, response_format=form, max_tokens=900).output["choices"][0]["message"]["content"]
    validator = jsonschema_rs.validator_for(SCHEMA)
    assert validator.is_valid(old)
    assert validator.is_valid(orjson.loads(new))


def test_json_object_needs_no_schema():
    form = {"type": "json_object"}
    assert chat(OLD, response_format=form).output["response"]["simulated"] is True


def test_json_that_does_not_fit_is_5024_on_old_models_and_cut_on_new_ones():
    form = {"type": "json_schema", "json_schema": SCHEMA}
    refusal = refused(OLD, messages=ASK, response_format=form, max_tokens=5)
    assert refusal.code == 5024
    assert refusal.neurons > 0
    choice = chat(NEW, response_format=form, max_tokens=40).output["choices"][0]
    assert choice["finish_reason"] == "length"


def test_guided_json_is_json_mode_by_another_name():
    ran = chat("@cf/mistralai/mistral-small-3.1-24b-instruct", guided_json=SCHEMA, max_tokens=900)
    assert jsonschema_rs.is_valid(SCHEMA, ran.output["response"])


@pytest.mark.parametrize(
    "body",
    [
        {},
        {"prompt": 3},
        {"messages": []},
        {"messages": [{"role": "user", "content": None}]},
        {"prompt": "x", "extra": 1},
        {"prompt": "x", "max_tokens": 0},
        {"prompt": "x", "stream": True},
    ],
)
def test_bad_input_is_5006(body):
    assert refused(OLD, **body).code == 5006


def test_input_and_bound_over_the_window_are_5021():
    refusal = refused("@cf/google/gemma-7b-it-lora", prompt="word " * 3300)
    assert (refusal.status, refusal.code) == (413, 5021)
    run(find_model("@cf/google/gemma-7b-it-lora"), {"prompt": "word " * 3200}, CONFIG)


def test_openai_form_serves_old_models_too():
    output = run_openai(find_model(OLD), {"model": OLD, "messages": ASK, "top_k": 3}, CONFIG).output
    assert output["object"] == "chat.completion"
    assert output["choices"][0]["message"]["content"].startswith("[simulated] ")


@given(st.integers(-50, 50), st.integers(0, 60), st.integers(0, 3), st.randoms(use_true_random=False))
def test_samples_satisfy_bounds(least, width, kind, chance):
    schema = [
        {"type": "integer", "minimum": least, "maximum": least + width},
        {"type": "number", "minimum": least, "maximum": least + width},
        {"type": "string", "minLength": width, "maxLength": width + 5},
        {"type": "array", "items": {"type": "boolean"}, "minItems": width, "maxItems": width + 1},
    ][kind]
    value = Sampler(schema, random.Random(chance.random()), lambda: "some words").value()
    assert jsonschema_rs.is_valid(schema, value)


PIXEL = "data:image/png;base64,iVBORw0KGgo="
SCOUT, VISION = "@cf/meta/llama-4-scout-17b-16e-instruct", "@cf/meta/llama-3.2-11b-vision-instruct"


def seen(address, text="What is this?"):
    parts = [{"type": "text", "text": text}, {"type": "image_url", "image_url": {"url": address}}]
    return {"messages": [{"role": "user", "content": parts}], "max_tokens": 99}


@pytest.mark.parametrize("name", [NEW, SCOUT, VISION])
def test_an_image_is_read_and_counted(name):
    plain = run(find_model(name), {"messages": [{"role": "user", "content": "What is this?"}]}, CONFIG)
    ran = run(find_model(name), seen(PIXEL), CONFIG)
    assert ran.input_tokens == plain.input_tokens + IMAGE_TOKENS
    other = run(find_model(name), seen("data:image/png;base64,iVBORw0KGgs="), CONFIG)
    assert other.digests != ran.digests


def test_the_image_field_takes_integers_and_base64():
    ask = {"messages": [{"role": "user", "content": "What is this?"}]}
    whole = [run(find_model(VISION), {**ask, "image": image}, CONFIG) for image in (PIXEL, "iVBORw0KGgo=", [1, 2, 255])]
    assert len({ran.input_tokens for ran in whole}) == 1
    assert whole[0].digests == whole[1].digests != whole[2].digests


@pytest.mark.parametrize(
    ("name", "body", "code"),
    [
        (SCOUT, seen("https://example.com/a.png"), 5006),
        (SCOUT, seen("data:image/png;base64,****"), 5004),
        (SCOUT, seen("data:image/png;base64,"), 5004),
        (VISION, {**seen(PIXEL), "image": [256]}, 5006),
        (VISION, {**seen(PIXEL), "image": "no base64!"}, 5004),
        ("@cf/openai/gpt-oss-20b", seen(PIXEL), 5006),
    ],
)
def test_what_is_no_image_or_not_wanted_is_refused(name, body, code):
    assert refused(name, **body).code == code


@pytest.mark.parametrize("name", [OLD, NEW])
def test_a_schema_in_the_prompt_is_followed_without_json_mode(name):
    """As a model does that is asked nicely; a cut answer is then only cut."""
    asked = f"Answer with JSON only, matching this JSON Schema: {orjson.dumps(SCHEMA).decode()}"
    messages = [{"role": "system", "content": asked}, *ASK]
    result = run(find_model(name), {"messages": messages, "max_tokens": 900}, CONFIG).output
    text = result["choices"][0]["message"]["content"] if "choices" in result else result["response"]
    assert isinstance(text, str)
    jsonschema_rs.validate(SCHEMA, orjson.loads(text))
    assert run(find_model(OLD), {"messages": messages, "max_tokens": 5}, CONFIG).output_tokens == 5

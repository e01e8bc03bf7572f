"""The catalogue knows prices and limits, and says what to use instead of what is gone."""

from importlib.resources import files

import orjson
import pytest

from pipeline.catalog import (
    Catalog,
    resolve_model,
)
from pipeline.cli.buys import what_it_buys
from pipeline.errors import PlanError
from pipeline.services import JOB_TASKS, REQUESTS_PER_MINUTE
from pipeline.spec.model import ModelInfoSpec

CATALOG = Catalog.load()
ENTRIES = orjson.loads(files("pipeline").joinpath("data/models.json").read_bytes())


def test_every_entry_is_read_as_it_stands():
    assert len(CATALOG.models(include_retired=True)) == len(ENTRIES) + 1  # /ai/tomarkdown is no model of the list
    for entry in ENTRIES:
        model = CATALOG.get(entry["model"])
        assert model is not None
        assert dict(model.raw) == entry
        assert model.source
        assert model.task == entry["task"]
        assert model.retired == (entry["deprecated"] is not None)
        if entry["neurons"]:
            assert dict(model.prices) == entry["neurons"]
            assert model.input_per_m_tokens == entry["neurons"].get("input_per_m_tokens")


def test_known_figures():
    m3 = CATALOG.get("@cf/baai/bge-m3")
    assert (m3.input_per_m_tokens, m3.max_batch, m3.dimensions, m3.context_window) == (1075, 100, 1024, 60_000)
    glm = CATALOG.get("@cf/zai-org/glm-5.3-flash")
    assert (glm.cached_input_per_m_tokens, glm.requires_paid, glm.requests_per_minute) == (2727, True, 20)
    assert CATALOG.get("@cf/meta/llama-4-scout-17b-16e-instruct").vision
    assert CATALOG.get("@cf/qwen/qwq-32b").reasoning
    assert CATALOG.get("@cf/none/none") is None


def test_a_second_name_has_the_price_of_the_first():
    fast = CATALOG.get("@cf/meta/llama-3.1-8b-instruct-fast")
    assert fast.prices == CATALOG.get("@cf/meta/llama-3.1-8b-instruct-fp8-fast").prices


def test_retired_models_are_left_out_unless_asked_for():
    assert not any(model.retired for model in CATALOG.models())
    assert any(model.retired for model in CATALOG.models("generate", include_retired=True))
    assert {model.task for model in CATALOG.models("embed")} == {"text-embeddings"}
    assert CATALOG.models("text-embeddings") == CATALOG.models("embed")


def test_every_retired_model_has_a_living_replacement_of_its_task():
    without = set()
    for model in CATALOG.models(include_retired=True):
        if model.retired:
            instead = CATALOG.replacement(model.name)
            if instead is None:
                without.add(model.task)
                continue
            living = CATALOG.get(instead)
            assert not living.retired
            assert not living.requires_paid
            assert living.prices
            assert living.task == model.task
    assert without == {"summarization"}
    assert CATALOG.replacement("@cf/meta/llama-3.1-8b-instruct") == "@cf/meta/llama-3.1-8b-instruct-fp8"
    assert CATALOG.replacement("@cf/none/none") is None


@pytest.mark.parametrize(
    ("written", "meant"),
    [
        ("@cf/baai/bge-m4", "@cf/baai/bge-m3"),
        ("@cf/meta/bge-m3", "@cf/baai/bge-m3"),
        ("@cf/baai/bge-base-en", "@cf/baai/bge-base-en-v1.5"),
        ("@cf/openai/gpt-oss-12b", "@cf/openai/gpt-oss-120b"),
    ],
)
def test_suggestions(written, meant):
    assert meant in CATALOG.suggest(written)
    assert CATALOG.suggest("@cf/zzzzzz/qqqqqq") == ()


@pytest.mark.parametrize("task", sorted({*JOB_TASKS} - {"detect-objects", "to-markdown"}))
def test_defaults_are_living_and_priced(task):
    model = resolve_model(task, None)
    assert model.name == JOB_TASKS[task].default
    assert model.task == JOB_TASKS[task].cloudflare[0]
    assert model.requests_per_minute == REQUESTS_PER_MINUTE.get(model.task)


REFUSED = [
    (
        ("generate", "@cf/meta/llama-3.1-8b-instruct"),
        "@cf/meta/llama-3.1-8b-instruct was retired on 2026-05-30; use @cf/meta/llama-3.1-8b-instruct-fp8",
    ),
    (
        ("generate", "@cf/moonshotai/kimi-k2.5"),
        "@cf/moonshotai/kimi-k2.5 was retired on 2026-05-30 and its calls go to @cf/moonshotai/kimi-k2.6 at that "
        "model's price; use @cf/qwen/qwen3.8-27b",
    ),
    (
        ("generate", "@cf/facebook/bart-large-cnn"),
        "@cf/facebook/bart-large-cnn was retired on 2026-05-30; its task has no living model",
    ),
    (
        ("embed", "@cf/baai/bge-m4"),
        "@cf/baai/bge-m4 is not in the catalogue; did you mean @cf/baai/bge-m3? If it is new, give model_info: "
        "{input_per_m_tokens: …}",
    ),
    (
        ("generate", "@cf/zzzzzz/qqqqqq"),
        "@cf/zzzzzz/qqqqqq is not in the catalogue; give model_info: {input_per_m_tokens: …, output_per_m_tokens: …}",
    ),
    (
        ("embed", "@cf/meta/m2m100-1.2b"),
        "@cf/meta/m2m100-1.2b is for translation, not embed; embed takes e.g. @cf/baai/bge-m3",
    ),
    (
        ("embed", "@cf/google/embeddinggemma-300m"),
        "@cf/google/embeddinggemma-300m has no published price in neurons; give model_info: {input_per_m_tokens: …}, "
        "or budget: {unpriced: allow}",
    ),
]


@pytest.mark.parametrize(("asked", "sentence"), REFUSED)
def test_models_that_cannot_be_used(asked, sentence):
    with pytest.raises(PlanError) as caught:
        resolve_model(*asked)
    assert str(caught.value) == sentence


def test_every_model_of_every_task_resolves_or_says_why():
    for task in set(JOB_TASKS) - {"to-markdown"}:
        for model in CATALOG.models(task, include_retired=True):
            if model.retired or not set(model.prices) - {"per_audio_minute_websocket"}:
                with pytest.raises(PlanError, match=r"was retired on|has no published price"):
                    resolve_model(task, model.name)
            else:
                found = resolve_model(task, model.name)
                assert found.prices


def test_what_the_user_says_wins():
    facts = ModelInfoSpec(input_per_m_tokens=5.0, max_batch=7, requests_per_minute=11)
    gemma = resolve_model("embed", "@cf/google/embeddinggemma-300m", facts)
    assert (gemma.input_per_m_tokens, gemma.max_batch, gemma.requests_per_minute) == (5.0, 7, 11)
    assert gemma.dimensions == 768
    assert gemma.prices["input_per_m_tokens"] == 5.0
    m3 = resolve_model("embed", None, ModelInfoSpec(dimensions=3))
    assert (m3.dimensions, m3.input_per_m_tokens) == (3, 1075)


def test_a_free_model_is_a_price():
    assert resolve_model("embed", "@cf/google/embeddinggemma-300m", ModelInfoSpec(input_per_m_tokens=0.0)).prices


def test_a_new_model_needs_its_prices():
    new = resolve_model("generate", "@cf/new/new", ModelInfoSpec(input_per_m_tokens=1.0, output_per_m_tokens=2.0))
    assert (new.task, new.requests_per_minute, new.listed) == ("text-generation", 300, False)
    with pytest.raises(PlanError, match="output_per_m_tokens: …"):
        resolve_model("generate", "@cf/new/new", ModelInfoSpec(input_per_m_tokens=1.0))
    with pytest.raises(PlanError, match="is for text-embeddings, not generate"):
        resolve_model("generate", "@cf/new/new", ModelInfoSpec(task="text-embeddings", input_per_m_tokens=1.0))


@pytest.mark.parametrize(
    ("name", "words"),
    [
        ("@cf/baai/bge-m3", "9.3 M tokens"),
        ("@cf/baai/bge-large-en-v1.5", "538 k tokens"),
        ("@cf/meta/llama-3.1-8b-instruct-fp8", "725 k tokens in or 382 k tokens out"),
        ("@cf/openai/whisper-large-v3-turbo", "214 audio minutes"),
        ("@cf/microsoft/resnet-50", "43,849 images"),
        ("@cf/black-forest-labs/flux-1-schnell", "231 images 512x512, 4 steps"),
        ("@cf/black-forest-labs/flux-2-dev", "5 images 512x512, 50 steps"),
        ("@cf/black-forest-labs/flux-2-klein-4b", "383 images 512x512"),
        ("@cf/deepgram/aura-1", "7.3 k characters"),
        ("@cf/lykon/dreamshaper-8-lcm", "no published price"),
    ],
)
def test_what_ten_thousand_neurons_buy(name, words):
    assert what_it_buys(CATALOG.get(name)) == words


def test_little_and_nothing():
    model = CATALOG.get("@cf/baai/bge-m3")
    assert what_it_buys(model, 1) == "930 tokens"
    assert what_it_buys(resolve_model("embed", "@cf/a/b", ModelInfoSpec(input_per_m_tokens=0.0))) == "free"
    assert all(what_it_buys(each) for each in CATALOG.models(include_retired=True))

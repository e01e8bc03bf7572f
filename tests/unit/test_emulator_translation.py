import jsonschema_rs
import pytest

from pipeline.emulator.config import EmulatorConfig
from pipeline.emulator.models import find_model, published_schema
from pipeline.emulator.refusals import Refusal
from pipeline.emulator.tasks.translation import run

CONFIG = EmulatorConfig()
M2M = "@cf/meta/m2m100-1.2b"
IT2 = "@cf/ai4bharat/indictrans2-en-indic-1B"


@pytest.mark.parametrize(
    ("name", "body", "output"),
    [
        (M2M, {"text": "Hello you", "target_lang": "de"}, {"translated_text": "[simulated] HELLO YOU"}),
        (
            M2M,
            {"text": "[simulated] x", "source_lang": "en", "target_lang": "de"},
            {"translated_text": "[SIMULATED] X"},
        ),
        (IT2, {"text": "a", "target_language": "hin_Deva"}, {"translations": ["[simulated] A"]}),
        (
            IT2,
            {"text": ["a", "ß"], "target_language": "hin_Deva"},
            {"translations": ["[simulated] A", "[simulated] ß"]},
        ),
    ],
)
def test_models_answer_in_their_published_shape(name, body, output):
    ran = run(find_model(name), body, CONFIG)
    assert ran.output == output
    assert jsonschema_rs.is_valid(published_schema(name, "output"), ran.output)
    assert ran.neurons == pytest.approx((ran.input_tokens + ran.output_tokens) * 31050 / 1e6)
    assert ran.output_tokens > 0


def said(text, **options):
    output = run(find_model(M2M), {"text": text, "target_lang": "de"}, EmulatorConfig(**options)).output
    return output["translated_text"].removeprefix("[simulated] ")


def test_long_translations_are_cut_where_the_options_say_so():
    words = " ".join(f"W{n}" for n in range(300))
    assert said(words, translation_words=200) == " ".join(words.split()[:200])
    assert said(words) == words


def test_one_mark_in_so_many_is_mangled_and_always_the_same():
    """About as often as it was told; by default none is."""
    text = " and ".join(f"[X{n}X] {{p{n}}}" for n in range(1000))
    capitals = text.upper()
    assert said(text) == capitals
    mangled = said(text, mangle_one_in=20)
    assert mangled == said(text, mangle_one_in=20)
    kept = sum(f"[X{n}X]" in mangled for n in range(1000)) + sum(f"{{P{n}}}" in mangled for n in range(1000))
    assert 1850 <= kept <= 1950
    assert "\uff3bX" in mangled


def test_one_text_in_so_many_is_answered_in_another_language():
    texts = [f"text number {n}" for n in range(500)]
    answers = [said(text, wrong_language_one_in=50) for text in texts]
    assert 3 <= sum(answer.startswith("tämä") for answer in answers) <= 25
    assert all(len(answer.split()) == 3 for answer in answers)


@pytest.mark.parametrize("option", ["translation_words", "mangle_one_in", "wrong_language_one_in", "rpm"])
def test_options_that_make_no_sense_are_refused(option):
    with pytest.raises(ValueError, match=option):
        EmulatorConfig(**{option: 0})


@pytest.mark.parametrize(
    ("name", "body"),
    [
        (M2M, {"text": "x"}),
        (M2M, {"text": ["x"], "target_lang": "de"}),
        (M2M, {"text": "", "target_lang": "de"}),
        (M2M, {"text": "x", "target_lang": "eu"}),
        (M2M, {"text": "x", "source_lang": "te", "target_lang": "de"}),
        (M2M, {"text": "x", "target_lang": "de", "temperature": 1}),
        (IT2, {"text": "x", "target_language": "hi"}),
        (IT2, {"text": "x", "source_lang": "en", "target_language": "hin_Deva"}),
    ],
)
def test_what_the_service_refuses_is_refused(name, body):
    with pytest.raises(Refusal) as caught:
        run(find_model(name), body, CONFIG)
    assert caught.value.code == 5006

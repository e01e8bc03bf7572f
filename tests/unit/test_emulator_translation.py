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

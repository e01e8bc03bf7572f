"""`speak`."""

import base64
import unicodedata

from hypothesis import strategies as st

from pipeline.emulator.tasks.speech import FRAME
from tests.contract.cases.base import TaskCase


def answers(request, payload, model):
    return [{"audio": base64.b64encode(FRAME * 20).decode()}]


def charge(model, params, request, payload):
    """By the character; by the minute at four small letters a second, and two other characters."""
    text = payload.get("text", payload.get("prompt"))
    if "per_m_chars" in model.prices:
        return len(text) * model.prices["per_m_chars"] / 1e6
    said = unicodedata.normalize("NFKC", text)
    small = sum(sign.islower() or sign.isspace() for sign in said if sign.isascii())
    return (small / 4 + (len(said) - small) / 2.5) / 60 * model.prices["per_audio_minute"]


CASE = TaskCase(
    task="speak",
    columns=[("path", "string"), ("duration_seconds", "float64"), ("mime", "string")],
    params=[{}, {"lang": "en"}, {"speaker": "luna"}],
    records=lambda _folder: st.builds(
        lambda text: {"text": text},
        st.text(st.characters(exclude_categories=("Cs",)), min_size=1, max_size=60).filter(str.strip),
    ),
    answers=answers,
    charge=charge,
    takes=lambda model, params: (
        not params
        or ("lang" in params and "melotts" in model.name)
        or ("speaker" in params and "es" not in model.name and "aura" in model.name)
    ),
)

"""`transcribe` for the contract suite: made-up voices in small files."""

from hypothesis import strategies as st

from tests.contract.cases.base import TaskCase
from tests.support.sounds import SAMPLES, talk

ONE = "@cf/openai/whisper-large-v3-turbo"
OVER_WEBSOCKETS = {"@cf/deepgram/flux"}


def records(folder):
    """Recordings of a few seconds, with and without pauses, and one that needs several pieces."""
    names = []
    for name, made in (
        ("a", talk(3.0, seed=21)),
        ("pauses", talk(12.0, seed=22, manner=SAMPLES.SPARSE)),
        ("several-pieces", talk(32.0, seed=23)),
    ):
        path = folder / f"{name}.wav"
        if not path.exists():
            SAMPLES.write_wav(path, made.samples)
        names.append({"path": str(path)})
    return st.sampled_from(names)


def answers(request, payload, model):
    """Every documented form: each model has one, and each reads all."""
    word = {"word": "Hello", "start": 0.1, "end": 0.5}
    segment = {
        "start": 0.1,
        "end": 0.5,
        "text": "Hello",
        "temperature": 0.0,
        "avg_logprob": -0.2,
        "compression_ratio": 0.6,
        "no_speech_prob": 0.01,
        "words": [word],
    }
    info = {"language": "en", "language_probability": 0.9, "duration": 4.0, "duration_after_vad": 4.0}
    best = {"transcript": "Hello", "confidence": 0.9, "words": [{**word, "confidence": 0.9}]}
    return [
        {"text": "Hello", "word_count": 1, "transcription_info": info, "segments": [segment], "vtt": "WEBVTT\n"},
        {"text": "Hello", "word_count": 1, "words": [word], "vtt": "WEBVTT\n"},
        {"text": "Hello"},
        {"text": ""},
        {"results": {"channels": [{"alternatives": [best]}]}},
    ]


def charge(model, params, request, payload):
    """Every piece rounded up to a second: whether the service does is not known."""
    return sum(-(-piece.size // 32_000) * model.prices["per_audio_minute"] / 60.0 for piece in request.pieces)


def takes(model, params):
    """Only one model has parameters over REST, and can be told a language; flux answers over a WebSocket only."""
    if model.name in OVER_WEBSOCKETS:
        return False
    return model.name == ONE or params.keys() <= {
        "piece_seconds",
        "skip_silence",
        "hallucination_guard",
        "audio_format",
    }


CASE = TaskCase(
    task="transcribe",
    columns=[
        ("text", "string"),
        ("language", "string"),
        ("duration_seconds", "float64"),
        ("sent_seconds", "float64"),
        ("segments", "list<struct>"),
        ("words", "list<struct>"),
        ("vtt", "string"),
        ("warnings", "list<string>"),
    ],
    params=[
        {},
        {"language": "de", "initial_prompt": "Wörter", "beam_size": 3},
        {"language": "per-piece", "task": "translate", "vad_filter": True},
        {"carry_text": True, "initial_prompt": "Wörter", "piece_seconds": 20},
        {"piece_seconds": 8, "skip_silence": True, "audio_format": "flac", "hallucination_guard": False},
    ],
    records=records,
    answers=answers,
    charge=charge,
    text="path",
    takes=takes,
)

"""`translate`."""

from hypothesis import strategies as st

from pipeline.emulator.tokens import count_tokens, embedding_tokens
from tests.contract.cases.base import TaskCase
from tests.contract.cases.texts import most_tokens

MARKUP = ["**a** `b`", "{n} of %d", "[one](https://x.org)", "<b>two</b>", "# Head", "| a | b |\n|--|--|\n| c | {d} |\n"]
TEXTS = st.one_of(
    st.text(st.characters(exclude_categories=("Cs",)), min_size=1, max_size=300),
    st.lists(
        st.sampled_from([*MARKUP, "One two.", "三四五。", "ภาษา", "\n", "\n\n", "- ", "12", "ﷺ㍿⑽", " "]), max_size=80
    ).map(" ".join),
).map(lambda text: f"Two words.\n\n{text}")
"""There is always something to send: texts without are in tests/unit/test_tasks_translate.py."""


def texts_of(payload):
    return payload["text"] if isinstance(payload["text"], list) else [payload["text"]]


def answers(request, payload, model):
    translations = [f"[de] {text}" for text in texts_of(payload)]
    return [{"translations": translations} if "target_language" in payload else {"translated_text": translations[0]}]


def charge(model, params, request, payload):
    """What is read, and an answer as long as a decoder of 256 tokens writes, or one that repeats its source."""
    texts = texts_of(payload)
    read = most_tokens(embedding_tokens, texts) * model.input_per_m_tokens
    written = sum(max(256, count_tokens(text)) for text in texts) * model.output_per_m_tokens
    return (read + written) / 1e6


def takes(model, params):
    """Both know Hindi; indictrans2 knows nothing but languages of India, and English to begin with."""
    return params["target_lang"] == "hi" or "indictrans2" not in model.name


CASE = TaskCase(
    task="translate",
    columns=[
        ("translation", "string"),
        ("source_lang", "string"),
        ("target_lang", "string"),
        ("warnings", "list<string>"),
    ],
    params=[
        {"source_lang": "en", "target_lang": "de"},
        {"source_lang": "en", "target_lang": "hi"},
        {"source_lang": "en", "target_lang": "hi", "detect_language": True, "retry_doubtful": True},
        {"source_lang": "en", "target_lang": "hi", "format": "markdown"},
        {"source_lang": "en", "target_lang": "hi", "format": "html"},
        {"source_lang": "Chinese", "target_lang": "pt-BR", "target_lang_column": "to"},
    ],
    records=lambda _: st.fixed_dictionaries({"text": TEXTS}),
    answers=answers,
    charge=charge,
    takes=takes,
)

"""Texts that are hard on whoever counts tokens by bytes: every script, combining marks, what NFKC makes longer."""

import unicodedata

from hypothesis import strategies as st

_EXPANDERS = "ﷺﷻ㍿㌖ﬃ⑽㈱½…豈"  # one character that NFKC makes several of, or longer
_COMBINING = "é̂̃क्षि"

TEXTS = st.one_of(
    st.text(st.characters(exclude_categories=("Cs",)), min_size=1, max_size=60),
    st.text(st.sampled_from(_EXPANDERS + _COMBINING + "a 1"), min_size=1, max_size=40),
    st.text(st.sampled_from("日本語中文한국어ไทย"), min_size=1, max_size=40),
    st.text(st.sampled_from("🎉👩‍👩‍👧🏽🇩🇪"), min_size=1, max_size=30),
    st.text(st.sampled_from("abc XYZ 0123.,!?\n\t{}[]\"'<|endoftext|>"), min_size=1, max_size=200),
).filter(str.strip)


def most_tokens(count, texts):
    """The largest count of texts: as they are, as a tokenizer that normalises first sees them, and a token a byte."""
    forms = [texts, [unicodedata.normalize("NFKC", text) for text in texts]]
    counted = [count(form) for form in forms]
    return max(*(sum(told) if isinstance(told, list) else told for told in counted), *map(_bytes, forms))


def _bytes(texts):
    return sum(len(text.encode()) for text in texts)

from hypothesis import given
from hypothesis import strategies as st

from pipeline.emulator.tokens import chat_tokens, count_tokens, cut_tokens, embedding_tokens


@given(st.text())
def test_never_more_tokens_than_bytes(text):
    assert count_tokens(text) <= max(1, len(text.encode("utf-8", "surrogatepass")))


@given(st.text(), st.integers(0, 20))
def test_cutting_keeps_a_prefix_within_the_bound(text, most):
    cut = cut_tokens(text, most)
    assert text.startswith(cut)
    assert count_tokens(cut) <= most
    if count_tokens(text) <= most:
        assert cut == text


def test_words_numbers_marks_and_foreign_letters():
    assert count_tokens("") == 0
    assert count_tokens("word") == 1
    assert count_tokens("extraordinarily") == 3
    assert count_tokens("1234567") == 3
    assert count_tokens("a, b!") == 4
    assert count_tokens("日本語") == 3
    assert count_tokens("überall") == 2


def test_special_tokens_are_added_once_per_text_and_message():
    assert embedding_tokens(["word", ""]) == [3, 2]
    assert chat_tokens(["word", "word"]) == 8 + 2 * 5

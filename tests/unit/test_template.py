"""Templates: a column name is a column, braces are placeholders, and every mistake names the column."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pipeline.errors import PlanError, RecordUnusable
from pipeline.template import TextTemplate

TEXTS = st.text(st.characters(exclude_characters="{}", exclude_categories=("Cs",)), max_size=20)


@pytest.mark.parametrize("name", ["text", "the title", "naïve-col.1", "日本"])
def test_a_name_without_braces_is_a_column(name):
    """Whatever a column is called."""
    template = TextTemplate.parse(name)
    assert template.render({name: " as it is "}) == " as it is "
    assert template.columns == (name,)


def test_a_template_mixes_words_and_columns():
    """Numbers are written as they are; doubled braces are braces."""
    template = TextTemplate.parse("{title} ({year}, {score}): {{{body}}}")
    assert template.render({"title": "T", "year": 1999, "score": 0.5, "body": "B"}) == "T (1999, 0.5): {B}"
    assert template.columns == ("title", "year", "score", "body")


@given(st.lists(TEXTS, min_size=1, max_size=4), st.lists(TEXTS, min_size=4, max_size=4))
def test_a_values_braces_are_never_read_as_placeholders(literals, values):
    """What stands in the data is data."""
    values = [f"{{a}}{value}{{" for value in values]
    text = "".join(f"{literal}{{c{index}}}" for index, literal in enumerate(literals))
    expected = "".join(literal + values[index] for index, literal in enumerate(literals))
    assert TextTemplate.parse(text).render({f"c{i}": value for i, value in enumerate(values)}) == expected


@pytest.mark.parametrize("text", ["{", "}", "{a", "a}", "{a}{", "{{}"])
def test_braces_that_do_not_match_are_refused(text):
    """With the key of the spec, and how to write a brace."""
    with pytest.raises(PlanError, match=r"write \{\{ and \}\}") as caught:
        TextTemplate.parse(text)
    assert caught.value.key == "input.text"


@pytest.mark.parametrize("text", ["{}", "{a:>10}", "{a!r}", "x {} y"])
def test_a_placeholder_is_a_column_name_and_nothing_more(text):
    """No formats, no positions."""
    with pytest.raises(PlanError, match="a placeholder is a column name"):
        TextTemplate.parse(text)


def test_a_placeholder_reaches_into_no_object():
    """Dots and brackets are part of the name: nothing is looked up in a value."""
    template = TextTemplate.parse("{a.b[0]}")
    assert template.render({"a.b[0]": "x"}) == "x"
    with pytest.raises(RecordUnusable):
        template.render({"a": {"b": ["no"]}})


@pytest.mark.parametrize(
    ("value", "said"),
    [
        (None, 'column "text" is null'),
        (5, "holds a number, not text"),
        (True, "holds true/false, not text"),
        (["a"], "holds a list, not text"),
        ({"a": 1}, "holds an object, not text"),
        (b"x", "holds bytes, not text"),
    ],
)
def test_what_is_not_text_is_said(value, said):
    """A plain column must hold text."""
    with pytest.raises(RecordUnusable, match=said):
        TextTemplate.parse("text").render({"text": value})


@pytest.mark.parametrize("value", [None, True, [], {}, b"x"])
def test_a_template_takes_text_and_numbers_only(value):
    """Nothing is printed that nobody meant."""
    with pytest.raises(RecordUnusable, match=r"text or a number|is null"):
        TextTemplate.parse("a {text}").render({"text": value})


def test_a_missing_column_is_named_with_the_nearest_one():
    """Did you mean."""
    with pytest.raises(RecordUnusable, match=r'no column "titel" \(there are: title, body\); did you mean "title"\?'):
        TextTemplate.parse("titel").render({"title": "x", "body": "y"})
    with pytest.raises(RecordUnusable, match="there are: none"):
        TextTemplate.parse("{a}").render({})


def test_a_default_falls_back_on_the_column_of_plain_text():
    """`prompt`, else `text`."""
    template = TextTemplate(parts=(("", "prompt"),), plain="prompt", fallback="text", source="prompt")
    assert template.render({"prompt": "p", "text": "t"}) == "p"
    assert template.render({"text": "t"}) == "t"
    assert template.render({"prompt": None, "text": "t"}) == "t"
    with pytest.raises(RecordUnusable, match="prompt"):
        template.render({"other": "x"})

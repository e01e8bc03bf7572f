"""Only the prose of a document goes out, and a model that changes nothing changes nothing."""

import time
from dataclasses import replace
from pydoc_data.topics import topics

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from pipeline.segments import segments
from pipeline.tasks.translation.hypertext import html_blocks
from pipeline.tasks.translation.markup import format_of, is_same_markup, strips_of
from pipeline.tasks.translation.placing import Passage, joined, place
from tests.support.translating import said_by, translated
from tests.unit.test_tasks_translate import EN_DE, translate

HANDBOOK = """\
---
title: Not prose
---
# The *great* title ##

Setext heading
over two lines
==============

Hello **{name}**, see [the manual](https://x.org/a_b "T") and `code here`.
A wrapped line goes on
here, with _emphasis_ and <b>bold</b>.

> Quoted text that is wrapped
> over two lines. [ref text][Ref] and [Ref], ![an image](a.png).
>
> 1. item one
>    goes on  
>    after a break
> - [ ] task

> [!NOTE]
> An alert.

| Head | b \\| c |
|:-----|---|
| cell **one** | {p} text |

```python
print("not prose")
```

    indented, not prose

<div>
not prose
</div>

[Ref]: https://ref.org "not prose"
[^1]: A footnote is prose.

Term with footnote[^1] and {n, plural, one {# item} other {# items}} in it.
"""  # noqa: W291


def prose(text, form):
    return [strip.plain for strip in strips_of(text, form)]


def test_the_prose_of_markdown_is_found():
    assert prose(HANDBOOK, "markdown") == [
        "The *great* title",
        "Setext heading over two lines",
        'Hello **{name}**, see [the manual](https://x.org/a_b "T") and `code here`. '
        "A wrapped line goes on here, with _emphasis_ and <b>bold</b>.",
        "Quoted text that is wrapped over two lines. [ref text][Ref] and [Ref], ![an image](a.png).",
        "item one goes on",
        "after a break",
        "[ ] task",
        "An alert.",
        "Head",
        "b \\| c",
        "cell **one**",
        "{p} text",
        "[^1]: A footnote is prose.",
        "Term with footnote[^1] and {n, plural, one {# item} other {# items}} in it.",
    ]


@pytest.mark.parametrize(
    ("line", "sent"),
    [
        ("**Note:** see *this* __now__ ~~old~~ snake_case", "Note:[X1X] see [X2X]this[X3X] [X4X]now[X5X] [X6X]old"),
        ("A [link](<a b> 'T') and ![alt](i.png) end", "A [X1X]link[X2X] and [X3X]alt[X4X] end"),
        ("A [b [c](d) e](f) g", "A [X1X]b [X2X]c[X3X] e[X4X] g"),
        ("Not [a link] and 2 * 3 and a_b here", "Not [a link] and 2 * 3 and [X1X] here"),
        ("One \\* two [^2] three", "One [X1X] two [X2X] three"),
        ("`a` and ``b ` c`` and", "and [X1X] and"),
        ("Then $x^2$ is from $5 to $6 or $5-$6 there", "Then [X1X] is from $5 to $6 or $5-$6 there"),
    ],
)
def test_what_of_a_line_of_markdown_is_sent(line, sent):
    (strip,) = strips_of(line, "markdown")
    assert strip.trimmed().sent == sent


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("---\na: b\n---\nProse", ["Prose"]),
        ("+++\na = 1\n+++\nProse", ["Prose"]),
        ("---\n---\nProse", ["Prose"]),
        ("---\n\nA rule above\n\n---\nProse", ["A rule above", "Prose"]),
        ("---\na: b\n", ["a: b"]),
    ],
)
def test_front_matter_is_told_from_rules(text, expected):
    assert prose(text, "markdown") == expected


@pytest.mark.parametrize(
    ("html", "sent"),
    [
        ("<p>Hello <b>you</b> &amp; me</p><p>Two<br>three</p>", ["Hello [X1X]you[X2X] [X3X] me", "Two", "three"]),
        ("<script>var a='b';</script><style>p{}</style><pre>x <i>y</i></pre><textarea>t</textarea>z", ["z"]),
        ("<p>Run <code>a <b>b</b></code> now</p>", ["Run [X1X] now"]),
        ('<p title="A title">Say <span translate="no">Brand</span> here</p>', ["Say [X1X] here"]),
        ("<div>a<ul><li>one<li>two {x} three</ul></div>", ["a", "one", "two [X1X] three"]),
        ("<!-- c --><p>a <!-- d --> b", ["a [X1X] b"]),
        ("no tags, 1 < 2 <", ["no tags, 1 < 2 <"]),
        ("<p>Mail<a href='mailto:a@b.cd'>us</a> <code>x</p> y", ["Mail[X1X]us"]),
        ("a<![0", ["a<![0"]),
        ("<p>a <![endif]>b<![CDATA[c > d]]> e <?php > f</p>", ["a [X1X]b[X2X] e [X3X] f"]),
        ("<p>a &# b</p><p>c &# d</p><p>e &# f; g</p><script>x</script><p>h", ["a &# b", "c &# d", "e &# f; g", "h"]),
        ("<p>a <!-- b</p><p>c</p>", ["a"]),
        ('<p>a <b class="c>d</b> e</p>', ["a [X1X]d[X2X] e"]),
        ("<p>a</p><script>if (b</c>d) e</scripts>f</SCRIPT >g", ["a", "g"]),
        ("<p>a <IMG alt='>' src=b/> c <B Translate=NO>d</B> e", ["a [X1X] c [X2X] e"]),
    ],
)
def test_the_prose_of_html_is_found(html, sent):
    assert [strip.trimmed().sent for strip in strips_of(html, "html") if strip.trimmed()] == sent


@pytest.mark.parametrize(
    "unit",
    [
        "<",
        "</",
        "</a",
        "<a",
        "<a ",
        '<a b="',
        "<a b='",
        '<a b="">',
        "<!--",
        "<!",
        "<?",
        "<![CDATA[",
        "<script>",
        "<pre>",
    ],
)
@pytest.mark.parametrize("end", ["", ">", '">', "'\">"])
def test_html_that_never_ends_takes_no_time(unit, end):
    """30 kB of beginnings: looking for the end of each would take seconds, at 60 kB half a minute."""
    begun = time.process_time()
    html_blocks(unit * (30_000 // len(unit)) + end)
    assert time.process_time() - begun < 1


@pytest.mark.parametrize(
    ("name", "form"),
    [("a/B.MD", "markdown"), ("x.markdown.gz", "markdown"), ("x.htm", "html"), ("x.md.txt", "text"), ("-", "text")],
)
def test_the_format_is_known_by_the_name(name, form):
    assert format_of(name) == form


@pytest.mark.parametrize(
    ("source", "translation", "kind", "same"),
    [
        ("a **b** c", "A **B** C", "markdown", True),
        ("a **b** c", "A ** B** C", "markdown", False),
        ("a b", "1. b", "markdown", False),
        ("a b", "[a]: b", "markdown", False),
        ("- a of what follows code", "A - of what follows code", "markdown", True),
        ("0001. A heading", "[simulated] 0001. A HEADING", "markdown", True),
        ("[a](b) c", "[a] (b) c", "markdown", False),
        ("a <b>c</b>", "</b>c <b>a", "html", False),
        ("a <b>c</b>", "<b>c</b> a", "html", True),
        ("a *b", "a <b", "text", True),
    ],
)
def test_markup_is_compared(source, translation, kind, same):
    assert is_same_markup(source, translation, kind) is same


@pytest.mark.parametrize(
    ("source", "answer", "text"),
    [
        ("First a point", "1. Punkt", "1\\. Punkt"),
        ("A point", "- Punkt", "\\- Punkt"),
        ("Twice two", "*zwei* `mal`", "\\*zwei\\* \\`mal\\`"),
        ("A **bold** word", "Ein [X1X] fettes [X2X]Wort", "Ein **fettes** Wort"),
    ],
)
def test_what_a_model_adds_becomes_no_markup(source, answer, text):
    (strip,) = strips_of(source, "markdown")
    if "[X" not in answer:
        strip = replace(strip)
    placed = place(Passage(strip), answer)
    assert placed.text.startswith(text[:10]), placed
    assert is_same_markup(strip.plain, placed.text, "markdown")


def test_a_pipe_stays_in_its_cell():
    (_, cell, *_) = strips_of("| a | b |\n|---|---|\n| c | d |", "markdown")
    assert place(Passage(cell), "B | C").text == "B \\| C"


@pytest.mark.parametrize("name", ["page.md", "page.html", "page.txt"])
@pytest.mark.parametrize("text", [HANDBOOK, *(topics[name] for name in ("debugger", "lambda", "with"))])
def test_a_model_that_changes_nothing_changes_nothing(name, text):
    """Byte for byte, line ends included."""
    for each in (text, text.replace("\n", "\r\n")):
        assert translated(translate(**EN_DE), each, said_by(str), source=name) == each


def test_a_model_that_shouts_changes_prose_alone():
    shouted = translated(translate(**EN_DE), HANDBOOK, said_by(str.upper), source="x.md")
    assert '[THE MANUAL](https://x.org/a_b "T")' in shouted
    assert "HELLO **{name}**" in shouted
    words = [[word for word in text.upper().split() if word != ">"] for text in (shouted, HANDBOOK)]
    assert words[0] == words[1]
    for kept in (
        'print("not prose")',
        "title: Not prose",
        "    indented, not prose",
        "> [!NOTE]\n",
        "goes on  \n".upper(),
    ):
        assert kept in shouted


BLOCKS = st.lists(
    st.sampled_from(
        [
            "# H *e*\n",
            "Setext\n===\n",
            "> quote\n> more\n",
            "- a\n  - b\n\n    c\n",
            "1. x\n2) y\n",
            "```\ncode\n```\n",
            "    code\n",
            "| a | b |\n|---|---|\n| `c|d` | \\| |\n",
            "<div>\n*x*\n</div>\n\n",
            "[r]: /u 'T'\n",
            "para **b** [r] [t][r]\nmore `c`\\\nend\n",
            "---\n",
            "\n",
            "\t- tab\n",
            ">\t> x\n",
            "* * *\n",
            "a  \nb\r\n",
            "\\# no\n",
            "![i](u) <b>h</b> &amp;\n",
            "[^1]: note\n",
            "- [x] t\n",
            "~~~\n",
            "`` ` ``\n",
            "+++\n",
            "\u2028x\n",
            "\x0bq\x0c\n",
            "\0z\n",
            "{n, plural, one {\n",
            "|\n",
            "- \n",
            "1.\n",
            "```",
            "<!-- c\n",
            "字字。字字。\n",
        ]
    ),
    max_size=12,
).map("".join)
ANY = st.one_of(
    BLOCKS,
    st.text(st.characters(exclude_categories=("Cs",)), max_size=120),
    st.text("#>-*_`[]()<>|\n\t \\!1.ab~=:{}%&;", max_size=100),
)


@given(ANY, st.sampled_from(["text", "markdown", "html"]))
@settings(max_examples=100, deadline=None)
def test_spans_of_prose_are_apart_and_in_order_and_say_where_they_stand(text, form):
    """Whatever the text; cut as well."""
    at = 0
    for strip in strips_of(text, form):
        assert strip.start >= at
        for found in segments(strip.text, most=40, language="en"):
            part = strip.part(found.start, found.end).trimmed()
            if part is None:
                continue
            assert at <= part.start < part.end <= strip.end
            at = part.end
            if len(part.runs) == 1:
                assert " ".join(text[part.start : part.end].split()) == part.plain
            for shield in part.shields:
                assert text[shield.start : shield.end] == shield.origin
        at = max(at, strip.start)


@given(ANY, st.sampled_from(["text", "markdown", "html"]))
@settings(max_examples=80, deadline=None)
def test_identity_is_identity(text, form):
    """No document is changed by a model that changes nothing."""
    known = []
    for strip in strips_of(text, form):
        for found in segments(strip.text, most=40, language="en"):
            part = strip.part(found.start, found.end).trimmed()
            if part is not None:
                known.append(place(Passage(part), part.sent))
    assert joined(text, known) == text

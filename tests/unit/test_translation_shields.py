"""What is not translated is found, travels as a mark, and comes back; and none of it takes long."""

import time

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from pipeline.tasks.translation.inline import inline_shields
from pipeline.tasks.translation.marks import STAND_IN, damage, mark, marks_in
from pipeline.tasks.translation.markup import markdown_blocks, strips_of
from pipeline.tasks.translation.placing import Passage, place
from pipeline.tasks.translation.shields import merged, plain_shields, technical
from pipeline.tasks.translation.strips import strip_of


def shielded(text):
    return [shield.origin for shield in plain_shields(text)]


def passage(text):
    return Passage(strip_of(text, "text", [(0, len(text))], plain_shields(text)))


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("Hello {name}!", ["{name}"]),
        (
            "{0} of {1.total} and {name!r:>10} at {t:%Y-%m-%d %H:%M}",
            ["{0}", "{1.total}", "{name!r:>10}", "{t:%Y-%m-%d %H:%M}"],
        ),
        ("Dear {{ user.name }}, {% if x %}yes{% endif %}", ["{{ user.name }}", "{% if x %}", "{% endif %}"]),
        ("Set ${HOME} or #{it} or %{count}", ["${HOME}", "#{it}", "%{count}"]),
        ('{see below} and { "a": 1 }', []),
        (
            "You have {n, plural, one {# new {kind}} other {# new}} here",
            ["{n, plural, one {# new {kind}} other {# new}}"],
        ),
        ("{g, select, female {She} other {They}}", ["{g, select, female {She} other {They}}"]),
        ("{open and {x}", ["{x}"]),
        ("%s has %d of %(total)s, %1$s, %-5.2f, 100%%.", ["%s", "%d", "%(total)s", "%1$s", "%-5.2f", "%%"]),
        ("%d%s", ["%d%s"]),
        ("50 % of it, 100% sure, 10%discount, 5 % d'eau", []),
        ("a %dpx line of %dMiB", ["%d", "%d"]),
        (":name and it: is", []),
        ("Press <a href=\"x>y\" class='z'>here</a><br/>", ["<a href=\"x>y\" class='z'>", "</a><br/>"]),
        ("<!-- a <b> --> if a < b and c > d", ["<!-- a <b> -->"]),
        ("see <https://x.org/a> now", ["<https://x.org/a>"]),
        ("a&nbsp;b &#160; or &#xA0; AT&T & you", ["&nbsp;", "&#160;", "&#xA0;"]),
        ("use `len(x)` or ``a`b``, not 'x'", ["`len(x)`", "``a`b``"]),
        ("a ` alone and\n another `", []),
        ("See https://x.org/a_(b)?c=d#e, or (www.x.org).", ["https://x.org/a_(b)?c=d#e", "www.x.org"]),
        ("Mail first.last+tag@mail.example.org.", ["first.last+tag@mail.example.org"]),
        ("@home a@b", []),
        (
            "Edit /etc/hosts, ~/.ssh/config, ./a/b.c or C:\\Users\\x.",
            ["/etc/hosts", "~/.ssh/config", "./a/b.c", "C:\\Users\\x"],
        ),
        ("and/or he/she 1/2 w/o", []),
        ("with --verbose, --max-size=10 and setup.cfg", ["--verbose", "--max-size=10", "setup.cfg"]),
        ("max_size, len(), __init__, os.path.join()", ["max_size", "len()", "__init__", "os.path.join()"]),
        ("well-known e.g. this. That", []),
        ("{a}{b} {c}", ["{a}{b} {c}"]),
        ("{a}\n{b}", ["{a}", "{b}"]),
        ("Room [X1X] and [ x 2 x ] and X3X and [X4", ["[X1X]", "[ x 2 x ]", "X3X", "[X4"]),
        ("max 5, x 2, FX1, [x] and \ufffc", ["\ufffc"]),
    ],
)
def test_what_is_shielded_and_what_is_not(text, expected):
    assert shielded(text) == expected


@pytest.mark.parametrize(
    "came",
    ["[X1X]", "[x1x]", "[ X 1 X ]", "［Ｘ１Ｘ］", "【X1X】", "[Х1Х]", "[X١X]", "[X 1X ]", "[X१X]"],  # noqa: RUF001
)
def test_marks_are_recognised_as_models_write_them(came):
    """Case, blanks, wide brackets, look-alikes of other scripts, other digits."""
    asked = passage("Hello {name} there")
    assert asked.text == "Hello [X1X] there"
    assert place(asked, f"Hallo {came} da").text == "Hallo {name} da"


@pytest.mark.parametrize(
    ("answer", "reason"),
    [
        ("Hallo [X1X] da", "%d did not come back"),
        ("[X1X] [X2X] [X1X]", "{name} came back 2 times"),
        ("[X1X] [X2X] [X7X]", "a mark came back that was not sent"),
        ("[X1X] [X2X] (X2X)", "a part of a mark came back"),
        ("[X1X] [X2X] [X2", "a part of a mark came back"),
        ("[X1X] X2X", "%d did not come back"),
    ],
)
def test_damage_is_told(answer, reason):
    placed = place(passage("Hi {name} has %d left"), answer)
    assert placed.text is None
    assert reason in placed.reasons


def test_other_orders_are_taken_unless_arguments_come_in_order():
    assert place(passage("Of {a} and {b} all"), "[X2X] von [X1X]").text == "{b} von {a}"
    assert "in another order" in place(passage("Of %s and %d all"), "[X2X] von [X1X]").reasons[0]
    assert place(passage("Of %1$s and %2$d all"), "[X2X] von [X1X]").text == "%2$d von %1$s"


def test_blanks_beside_marks_are_mended():
    """A model glues and parts as it likes; what matters for syntax is put right."""
    assert place(passage("see <b>this</b> now ok"), "sieh[X1X] das [X2X]jetzt").text == "sieh <b>das</b> jetzt"
    assert place(passage("go to https://x.org and on"), "zu[X1X]und").text == "zu https://x.org und"
    assert place(passage("all user{n}s go"), "alle Nutzer[X1X]n").text == "alle Nutzer{n}n"


PARTS = [
    "{name}",
    "%s",
    "`",
    "``",
    "[X1X]",
    "[",
    "]",
    "X",
    "1",
    " X1X",
    "\ufffc",
    "\u20dd",
    STAND_IN,
    "<b>",
    "<",
    ">",
    "**",
    "_",
    "*",
    "](",
    ")",
    '(http://x.y "t")',
    "\\",
    "![",
    "word ",
    "Zwei",
    "{",
    "}",
    "{n, plural, one {",
    "|",
    "\n",
    "  ",
    "&amp;",
    "https://a.b/c",
    "[^1]",
    "~~",
    "é",
    "字",
    "\uff05",
    "\uff38",
    "\x1c",
    "\u2028",
    "--opt",
    "a_b",
    "%",
    "@",
    "a@b.cd",
    "<!--",
    "-->",
    "#",
]
TEXTS = st.one_of(
    st.text(st.characters(exclude_categories=("Cs",)), max_size=80),
    st.lists(st.sampled_from(PARTS), max_size=30).map("".join),
)


def restored(strip):
    """The marks of a strip replaced by what they stand for: what a model that changes nothing would lead to."""
    sent, parts, at = strip.sent, [], 0
    found = marks_in(sent)
    assert [each.number for each in found] == list(range(1, len(strip.shields) + 1))
    assert damage(sent, sent, found, [shield.origin for shield in strip.shields]) == []
    for each in found:
        parts += [sent[at : each.start], strip.shields[each.number - 1].origin]
        at = each.end
    return "".join([*parts, sent[at:]])


@given(TEXTS)
@settings(max_examples=120, deadline=None)
def test_what_was_masked_comes_back(text):
    """Any text: the marks in what is sent are ours, each once and in order, and stand for what they replaced."""
    for strip in strips_of(text, "text"):
        assert " ".join(restored(strip).split()) == " ".join(text.split())
        assert "".join(strip.plain.split()) == "".join(text.split())


@given(TEXTS)
@settings(max_examples=80, deadline=None)
def test_markdown_that_was_masked_comes_back(text):
    labels, _ = markdown_blocks(text)
    line = " ".join(text.split())
    if line:
        strip = strip_of(
            line,
            "markdown",
            [(0, len(line))],
            merged(line, [*inline_shields(line, labels), *technical(line, is_markdown=True)]),
        )
        assert strip.plain == line
        for form in ("markdown", "html"):
            for each in strips_of(text, form):
                restored(each)


PATHOLOGICAL = [
    "`",
    "``` `` ",
    "{",
    "{{",
    "{n, plural, one {",
    "<!--",
    "<a ",
    '<a b="',
    "<a '",
    "[",
    "![",
    "](",
    "[a](",
    "[x][",
    '](x "',
    "*a ",
    "_a_",
    "**",
    "~~",
    "a@",
    "a.",
    "a-",
    "a_",
    "\\",
    "http://",
    "www.",
    "%",
    "%(a",
    "&a",
    "&#",
    "/a",
    "./",
    "--a-",
    "x 1 ",
    "[X1",
    "[ ",
    "a\\_",
    "(",
    "((",
    "\ufffc",
    "1 ",
    "{a:",
    "C:\\a\\",
    "`a",
    "$a",
    "$$ a ",
    "[^a",
    "<b>",
]


@pytest.mark.parametrize("unit", PATHOLOGICAL)
def test_what_is_made_to_take_long_does_not(unit):
    """12 kB of a beginning that has no end: going back and forth over it would take seconds, once takes a blink."""
    line = unit * (12_000 // len(unit)) + "]" * 12_000
    begun = time.process_time()
    merged(line, [*plain_shields(line), *inline_shields(line, frozenset())])
    assert time.process_time() - begun < 0.8


def test_a_mark_has_no_more_bytes_than_its_stand_in():
    assert len(mark(99)) == len(STAND_IN.encode())

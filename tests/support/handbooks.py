"""A handbook in Markdown for tests: real sentences of Python's help pages in a structure that has everything."""

import random
import re
from collections import Counter

from markdown_it import MarkdownIt

from tests.support.cli import sentences

PARSER = MarkdownIt("commonmark").enable(["table", "strikethrough"])
PLACEHOLDER = re.compile(r"\{\w+\}|%[ds](?!\w)|\{\{ \w+ \}\}|https?://\S+|&nbsp;|`[^`]+`")
_PROSE = re.compile(r"[A-Z][\w ,;:'().-]{30,240}[.]")


def prose():
    """Sentences without any syntax of their own."""
    return [line for line in sentences() if _PROSE.fullmatch(line) and not re.search(r"_|\(\)|\w\.\w|--|/", line)]


def handbook(size, seed=1):
    """Return about `size` bytes of Markdown."""
    draw = random.Random(seed)
    lines = prose()
    draw.shuffle(lines)
    used = 0

    def say(n=1):
        nonlocal used
        used += n
        return [lines[at % len(lines)] for at in range(used - n, used)]

    def rich():
        (line,) = say()
        words = line[:-1].split()
        at = draw.randrange(1, len(words) - 1)
        forms = (
            f"**{words[at]}**",
            f"*{words[at]}*",
            f"{words[at]} {{name}}",
            f"{words[at]} (%d of %s)",
            f"{words[at]} `code_{at}(x)`",
            f'[{words[at]}](https://example.com/a_b?c={at} "Title")',
            f"![{words[at]}](images/p{at}.png)",
            f"[{words[at]}][ref]",
            f"{words[at]}[^1]",
            f"<b>{words[at]}</b>",
            f"{words[at]} https://example.org/{at}/index.html",
            f"{words[at]}&nbsp;{{{{ total }}}}",
        )
        words[at] = draw.choice(forms)
        return " ".join(words) + "."

    def wrapped(text, prefix=""):
        out, line = [], ""
        for word in text.split():
            if len(line) + len(word) > 76:
                out.append(line)
                line = ""
            line = f"{line} {word}".strip()
        return "\n".join(prefix + each for each in [*out, line])

    def section(number):
        yield f"{'#' * draw.randint(1, 4)} {number}. {say()[0][:-1]}"
        yield wrapped(" ".join([*say(2), rich(), rich(), *say(1)]))
        yield wrapped(rich() + " " + say()[0], "> ") + "\n>\n> - " + rich() + "\n>   - " + say()[0]
        yield f"1. {rich()}\n2. {say()[0]}\n   - {rich()}\n\n     {say()[0]}\n   - [ ] {say()[0]}\n3. {rich()}"
        yield f"| {say()[0][:-1]} | Value |\n|:---|---:|\n| {rich()} | `a|b` |\n| {say()[0]} | {{x}} and \\| |"
        yield f"```python\nprint('{number} stays')  # {say()[0]}\n```"
        yield f"{say()[0]}\n\n    indented {number} stays\n\n{rich()}  \n{say()[0]}"
        yield f'<div class="note">\n{say()[0]}\n</div>'

    parts = ["---\ntitle: Handbook\nkeep: this\n---"]
    number, length = 0, 0
    while length < size:
        number += 1
        parts += section(number)
        length = sum(map(len, parts)) if number % 20 == 0 else length + sum(map(len, parts[-8:]))
    return "\n\n".join([*parts, '[ref]: https://example.com/ref "Stays"', "[^1]: A footnote that explains it."]) + "\n"


def skeleton(text):
    """What has to be the same in a translation: elements, nesting, code, addresses, HTML, front matter."""
    found = []
    for token in PARSER.parse(text):
        found.append((token.type, token.tag, token.markup, token.info, token.level, _fixed(token)))
        counted = Counter(
            (child.type, child.markup, _fixed(child)) for child in token.children or () if child.type not in TEXT
        )
        found.append(sorted(counted.items()))
    return found


TEXT = {"text", "softbreak"}
_CONTENT = {"fence", "code_block", "html_block", "code_inline", "html_inline"}


def _fixed(token):
    attributes = sorted((key, value) for key, value in token.attrs.items() if key != "alt")
    return token.content if token.type in _CONTENT else str(attributes)


def blocks(text):
    """What each block of prose says: first line, line after its last, words, words without what no one translates."""
    found = []
    for token in PARSER.parse(text):
        if token.type == "inline":
            words = " ".join("".join(_words(child) for child in token.children).split())
            bare = " ".join(child.content for child in token.children if child.type == "text")
            found.append((token.map[0] + 1, token.map[1] + 1, words, PLACEHOLDER.sub("", bare), token.content))
    return found


def lost_placeholders(source, translation):
    """First line and line after the last of each block that has other placeholders in its translation."""
    return [
        before[:2]
        for before, after in zip(blocks(source), blocks(translation), strict=True)
        if Counter(PLACEHOLDER.findall(before[4])) != Counter(PLACEHOLDER.findall(after[4]))
    ]


def _words(token):
    if token.type == "softbreak":
        return " "
    return token.content if token.type in {"text", "code_inline", "image", "text_special"} else ""

"""YAML text to plain data, with the line of every key and one sentence for every mistake.

Takes text, hands on a `Document`: dicts, lists, texts, numbers, booleans and None, nothing else. Scalars follow the
core schema of YAML 1.2.2 (section 10.3): ``no`` and ``2026-01-01`` are texts, ``1e3`` is a number. Anchors, aliases,
tags and a second document are refused, so that the data cannot be larger than the text. Built from the parser's
events, one at a time: nothing is composed that is refused later, and no recursion follows the nesting of the text.

Source: yaml.org/spec/1.2.2/#103-core-schema (2026-11-22)
"""

from __future__ import annotations

import math
import re
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Final, Protocol, cast

from ruamel.yaml import YAML
from ruamel.yaml.error import MarkedYAMLError, YAMLError
from ruamel.yaml.reader import ReaderError
from ruamel.yaml.scanner import Scanner

if TYPE_CHECKING:
    _Scanner = Any
else:
    _Scanner = Scanner

MAX_BYTES: Final = 1 << 20
MAX_DEPTH: Final = 50

KeyPath = tuple[str | int, ...]

_INT: Final = re.compile(r"[-+]?[0-9]+")
_OCTAL_OR_HEX: Final = re.compile(r"0o[0-7]+|0x[0-9a-fA-F]+")
_FLOAT: Final = re.compile(r"[-+]?(\.[0-9]+|[0-9]+(\.[0-9]*)?)([eE][-+]?[0-9]+)?")
_NOT_FINITE: Final = re.compile(r"[-+]?\.(inf|Inf|INF)|\.(nan|NaN|NAN)")
_WORDS: Final[dict[str, bool | None]] = {
    **dict.fromkeys(("", "~", "null", "Null", "NULL"), None),
    **dict.fromkeys(("true", "True", "TRUE"), True),
    **dict.fromkeys(("false", "False", "FALSE"), False),
}
_MAX_DIGITS: Final = 40  # far beyond 64 bits, far below the length at which int() refuses
_TOO_DEEP: Final = f"more than {MAX_DEPTH} levels deep"

# What the parser says, and what to say instead. The first pattern that matches wins.
_SYNTAX: Final[tuple[tuple[re.Pattern[str], str], ...]] = tuple(
    (re.compile(pattern), words)
    for pattern, words in (
        (r"character '@'", 'a text that begins with @ must be in quotes, e.g. "@cf/baai/bge-m3"'),
        (r"character '\\t'", "a tab cannot indent; use spaces"),
        (r"character '([`%])'", "a text that begins with {0} must be in quotes"),
        (
            r"mapping values are not allowed|simple key",
            'a ":" where none is expected: check the indentation, or put a text that holds ": " in quotes',
        ),
        (r"while scanning a quoted scalar.*end of stream", "a quote is opened and never closed"),
        (r"while scanning a quoted scalar.*document separator", "a quote is opened and never closed"),
        (r"unknown escape character '(.*?)'", "unknown escape \\{0} in double quotes; use \\\\ or single quotes"),
        (r"escape sequence", "incomplete escape in double quotes; use \\\\ or single quotes"),
        (r"while parsing a flow (?:sequence|mapping|node)", 'a "[" or "{{" is never closed, or a comma is missing'),
        (r"expected <block end>, but found '<scalar>'", "text after the end of a value; put the whole value in quotes"),
        (r"but found ['\"(]*[\]}}]", "a closing bracket without an opening one"),
        (
            r"expected <block end>|expected '<document start>'|but found '<block|block",
            "indentation does not match the lines above",
        ),
        (r"expected alphabetic or numeric character", "a text that begins with * or & must be in quotes"),
        (r"while scanning a directive|YAML directive|version", "% directives are not supported"),
    )
)


class YamlFault(Exception):
    """The text cannot be read at all; nothing after `line` was looked at.

    Attributes:
        line: 1-based line; 0 when the whole text is meant.
        problem: What is wrong and what would be right.
        path: The key that was being read, as far as known.
    """

    def __init__(self, line: int, problem: str, path: KeyPath = ()) -> None:
        self.line, self.problem, self.path = line, problem, path
        super().__init__(problem)


@dataclass(frozen=True, slots=True)
class Problem:
    """A mistake that does not keep the rest from being read."""

    line: int
    path: KeyPath
    problem: str


@dataclass(slots=True)
class Document:
    """What a text says.

    Attributes:
        data: Plain data; None for an empty text.
        lines: 1-based line of every key and list element; ``()`` is where the content begins.
        problems: Mistakes found on the way: duplicate keys, keys that are no names, tags, numbers out of range.
        empty: The text holds no content, not even an explicit null.
    """

    data: object = None
    lines: dict[KeyPath, int] = field(default_factory=dict)
    problems: list[Problem] = field(default_factory=list)
    empty: bool = True


class _Mark(Protocol):
    line: int


class _Event(Protocol):
    """The part of the parser's events that is used here."""

    start_mark: _Mark
    anchor: str | None
    tag: str | None
    value: str
    style: str | None
    version: tuple[int, int] | None


class _CappedScanner(_Scanner):  # type: ignore[misc]
    """Stops at the nesting cap: the scanner looks 1,024 characters ahead, in time that grows with the square."""

    def fetch_flow_collection_start(self, token: object, to_push: str) -> None:
        """Open a bracket."""
        if self.flow_level >= MAX_DEPTH:
            raise YamlFault(int(self.reader.line) + 1, _TOO_DEEP)
        super().fetch_flow_collection_start(token, to_push)


@dataclass(slots=True)
class _Frame:
    """A mapping or list that is being read.

    Attributes:
        live: False below a value that is dropped (a duplicate key's): read over, not kept.
        drop: The value of the key just read is dropped.
    """

    value: dict[str, object] | list[object]
    path: KeyPath
    live: bool
    key: str | None = None
    key_line: int = 0
    drop: bool = False
    seen: dict[str, int] = field(default_factory=dict)


def dotted(path: KeyPath) -> str:
    """Write a path as users do: ``input.items[3].text``."""
    out = ""
    for step in path:
        out += f"[{step}]" if isinstance(step, int) else f".{step}" if out else step
    return out


def read_yaml(text: str) -> Document:
    """Read one document.

    Args:
        text: At most `MAX_BYTES` in UTF-8; a byte order mark is allowed.

    Returns:
        The data with the line of each key, and the mistakes that did not stop the reading.

    Raises:
        YamlFault: The text is not YAML, or uses what is not supported (anchors, aliases, a second document).
    """
    text = text.removeprefix("\ufeff")
    if "\0" in text:
        raise YamlFault(0, "not a text file: it holds NUL characters")
    reader = _Reader()
    try:
        for event in _events(text):
            reader.take(event)
    except ReaderError as exc:
        position = exc.position if isinstance(exc.position, int) else 0
        line = text.count("\n", 0, position) + 1
        raise YamlFault(line, f"holds the character {_code_point(exc.character)}, which YAML does not allow") from exc
    except MarkedYAMLError as exc:
        raise YamlFault(_line_of(exc), _syntax(exc), reader.path) from exc
    except (YAMLError, RecursionError, ValueError, OverflowError, LookupError, AttributeError, AssertionError) as exc:
        # The parser lets its own slips through on malformed escapes and directives, e.g. "\U00110000".
        raise YamlFault(reader.line, "not readable as YAML near this line", reader.path) from exc
    return reader.document


def _events(text: str) -> Iterator[_Event]:
    yaml = YAML(typ="safe", pure=True)
    yaml.Scanner = _CappedScanner
    return cast("Iterator[_Event]", yaml.parse(text))


def _code_point(character: object) -> str:
    return f"U+{character if isinstance(character, int) else ord(str(character)[0]):04X}"


def _line_of(exc: MarkedYAMLError) -> int:
    # An unclosed quote or bracket is reported where it was opened, not at the end of the file.
    unclosed = "end of stream" in str(exc.problem) or "stream end" in str(exc.problem)
    mark = exc.context_mark if unclosed and exc.context_mark is not None else exc.problem_mark
    mark = mark if mark is not None else exc.context_mark
    return int(mark.line) + 1 if mark is not None else 0


def _syntax(exc: MarkedYAMLError) -> str:
    said = f"{exc.context or ''} {exc.problem or ''}"
    for pattern, words in _SYNTAX:
        found = pattern.search(said)
        if found:
            return words.format(*found.groups())
    return f"not valid YAML: {said.strip()}"


class _Reader:
    """Builds the document from events. One method per kind of event; the stack is explicit."""

    def __init__(self) -> None:
        self.document = Document()
        self.line = 1
        self._stack: list[_Frame] = []
        self._n_documents = 0

    @property
    def path(self) -> KeyPath:
        """Where in the document the reader is."""
        if not self._stack:
            return ()
        frame = self._stack[-1]
        return frame.path if frame.key is None else (*frame.path, frame.key)

    @property
    def _here(self) -> KeyPath:
        """Path of the value that begins now."""
        frame = self._stack[-1] if self._stack else None
        return (*self.path, len(frame.value)) if frame is not None and isinstance(frame.value, list) else self.path

    def take(self, event: _Event) -> None:
        """Take the next event."""
        self.line = event.start_mark.line + 1
        kind = type(event).__name__
        if kind == "ScalarEvent":
            self._scalar(event)
        elif kind == "MappingStartEvent":
            self._open(event, {})
        elif kind == "SequenceStartEvent":
            self._open(event, [])
        elif kind in ("MappingEndEvent", "SequenceEndEvent"):
            self._stack.pop()
        elif kind == "AliasEvent":
            raise YamlFault(
                self.line,
                f"aliases are not supported; if the text *{event.anchor} is meant, put it in quotes",
                self._here,
            )
        elif kind == "DocumentStartEvent":
            self._document(event)

    def _document(self, event: _Event) -> None:
        self._n_documents += 1
        if self._n_documents > 1:
            raise YamlFault(self.line, "a second document begins here (---); one job per file")
        if event.version is not None and tuple(event.version) != (1, 2):
            raise YamlFault(1, "the file asks for another version of YAML; remove the %YAML line")

    def _scalar(self, event: _Event) -> None:
        self._check_node(event)
        plain = event.style is None
        if self._stack and isinstance(self._stack[-1].value, dict) and self._stack[-1].key is None:
            self._key(self._stack[-1], _joined(event.value), plain=plain)
            return
        text = _joined(event.value)
        value = self._resolve(text) if plain else text
        if isinstance(value, str):
            self._check_text(value)
        self._place(value)

    def _open(self, event: _Event, value: dict[str, object] | list[object]) -> None:
        self._check_node(event)
        if len(self._stack) >= MAX_DEPTH:
            raise YamlFault(self.line, _TOO_DEEP, self.path)
        if self._stack and isinstance(self._stack[-1].value, dict) and self._stack[-1].key is None:
            raise YamlFault(
                self.line,
                "a key must be a plain name; put a template such as {{title}} in quotes",
                self._stack[-1].path,
            )
        self._stack.append(self._place(value))

    def _key(self, frame: _Frame, text: str, *, plain: bool) -> None:
        problem, path = None, frame.path
        if plain and (text in _WORDS or _INT.fullmatch(text) or _FLOAT.fullmatch(text) or _NOT_FINITE.fullmatch(text)):
            what = "empty" if text == "" else f"{text}, which is not text"
            problem = f"a key is {what}; put it in quotes if it is a name"
        elif _has_surrogates(text) or "\0" in text:
            problem = "a key holds a character that cannot be written to a file"
        elif text in frame.seen:
            problem, path = f"given twice; the first is on line {frame.seen[text]}", (*frame.path, text)
        else:
            frame.seen[text] = self.line
        if problem is not None:
            self._report(self.line, path, problem)
        frame.key, frame.key_line, frame.drop = text, self.line, problem is not None

    def _place(self, value: object) -> _Frame:
        """Put a value where it belongs; the frame returned serves only when the value is a mapping or list."""
        container = cast("dict[str, object] | list[object]", value)
        if not self._stack:
            self.document.data, self.document.empty = value, False
            self.document.lines[()] = self.line
            return _Frame(container, (), live=True)
        frame = self._stack[-1]
        if isinstance(frame.value, list):
            path: KeyPath = (*frame.path, len(frame.value))
            frame.value.append(value)
            if frame.live:
                self.document.lines[path] = self.line
            return _Frame(container, path, live=frame.live)
        key = cast("str", frame.key)
        path, live = (*frame.path, key), frame.live and not frame.drop
        frame.key = None
        if live:
            frame.value[key] = value
            self.document.lines[path] = frame.key_line
        return _Frame(container, path, live=live)

    def _check_node(self, event: _Event) -> None:
        if event.anchor is not None:
            raise YamlFault(
                self.line,
                f"anchors are not supported (&{event.anchor}): write the value out, or put a text in quotes",
                self._here,
            )
        if event.tag is not None:
            tag = str(event.tag).replace("tag:yaml.org,2002:", "!!")
            self._report(self.line, self._here, f"tags are not supported ({tag}): remove it, or put a text in quotes")

    def _check_text(self, text: str) -> None:
        if _has_surrogates(text):
            self._report(self.line, self._here, "holds half a character (a lone surrogate such as \\ud800)")
        elif "\0" in text:
            self._report(self.line, self._here, "holds a NUL character")

    def _resolve(self, text: str) -> object:
        """Read a plain scalar by the core schema."""
        if text in _WORDS:
            return _WORDS[text]
        number: float | None = None
        if _INT.fullmatch(text) or _OCTAL_OR_HEX.fullmatch(text):
            number = _whole(text)
        elif _FLOAT.fullmatch(text):
            number = float(text)
        elif _NOT_FINITE.fullmatch(text):
            number = math.inf
        if number is None:
            return text
        # Beyond 64 bits a number cannot be sent as JSON; infinite and undefined ones cannot either.
        if not math.isfinite(number) or (isinstance(number, int) and not -(2**63) <= number < 2**64):
            self._report(self.line, self._here, f"the number {text[:_MAX_DIGITS]} is out of range")
            return 1
        return number

    def _report(self, line: int, path: KeyPath, problem: str) -> None:
        dropped = self._stack and (
            not self._stack[-1].live or (self._stack[-1].key is not None and self._stack[-1].drop)
        )
        if not dropped:
            self.document.problems.append(Problem(line, path, problem))


def _whole(text: str) -> float:
    if len(text) > _MAX_DIGITS:
        return math.inf
    return int(text, 0) if text[:2] in ("0o", "0x") else int(text)


def _has_surrogates(text: str) -> bool:
    return any("\ud800" <= character <= "\udfff" for character in text) if not text.isascii() else False


def _joined(text: str) -> str:
    """Join surrogate pairs written as two escapes, the way JSON writes characters beyond U+FFFF."""
    return text.encode("utf-16", "surrogatepass").decode("utf-16", "surrogatepass") if _has_surrogates(text) else text

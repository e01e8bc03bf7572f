"""Terms that are always translated in the same way: `params.glossary`, a CSV file.

Columns ``source,target``; ``source_lang,target_lang`` restrict a line to records of these languages. A term is found as
whole words, the longest first. One in lower case is found however it is written; one with capitals only as it stands.
In scripts without blanks between words a term is found wherever it stands.
"""

from __future__ import annotations

import csv
import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from pipeline.errors import PlanError
from pipeline.records import digest
from pipeline.tasks.languages import UnknownLanguage
from pipeline.tasks.translation.shields import Shield

KEY: Final = "params.glossary"
_COLUMNS: Final = ("source", "target")
_LANGUAGES: Final = ("source_lang", "target_lang")
_MOST_BYTES: Final = 10_000_000
_WORD: Final = re.compile(r"\w+")
_UNSPACED: Final = re.compile(
    "[\u0e00-\u0eff\u1000-\u109f\u1780-\u17ff\u3040-\u30ff\u3400-\u9fff\uf900-\ufaff\U00020000-\U0003ffff]"
)


@dataclass(frozen=True, slots=True)
class Term:
    """One line of a glossary.

    Attributes:
        source: As it stands in the texts.
        target: What stands for it in translations.
        source_lang: Code of the language of the texts; None for any.
        target_lang: Code of the language of the translations; None for any.
        line: Of the file.
    """

    source: str
    target: str
    source_lang: str | None
    target_lang: str | None
    line: int


@dataclass(frozen=True, slots=True)
class Glossary:
    """All terms of a file.

    Attributes:
        terms: In the order of the file.
        key: Digest of what was read.
    """

    terms: tuple[Term, ...]
    key: bytes

    def between(self, source_lang: str, target_lang: str) -> Terms:
        """The terms that hold for a record; of two lines for one word that which names more languages."""
        chosen: dict[str, Term] = {}
        for term in sorted(self.terms, key=lambda each: (each.source_lang is None) + (each.target_lang is None)):
            if term.source_lang in {None, source_lang} and term.target_lang in {None, target_lang}:
                chosen.setdefault(_spoken(term.source), term)
        return Terms(list(chosen.values()))


class Terms:
    """Finds terms in a text.

    Args:
        terms: No two of them for the same words.
    """

    def __init__(self, terms: Sequence[Term]) -> None:
        self._by_word: dict[str, list[tuple[re.Pattern[str], int, Term]]] = {}
        anywhere: dict[str, Term] = {}
        for term in sorted(terms, key=lambda each: -len(each.source)):
            first = _WORD.search(term.source)
            if first is None or _UNSPACED.search(term.source):
                anywhere[term.source] = term
                continue
            words = r"\s+".join(re.escape(word) for word in term.source.split())
            flags = re.IGNORECASE if term.source == term.source.lower() else re.NOFLAG
            entry = (re.compile(rf"(?<!\w){words}(?!\w)", flags), first.start(), term)
            self._by_word.setdefault(first[0].casefold(), []).append(entry)
        self._anywhere = anywhere
        self._pattern = re.compile("|".join(map(re.escape, anywhere))) if anywhere else None

    def __call__(self, line: str, shields: Sequence[Shield]) -> list[Shield]:
        """Find terms outside of what is shielded already."""
        taken = bytearray(len(line))
        for each in shields:
            taken[each.start : each.end] = b"\1" * (each.end - each.start)
        found: list[Shield] = []
        reached = 0
        for word in _WORD.finditer(line) if self._by_word else ():
            for pattern, lead, term in self._by_word.get(word[0].casefold(), ()):
                match = pattern.match(line, max(0, word.start() - lead))
                if match and match.start() >= reached and 1 not in taken[match.start() : match.end()]:
                    found.append(_shield(match, term))
                    reached = match.end()
                    taken[match.start() : reached] = b"\1" * (reached - match.start())
                    break
        others = self._pattern.finditer(line) if self._pattern else ()
        free = (match for match in others if 1 not in taken[match.start() : match.end()])
        return [*found, *(_shield(match, self._anywhere[match[0]]) for match in free)]


def _shield(match: re.Match[str], term: Term) -> Shield:
    begins_capital = match[0][:1].isupper() and not term.source[:1].isupper()
    back = term.target[:1].upper() + term.target[1:] if begins_capital else term.target
    return Shield(*match.span(), back=back, is_word=True)


def _spoken(source: str) -> str:
    """What two lines for one term have in common."""
    return " ".join(source.split())


def read_glossary(given: object, codes: Mapping[str, Callable[[str], str]]) -> Glossary:
    """Read the glossary that a job names; its path is relative to the working directory, as that of its input.

    Args:
        given: `params.glossary`.
        codes: Finds the model's code of a language, by column.

    Raises:
        PlanError: It is no glossary; says file and line.
    """
    if not isinstance(given, str) or not given:
        raise PlanError("should be the path of a CSV file with the columns source and target", key=KEY)
    path = Path(given).expanduser()
    try:
        with path.open("rb") as file:
            content = file.read(_MOST_BYTES + 1)
    except OSError as exc:
        raise PlanError(f"{given} cannot be read: {exc.strerror or exc}", key=KEY) from exc
    if len(content) > _MOST_BYTES:
        raise PlanError(f"{given} is larger than {_MOST_BYTES // 1_000_000} MB", key=KEY)
    try:
        text = content.decode("utf-8-sig")
    except UnicodeDecodeError as exc:
        line = content.count(b"\n", 0, exc.start) + 1
        raise _error(given, line, f"is not UTF-8 at byte {exc.start}; save it as UTF-8") from exc
    terms = _terms(given, text, codes)
    made_of = repr([(term.source, term.target, term.source_lang, term.target_lang) for term in terms])
    return Glossary(tuple(terms), digest(made_of.encode()))


def _error(name: str, line: int, problem: str) -> PlanError:
    return PlanError(f"{name}:{line}: {problem}", key=KEY)


def _terms(name: str, text: str, codes: Mapping[str, Callable[[str], str]]) -> list[Term]:
    reader = csv.reader(text.splitlines(keepends=True), strict=True)
    terms: list[Term] = []
    seen: dict[tuple[str, str | None, str | None], int] = {}
    try:
        header = [cell.strip() for cell in next(reader, [])]
        _check_header(name, header)
        for cells in reader:
            if not any(cell.strip() for cell in cells):
                continue
            term = _term(name, reader.line_num, dict(zip(header, map(str.strip, cells), strict=False)), codes)
            if len(cells) > len(header):
                raise _error(
                    name, term.line, f"has {len(cells)} cells for {len(header)} columns; quote those with commas"
                )
            key = (_spoken(term.source), term.source_lang, term.target_lang)
            if key in seen:
                raise _error(name, term.line, f'"{term.source}" stands in line {seen[key]} already; remove one of them')
            seen[key] = term.line
            terms.append(term)
    except csv.Error as exc:
        raise _error(name, reader.line_num, f"is not CSV ({exc})") from exc
    if not terms:
        raise _error(name, 1, "holds no terms")
    return terms


def _check_header(name: str, header: Sequence[str]) -> None:
    wrong = [cell for cell in header if cell not in (*_COLUMNS, *_LANGUAGES)]
    missing = [column for column in _COLUMNS if column not in header]
    if wrong or missing or len(set(header)) < len(header):
        shown = ",".join(header)[:80]
        raise _error(name, 1, f'should have the columns source,target (and source_lang,target_lang), not "{shown}"')


def _term(name: str, line: int, cells: Mapping[str, str], codes: Mapping[str, Callable[[str], str]]) -> Term:
    for column in _COLUMNS:
        if not cells.get(column):
            raise _error(name, line, f"{column} is empty; write the term twice to leave it as it is")
    if not any(map(str.isalnum, cells["source"])):
        raise _error(name, line, f'"{cells["source"]}" has no letters')
    languages: list[str | None] = []
    for column in _LANGUAGES:
        try:
            languages.append(codes[column](cells[column]) if cells.get(column) else None)
        except UnknownLanguage as exc:
            raise _error(name, line, f"{column}: {exc}") from exc
    return Term(cells["source"], cells["target"], languages[0], languages[1], line)

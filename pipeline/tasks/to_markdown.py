"""`to-markdown`: a document to Markdown, several documents a request.

``POST /ai/tomarkdown`` takes a form with ``files``, once for each, and ``conversionOptions``; the result is one item a
file: ``{name, mimeType, format, tokens, data}``, or ``{name, format: "error", error}`` for one that failed, with HTTP
200. Source: developers.cloudflare.com/workers-ai/features/markdown-conversion/ (usage/rest-api, supported-formats,
conversion-options, how-it-works), 2026-11-22.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final

import orjson

from pipeline.catalog import Catalog
from pipeline.errors import PlanError, UnreadableAnswer
from pipeline.records import Answer, Column, Form, FormPart, Outline, Piece, Record, Request, digest
from pipeline.tasks.base import PER_MILLION, Adapter, TaskContext, TaskKind, whole
from pipeline.tasks.files import content_of, files_input, fingerprint, located

LARGEST: Final = 10_000_000
"""Bytes of a document; ours, none is published."""

MOST_DOCUMENTS: Final = 10
"""In a request; ours, none is published."""

MOST_BYTES: Final = 5_000_000
"""Of the documents of a request, unless it is a single one."""

_OPTIONS: Final = frozenset({"output", "image", "html", "pdf"})
_UNSAFE: Final = re.compile(r"[^A-Za-z0-9._-]+")
_LONGEST_NAME: Final = 100
_LONGEST_REASON: Final = 300
_LONGEST_MIME: Final = 200
_MOST_TOKENS: Final = 100_000_000
_OFFICE: Final = "application/vnd.openxmlformats-officedocument"
_MIMES: Final[Mapping[str, str]] = {
    ".pdf": "application/pdf",
    ".jpeg": "image/jpeg",
    ".jpg": "image/jpeg",
    ".png": "image/png",
    ".webp": "image/webp",
    ".gif": "image/gif",
    ".bmp": "image/bmp",
    ".svg": "image/svg+xml",
    ".html": "text/html",
    ".htm": "text/html",
    ".xml": "application/xml",
    ".csv": "text/csv",
    ".txt": "text/plain",
    ".md": "text/markdown",
    ".docx": f"{_OFFICE}.wordprocessingml.document",
    ".xlsx": f"{_OFFICE}.spreadsheetml.sheet",
    ".xlsm": "application/vnd.ms-excel.sheet.macroenabled.12",
    ".xls": "application/vnd.ms-excel",
    ".et": "application/vnd.ms-excel",
    ".ods": "application/vnd.oasis.opendocument.spreadsheet",
    ".odt": "application/vnd.oasis.opendocument.text",
}
_DESCRIBER: Final = "@cf/google/gemma-4-26b-a4b-it"
_PICTURE_TOKENS: Final = 2_048
_DESCRIPTION_TOKENS: Final = 1_024


@dataclass(frozen=True, slots=True)
class Document:
    """A document that a record names.

    Attributes:
        path: The file.
        name: Under which it is sent; the service puts it into what it makes of a PDF.
        digest: Of its content.
        mime: By its name.
    """

    path: Path
    name: str
    digest: bytes
    mime: str


@dataclass(frozen=True, slots=True)
class Unconverted:
    """What one document of a request came to that the service could not convert."""

    reason: str


class ToMarkdown(Adapter):
    """Adapter of the task `to-markdown`.

    Conversion is free but for pictures, which a detector and a language model look at, at no published price. Reserved
    are, for a picture, 2,048 tokens in and 1,024 out at the price of the model that the documentation names; for all
    else nothing. What the service names is booked, and where it names nothing, what was reserved.
    """

    columns: Sequence[Column] = (Column("markdown", "string"), Column("tokens", "int64"), Column("mime", "string"))
    max_request_bytes = MOST_BYTES
    is_heavy = True

    def __init__(self, context: TaskContext) -> None:
        super().__init__(context)
        self.max_pieces = min(context.batch_size or MOST_DOCUMENTS, MOST_DOCUMENTS)
        self._options = _options(context.params)
        model = Catalog.load().get(_DESCRIBER)
        prices = model.prices if model is not None else {}
        self._picture = PER_MILLION * (
            _PICTURE_TOKENS * prices.get("input_per_m_tokens", 0.0)
            + _DESCRIPTION_TOKENS * prices.get("output_per_m_tokens", 0.0)
        )

    def _found(self, record: Record) -> tuple[Document, Outline]:
        path = located(record, self._context.text.render(record.fields))
        size, content = fingerprint(path, most=LARGEST)
        name = _UNSAFE.sub("-", path.name)[-_LONGEST_NAME:]
        mime = _MIMES.get(path.suffix.lower(), "application/octet-stream")
        ceiling = self._picture if mime.startswith("image/") else 0.0
        outline = Outline(size, ceiling / 4, ceiling, digest(name.encode(), content))
        return Document(path, name, content, mime), outline

    def pieces(self, record: Record) -> list[Piece]:
        """One document, one piece.

        Raises:
            RecordUnusable: There is no such file, it is empty or too large.
        """
        document, outline = self._found(record)
        return whole(record, document, outline)

    def outline(self, record: Record) -> Outline:
        """The same without the piece."""
        return self._found(record)[1]

    def payload(self, request: Request) -> Form:
        """The files, each under a name of its own, and the options."""
        parts = [
            FormPart("files", content_of(document.path, expected=document.digest), filename=name, mime=document.mime)
            for name, document in _named(request).items()
        ]
        if self._options is not None:
            parts.append(FormPart("conversionOptions", self._options))
        return Form(tuple(parts))

    def parse(self, request: Request, answer: Answer) -> Sequence[object]:
        """For each document the columns of this task, or `Unconverted`.

        Raises:
            UnreadableAnswer: Not a list of results, or none of them for a document that was sent.
        """
        result = answer.result
        items = [result] if isinstance(result, dict) else result
        if not isinstance(items, list) or not all(isinstance(item, dict) for item in items):
            raise UnreadableAnswer("the answer is not a list of converted documents")
        names = list(_named(request))
        if len(names) == len(items) == 1:
            return [_read(items[0])]
        by_name: dict[object, list[dict[str, object]]] = {name: [] for name in names}
        for item in items:
            if isinstance(item.get("name"), str):
                by_name.get(item["name"], []).append(item)
        if not any(by_name.values()):
            raise UnreadableAnswer("the answer names none of the documents that were sent")
        return [_read(by_name[name][0]) if len(by_name[name]) == 1 else _MISSING for name in names]

    def row(self, record: Record, values: Sequence[object]) -> Mapping[str, object]:
        """The Markdown.

        Raises:
            UnreadableAnswer: The service could not convert this document.
        """
        value = values[0]
        if isinstance(value, Unconverted):
            raise UnreadableAnswer(value.reason)
        return super().row(record, values)


_MISSING: Final = Unconverted("the answer does not hold one result for this document")


def _options(params: Mapping[str, object]) -> bytes | None:
    """Read `params.conversion_options`.

    Raises:
        PlanError: It is no mapping of options that exist, or there is another parameter.
    """
    for name in params:
        if name != "conversion_options":
            raise PlanError("is no parameter of to-markdown; it takes conversion_options", key=f"params.{name}")
    options = params.get("conversion_options")
    if options is None:
        return None
    key = "params.conversion_options"
    if not isinstance(options, dict):
        raise PlanError("should be a mapping, such as {pdf: {metadata: false}}", key=key)
    for name, value in options.items():
        if name not in _OPTIONS:
            raise PlanError(f'has no option "{name}"; it takes {", ".join(sorted(_OPTIONS))}', key=f"{key}.{name}")
        if not isinstance(value, dict):
            raise PlanError("should be a mapping", key=f"{key}.{name}")
    return orjson.dumps(options, default=str)


def _named(request: Request) -> dict[str, Document]:
    """Give every document of a request a name that no other has."""
    named: dict[str, Document] = {}
    for number, piece in enumerate(request.pieces):
        document = piece.content
        assert isinstance(document, Document)
        name = document.name
        while name in named:
            name = f"{number}-{name}"
        named[name] = document
    return named


def _read(item: Mapping[str, object]) -> object:
    """Read the result of one document."""
    text, tokens, mime = item.get("data"), item.get("tokens"), item.get("mimeType")
    if item.get("format") not in ("markdown", "text") or not isinstance(text, str):
        error = item.get("error")
        said = error[:_LONGEST_REASON] if isinstance(error, str) and error else "it does not say why"
        return Unconverted(f"the service could not convert this document: {said}")
    is_count = isinstance(tokens, int) and not isinstance(tokens, bool) and 0 <= tokens <= _MOST_TOKENS
    return {
        "markdown": text,
        "tokens": tokens if is_count else None,
        "mime": mime[:_LONGEST_MIME] if isinstance(mime, str) else None,
    }


KIND: Final = TaskKind(
    name="to-markdown",
    adapter=ToMarkdown,
    text=("path", "text"),
    media="documents",
    owned=frozenset({"files"}),
    extra=frozenset({"conversion_options"}),
    head="""\
task: to-markdown                    # documents to Markdown; there is no model: to choose
# params: {conversion_options: {pdf: {metadata: false}}}   # also output, image and html; see docs/tasks/to-markdown.md
""",
    input=files_input("documents", "PDF, Office, HTML, CSV, pictures", '"a.pdf", "b.docx"'),
)

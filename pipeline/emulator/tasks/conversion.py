"""``POST /ai/tomarkdown``: one result for each file of a form, errors among them, under status 200.

Source: developers.cloudflare.com/workers-ai/features/markdown-conversion/ (usage, formats, options), 2026-11-22. Text
is taken out of HTML, tables out of CSV, shown strings out of a plain PDF; the rest is said to be simulated. What the
service charges for pictures is not published, so nothing is charged here.
"""

from __future__ import annotations

import csv
import io
import re
from html.parser import HTMLParser
from typing import Final

import orjson

from pipeline.emulator.config import EmulatorConfig
from pipeline.emulator.models import Model
from pipeline.emulator.refusals import Refusal, bad_input
from pipeline.emulator.tasks.base import FormFields, Json, Ran, Upload, input_digest
from pipeline.emulator.tasks.pictures import size_of
from pipeline.emulator.tokens import count_tokens

CONVERTER: Final = Model(
    name="tomarkdown",
    task="document-conversion",
    input_price=None,
    output_price=None,
    context_window=None,
    max_input_tokens=None,
    max_batch=None,
    dimensions=None,
    max_tokens_default=256,
    rpm=None,
    reasoning=False,
    requires_paid=False,
    deprecated=None,
    facts={},
)

_OFFICE: Final = "application/vnd.openxmlformats-officedocument"
MIMES: Final = {
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
    ".xlsb": "application/vnd.ms-excel.sheet.binary.macroenabled.12",
    ".xls": "application/vnd.ms-excel",
    ".et": "application/vnd.ms-excel",
    ".ods": "application/vnd.oasis.opendocument.spreadsheet",
    ".odt": "application/vnd.oasis.opendocument.text",
    ".numbers": "application/vnd.apple.numbers",
}
OPTIONS: Final = frozenset({"output", "image", "html", "pdf"})
PICTURES: Final = frozenset({".jpeg", ".jpg", ".png", ".webp", ".gif", ".bmp"})
MARK: Final = "[simulated]"

_SHOWN: Final = re.compile(rb"\(((?:[^()\\]|\\.)*)\)\s*Tj")
_TAG: Final = re.compile(r"<[^>]*>")


class _NotConvertedError(Exception):
    """One file cannot be converted; says why."""


def run(model: Model, body: Json, config: EmulatorConfig) -> Ran:  # noqa: ARG001 - the form of every task
    """Convert every file of a form."""
    files = body.get("files")
    uploads = files if isinstance(files, list) else [files]
    if not isinstance(body, FormFields) or not all(isinstance(upload, Upload) for upload in uploads):
        raise bad_input("required properties at '/' are 'files': a form with one file or more")
    options = _options(body)
    results = [_result(upload, options) for upload in uploads if isinstance(upload, Upload)]
    return Ran(
        output=results,
        input_tokens=0,
        output_tokens=0,
        neurons=None,
        texts=len(results),
        digests=tuple(
            input_digest(model, upload.filename.encode() + upload.content)
            for upload in uploads
            if isinstance(upload, Upload)
        ),
    )


def _options(body: Json) -> Json:
    told = body.get("conversionOptions", "{}")
    try:
        options: object = orjson.loads(str(told))
    except orjson.JSONDecodeError as exc:
        raise Refusal(5006, "AiError: Bad input: conversionOptions is not JSON") from exc
    if not isinstance(options, dict) or not options.keys() <= OPTIONS:
        raise bad_input(f"'/conversionOptions' takes {', '.join(sorted(OPTIONS))}")
    return options


def _result(upload: Upload, options: Json) -> Json:
    suffix = "." + upload.filename.rpartition(".")[2].lower()
    mime = MIMES.get(suffix, upload.mime or "application/octet-stream")
    head: Json = {"id": input_digest(CONVERTER, upload.content).hex(), "name": upload.filename, "mimeType": mime}
    try:
        text = _converted(upload, suffix)
    except _NotConvertedError as problem:
        return {**head, "format": "error", "error": str(problem)}
    output = options.get("output")
    is_text = isinstance(output, dict) and output.get("format") == "text"
    return {**head, "format": "text" if is_text else "markdown", "tokens": count_tokens(text), "data": text}


def _converted(upload: Upload, suffix: str) -> str:
    if suffix not in MIMES:
        raise _NotConvertedError("Unsupported file type")
    if suffix in {".html", ".htm"}:
        reader = _Html()
        reader.feed(_text(upload.content))
        return reader.markdown()
    if suffix == ".csv":
        return _table(_text(upload.content))
    if suffix in {".txt", ".md", ".xml"}:
        return " ".join(_TAG.sub(" ", _text(upload.content)).split()) if suffix == ".xml" else _text(upload.content)
    if suffix == ".pdf":
        return _pdf(upload)
    if suffix in PICTURES:
        size = size_of(upload.content)
        if size is None:
            raise _NotConvertedError("The image cannot be decoded")
        return f"{MARK} A picture of {size[0]} x {size[1]} pixels.\n"
    return f"# {upload.filename}\n\n{MARK} The text of a document of {len(upload.content)} bytes.\n"


def _text(content: bytes) -> str:
    try:
        return content.decode("utf-8-sig")
    except UnicodeDecodeError as exc:
        raise _NotConvertedError("The file is not UTF-8") from exc


def _pdf(upload: Upload) -> str:
    if not upload.content.startswith(b"%PDF-"):
        raise _NotConvertedError("Invalid PDF structure")
    shown = [re.sub(rb"\\(.)", rb"\1", found).decode("latin-1") for found in _SHOWN.findall(upload.content)]
    lines = shown or [f"{MARK} The text of a PDF of {len(upload.content)} bytes."]
    return f"# {upload.filename}\n## Contents\n### Page 1\n{MARK}\n" + "\n".join(lines) + "\n"


def _table(text: str) -> str:
    rows = [row for row in csv.reader(io.StringIO(text)) if row]
    if not rows:
        return ""
    lines = ["| " + " | ".join(row) + " |" for row in rows]
    lines.insert(1, "| " + " | ".join("---" for _ in rows[0]) + " |")
    return "\n".join(lines) + "\n"


class _Html(HTMLParser):
    """Headings, paragraphs and list items; nothing of scripts, styles and heads."""

    SKIPPED: Final = frozenset({"script", "style", "head", "header", "footer"})
    BLOCKS: Final = frozenset({"p", "div", "li", "h1", "h2", "h3", "tr", "section", "article", "ul", "ol", "table"})

    def __init__(self) -> None:
        super().__init__()
        self._blocks: list[str] = [""]
        self._skipping = 0

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:  # noqa: ARG002 - its form
        """Begin a block."""
        self._skipping += tag in self.SKIPPED
        if tag in self.BLOCKS:
            heading = "#" * int(tag[1]) + " " if tag in {"h1", "h2", "h3"} else ""
            self._blocks.append(heading or ("* " if tag == "li" else ""))

    def handle_endtag(self, tag: str) -> None:
        """End a block."""
        self._skipping -= tag in self.SKIPPED and self._skipping > 0
        if tag in self.BLOCKS:
            self._blocks.append("")

    def handle_data(self, data: str) -> None:
        """Take text."""
        if not self._skipping:
            self._blocks[-1] += data

    def markdown(self) -> str:
        """Return what was read."""
        blocks = (" ".join(block.split()) for block in self._blocks)
        return "\n\n".join(block for block in blocks if block) + "\n"

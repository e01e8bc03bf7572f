"""Write sample documents into data/documents: HTML, CSV, plain text, SVG and PDF made of Python's own help pages."""

from __future__ import annotations

import csv
import html
import io
import textwrap
from pathlib import Path
from pydoc_data.topics import topics
from typing import Final

FOLDER: Final = Path("data/documents")
TOPICS: Final = ("comparisons", "exceptions", "slicings")
LINES: Final = 44


def paragraphs(topic: str) -> list[str]:
    """The paragraphs of a help page, each on one line."""
    return [" ".join(part.split()) for part in topics[topic].split("\n\n") if part.strip()]


def page(topic: str) -> str:
    """A help page as HTML."""
    title, *rest = paragraphs(topic)
    body = "\n".join(f"<p>{html.escape(text)}</p>" for text in rest)
    heading = html.escape(title.strip("*= "))
    return (
        f'<!doctype html>\n<html lang="en">\n<head><title>{heading}</title></head>\n<body>\n'
        f"<h1>{heading}</h1>\n{body}\n</body>\n</html>\n"
    )


def table() -> str:
    """A table of all help topics and how long they are."""
    out = io.StringIO()
    writer = csv.writer(out, lineterminator="\n")
    writer.writerow(("topic", "paragraphs", "characters"))
    writer.writerows((name, len(paragraphs(name)), len(text)) for name, text in sorted(topics.items()))
    return out.getvalue()


def drawing() -> str:
    """Three shapes."""
    return (
        '<svg xmlns="http://www.w3.org/2000/svg" width="320" height="200"><title>Three shapes</title>'
        '<rect width="320" height="200" fill="#eef"/><circle cx="80" cy="100" r="50" fill="#c33"/>'
        '<rect x="150" y="60" width="60" height="80" fill="#393"/>'
        '<path d="M240 140 L270 60 L300 140 Z" fill="#339"/></svg>\n'
    )


def pdf(topic: str) -> bytes:
    """One page of text in Helvetica: five objects, their offsets, and nothing else."""
    lines = [line for text in paragraphs(topic) for line in [*textwrap.wrap(text, 88), ""]][:LINES]
    shown = (line.encode("latin-1", "replace").translate(ESCAPED) for line in lines)
    stream = b"BT /F1 10 Tf 50 800 Td 16 TL\n" + b"".join(b"(" + line + b") Tj T*\n" for line in shown) + b"ET"
    objects = [
        b"<< /Type /Catalog /Pages 2 0 R >>",
        b"<< /Type /Pages /Kids [3 0 R] /Count 1 >>",
        b"<< /Type /Page /Parent 2 0 R /MediaBox [0 0 595 842] /Contents 4 0 R "
        b"/Resources << /Font << /F1 5 0 R >> >> >>",
        b"<< /Length %d >>\nstream\n" % len(stream) + stream + b"\nendstream",
        b"<< /Type /Font /Subtype /Type1 /BaseFont /Helvetica >>",
    ]
    out, offsets = b"%PDF-1.4\n", []
    for number, content in enumerate(objects, 1):
        offsets.append(len(out))
        out += b"%d 0 obj\n" % number + content + b"\nendobj\n"
    places = b"".join(b"%010d 00000 n \n" % offset for offset in offsets)
    return (
        out
        + b"xref\n0 %d\n0000000000 65535 f \n" % (len(objects) + 1)
        + places
        + b"trailer\n<< /Size %d /Root 1 0 R >>\nstartxref\n%d\n%%%%EOF\n" % (len(objects) + 1, len(out))
    )


ESCAPED: Final = bytes(sign if sign not in b"()\\" else ord("'") for sign in range(256))
"""Signs that would end a string of a PDF become apostrophes."""


def main() -> None:
    """Write the documents."""
    FOLDER.mkdir(parents=True, exist_ok=True)
    documents = {
        "comparisons.html": page(TOPICS[0]).encode(),
        "exceptions.pdf": pdf(TOPICS[1]),
        "slicings.txt": topics[TOPICS[2]].encode(),
        "topics.csv": table().encode(),
        "shapes.svg": drawing().encode(),
    }
    for name, content in documents.items():
        partial = FOLDER / "partial.tmp"
        partial.write_bytes(content)
        partial.replace(FOLDER / name)


if __name__ == "__main__":
    main()

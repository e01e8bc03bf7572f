"""Write the longer samples: whole pages of Python's own help, and questions with passages that may answer them.

The pages ship with every Python (`pydoc_data.topics`, PSF licence). Writes data/pydoc-pages.jsonl with the columns id,
title, text, and data/pydoc-questions.jsonl with id, query, contexts.
"""

from __future__ import annotations

import json
import runpy
from collections.abc import Iterable, Mapping
from pathlib import Path
from pydoc_data.topics import topics
from typing import Final

PAGES: Final = Path("data/pydoc-pages.jsonl")
QUESTIONS: Final = Path("data/pydoc-questions.jsonl")
PASSAGES_EACH: Final = 4
ASKED: Final[Mapping[str, tuple[str, ...]]] = {
    "How do I run clean-up code after an exception?": ("try", "with", "raise", "del"),
    "What does the else clause of a loop do?": ("for", "while", "break", "if"),
    "How are arguments with default values evaluated?": ("function", "calls", "lambda", "class"),
    "What is the precedence of the arithmetic operators?": ("operator-summary", "binary", "unary", "power"),
    "How do I format a number with a width and a precision?": ("formatstrings", "strings", "numbers", "floating"),
    "What happens when a name is not found?": ("naming", "global", "nonlocal", "attribute-access"),
    "Which objects are hashable?": ("customization", "typesmapping", "dict", "types"),
    "How do I stop at a line in the debugger?": ("debugger", "assert", "break", "continue"),
}
"""Question -> the topics whose first passages are ranked for it."""


def write(path: Path, records: Iterable[Mapping[str, object]]) -> None:
    """Write records, one JSON object a line, whole or not at all."""
    path.parent.mkdir(exist_ok=True)
    partial = path.with_suffix(".tmp")
    partial.write_text("".join(json.dumps(record) + "\n" for record in records), encoding="utf-8")
    partial.replace(path)


def page(name: str) -> str:
    """A topic's page; "" where this Python has none of that name."""
    return topics.get(name, "")


def main() -> None:
    """Write both files."""
    passages = runpy.run_path(str(Path(__file__).with_name("corpus.py")))["passages"]
    write(PAGES, ({"id": name, "title": text.split("\n", 1)[0], "text": text} for name, text in sorted(topics.items())))
    write(
        QUESTIONS,
        (
            {
                "id": f"question-{number}",
                "query": question,
                "contexts": [text for name in names for text in passages(page(name))[:PASSAGES_EACH]],
            }
            for number, (question, names) in enumerate(ASKED.items())
        ),
    )


if __name__ == "__main__":
    main()

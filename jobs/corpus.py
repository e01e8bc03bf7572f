"""Write the sample corpus: the topic pages of Python's own help, cut into passages.

They ship with every Python (`pydoc_data.topics`, PSF licence), so the jobs have real text wherever they run.
Writes data/pydoc-topics.jsonl with the columns id, topic, text.
"""

from __future__ import annotations

import json
import re
from pathlib import Path
from pydoc_data.topics import topics
from typing import Final

TARGET: Final = Path("data/pydoc-topics.jsonl")
LONGEST: Final = 600
SHORTEST: Final = 20
_SENTENCE_END: Final = re.compile(r"(?<=[.!?:]) +(?=[A-Z\"*])")


def passages(page: str) -> list[str]:
    """Cut a page at blank lines, and paragraphs longer than 600 characters at sentences."""
    found: list[str] = []
    for paragraph in page.split("\n\n"):
        text = " ".join(paragraph.split())
        current = ""
        for sentence in _SENTENCE_END.split(text):
            if current and len(current) + len(sentence) > LONGEST:
                found.append(current)
                current = ""
            current = f"{current} {sentence}".strip()
        found.append(current)
    return [text for text in found if len(text) >= SHORTEST]


def main() -> None:
    """Write the corpus, once."""
    TARGET.parent.mkdir(exist_ok=True)
    partial = TARGET.with_suffix(".tmp")
    with partial.open("w", encoding="utf-8") as file:
        for topic, page in sorted(topics.items()):
            for number, text in enumerate(passages(page)):
                file.write(json.dumps({"id": f"{topic}-{number:03}", "topic": topic, "text": text}) + "\n")
    partial.replace(TARGET)


if __name__ == "__main__":
    main()

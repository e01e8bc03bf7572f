"""What a benchmark says: figures and a verdict, on the terminal and as Markdown. Nothing is asserted."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass
class Figure:
    """One line of the table.

    Attributes:
        id: As in README.md here.
        work: What was done.
        target: What is wanted.
        measured: What was found.
        met: Whether it is.
    """

    id: str
    work: str
    target: str
    measured: str
    met: bool

    @property
    def cells(self):
        return (self.id, self.work, self.target, self.measured, "met" if self.met else "missed")


HEAD = ("id", "work", "target", "measured", "verdict")


def as_text(figures):
    lines = [HEAD, *(figure.cells for figure in figures)]
    widths = [max(len(line[at]) for line in lines) for at in range(len(HEAD))]
    return "\n".join("  ".join(cell.ljust(width) for cell, width in zip(line, widths, strict=True)) for line in lines)


def as_markdown(figures):
    lines = [HEAD, ("---",) * len(HEAD), *(figure.cells for figure in figures)]
    return "\n".join("| " + " | ".join(line) + " |" for line in lines)

"""What tasks have in common whose record is a picture: it is found, bounded, and read when it is sent."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Sequence
from typing import Final

from pipeline.errors import PlanError, UnreadableAnswer
from pipeline.records import Outline, Piece, Record, Request, Usage
from pipeline.tasks.base import PER_MILLION, Adapter, TaskContext, finite, whole
from pipeline.tasks.files import files_input
from pipeline.tasks.pictures import LARGEST_SENT, Picture, find_picture, max_pixels_param, read_picture

EXTRA: Final = frozenset({"max_pixels"})
MOST_FINDINGS: Final = 10_000
LONGEST_LABEL: Final = 1_000

INPUT: Final = files_input("images", "PNG, JPEG, WebP, GIF", '"a.jpg", "b.jpg"')


class Seeing(Adapter, ABC):
    """Adapter of a task that looks at one picture a record, one picture a request.

    Attributes:
        most_bytes: Of a picture that is sent.
    """

    is_heavy = True
    most_bytes = LARGEST_SENT

    def __init__(self, context: TaskContext) -> None:
        super().__init__(context)
        self._max_pixels = max_pixels_param(context.params)

    @abstractmethod
    def bound(self, picture: Picture) -> tuple[float, float]:
        """Neurons that a picture probably costs, and at most."""

    def _found(self, record: Record) -> tuple[Picture, Outline]:
        name = self._context.text.render(record.fields)
        picture = find_picture(record, name, is_scaled=self._max_pixels is not None, most=self.most_bytes)
        expected, ceiling = self.bound(picture)
        return picture, Outline(picture.size, expected, ceiling, picture.digest)

    def pieces(self, record: Record) -> list[Piece]:
        """One picture, one piece.

        Raises:
            RecordUnusable: There is no such file, it is too large, or no picture.
        """
        picture, outline = self._found(record)
        return whole(record, picture, outline)

    def outline(self, record: Record) -> Outline:
        """The same without the piece."""
        return self._found(record)[1]

    def content(self, request: Request) -> tuple[bytes, str]:
        """The picture as it is sent, and its media type.

        Raises:
            RecordUnusable: It has changed since it was planned, is damaged, or is too large even when made smaller.
        """
        picture = request.pieces[0].content
        assert isinstance(picture, Picture)
        return read_picture(picture, max_pixels=self._max_pixels, most=self.most_bytes)


class PricedByPicture(Seeing):
    """Adapter of a task whose request is the picture itself, which has one price: the ceiling is the charge."""

    def __init__(self, context: TaskContext) -> None:
        super().__init__(context)
        for name in context.params:
            if name not in EXTRA:
                raise PlanError(f"{context.model.name} takes no parameters", key=f"params.{name}")
        self._price = context.model.prices["per_m_images"] * PER_MILLION

    def bound(self, picture: Picture) -> tuple[float, float]:
        """The price of a picture."""
        return self._price, self._price

    def price(self, usage: Usage) -> float | None:
        """The price of a picture, to hold against a header that is rounded to two decimals."""
        known = usage.header_neurons is not None and not self._context.model.assumed_price
        return self._price if known else None


def findings_of(result: object) -> Sequence[dict[str, object]]:
    """Read a list of objects.

    Raises:
        UnreadableAnswer: It is none, or has more than 10,000 elements.
    """
    if not isinstance(result, list) or len(result) > MOST_FINDINGS:
        raise UnreadableAnswer("the answer is not a list of findings")
    if not all(isinstance(finding, dict) for finding in result):
        raise UnreadableAnswer("there is something between the findings that is none")
    return result


def label_of(finding: dict[str, object]) -> str:
    """Read its label.

    Raises:
        UnreadableAnswer: It has none.
    """
    label = finding.get("label")
    if not isinstance(label, str) or not label or len(label) > LONGEST_LABEL:
        raise UnreadableAnswer("a finding has no label")
    return label


def number_of(finding: dict[str, object], name: str) -> float:
    """Read a finite number.

    Raises:
        UnreadableAnswer: It is none.
    """
    number = finite(finding.get(name))
    if number is None:
        raise UnreadableAnswer(f"a finding's {name} is not a finite number")
    return number

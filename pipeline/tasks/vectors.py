"""Vectors on their way into rows: checked, kept between runs, averaged, made smaller. Arrays all the way."""

from __future__ import annotations

import base64
import binascii
from collections.abc import Sequence
from typing import Any, Final, TypeAlias

import numpy as np
from numpy.typing import NDArray

from pipeline.errors import UnreadableAnswer

Vector: TypeAlias = NDArray[np.float32]
Vectors: TypeAlias = NDArray[np.float32]

_FLOAT16: Final = "float16"
_MOST_FLOAT16: Final = float(np.finfo(np.float16).max)
_MOST_INT8: Final = 127


def vectors_of(data: list[object] | Vectors, *, dim: int | None) -> Vectors:
    """Read the vectors of an answer: the rows of one array, which is `data` itself where that is one.

    Args:
        data: As the answer has them.
        dim: How long they must be; None where nobody knows.

    Raises:
        UnreadableAnswer: They differ in length, have another than `dim`, hold anything but finite numbers, or nothing
            but zeros, which has no direction.
    """
    found = _common_length(data) if isinstance(data, list) else data.shape[1]
    if found != (dim or found):
        raise UnreadableAnswer(f"vectors of {found} numbers came back, not of {dim}")
    with np.errstate(over="ignore", invalid="ignore"):  # too large for float32: found below
        try:
            vectors = np.array(data, dtype=np.float64).astype(np.float32) if isinstance(data, list) else data
        except OverflowError:  # too large for any float
            vectors = np.array([[np.inf]], dtype=np.float32)
        squares = np.einsum("ij,ij->i", vectors, vectors)
    if np.isfinite(squares).all() and squares.all():  # one look at each number for both
        return vectors
    if not np.isfinite(vectors).all():
        raise UnreadableAnswer("a vector holds a number that is not finite")
    if not vectors.any(axis=1).all():
        raise UnreadableAnswer("a vector is nothing but zeros")
    return vectors


def _common_length(data: list[object]) -> int:
    """Return the length of all vectors of an answer.

    Looked at before NumPy does: one long text among the numbers would make it ask for room for as many such texts.

    Raises:
        UnreadableAnswer: They differ, are empty, or hold anything but numbers (NumPy would make numbers of text and
            true).
    """
    length = 0
    for vector in data:
        if not isinstance(vector, list):
            raise UnreadableAnswer("there is something between the vectors that is none")
        if not set(map(type, vector)) <= {int, float}:
            raise UnreadableAnswer("a vector holds something that is not a number")
        if not vector or len(vector) != (length or len(vector)):
            raise UnreadableAnswer("the vectors differ in length or are empty")
        length = len(vector)
    return length


def check_range(vectors: Vectors, number: str) -> None:
    """See that vectors can be stored as such numbers.

    Raises:
        UnreadableAnswer: One is too large.
    """
    if number == _FLOAT16 and float(np.abs(vectors).max(initial=0.0)) > _MOST_FLOAT16:
        raise UnreadableAnswer("a vector holds a number above 65,504, which float16 cannot hold: use float32")


def as_text(vector: Vector) -> str:
    """A vector as JSON can hold it."""
    return base64.b64encode(vector.astype("<f4", copy=False).tobytes()).decode()


def from_text(value: object) -> Vector:
    """What `as_text` has made text of.

    Raises:
        UnreadableAnswer: It is something else.
    """
    try:
        assert isinstance(value, str)
        return np.frombuffer(base64.b64decode(value, validate=True), dtype="<f4")
    except (AssertionError, binascii.Error, ValueError) as error:
        raise UnreadableAnswer("what was kept of an earlier answer is no vector") from error


def mean_of(vectors: Sequence[Vector], weights: Sequence[int]) -> Vector:
    """The weighted mean, made one long.

    Raises:
        UnreadableAnswer: They cancel out, so that it has no direction.
    """
    stacked = np.stack(vectors).astype(np.float64)
    mean = np.asarray(weights, dtype=np.float64) @ stacked / sum(weights)
    length = float(np.linalg.norm(mean))
    if length <= 1e-9 * float(np.abs(stacked).max()):
        raise UnreadableAnswer("the vectors of its chunks cancel out: their mean has no direction")
    unit: Vector = (mean / length).astype(np.float32)
    return unit


def as_int8(vector: Vector) -> tuple[NDArray[np.int8], float]:
    """Whole numbers from -127 to 127, and what they are multiplied by: no number is off by more than half of that."""
    scale = np.float32(np.abs(vector).max()) / np.float32(_MOST_INT8)
    whole: NDArray[Any] = np.rint(vector / scale) if scale > 0 else np.zeros_like(vector)
    return np.clip(whole, -_MOST_INT8, _MOST_INT8).astype(np.int8), float(scale)

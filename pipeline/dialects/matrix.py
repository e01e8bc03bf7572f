"""A matrix of numbers inside a JSON body, from bytes to float32 without a Python object per number.

Takes a body, hands on the same value as orjson would, with an array in place of the lists. It takes only what is plain;
everything else (damage of any kind included) is left to the ordinary way, which knows what to say of it.
"""

from __future__ import annotations

from typing import Any, Final
from uuid import uuid4

import numpy as np
import numpy.typing as npt
import orjson
import simdjson

_STAND_IN: Final = str(uuid4())  # no service can know it, so where it stands after parsing is where the matrix stood
_STAND_IN_JSON: Final = orjson.dumps(_STAND_IN)
_BRACKET: Final = ord("[")


def cut_matrix(body: bytes) -> tuple[bytes, bytes] | None:
    """Cut a matrix out of a body: what is left (a word in its place) and the matrix; None where there is none.

    What looks like a matrix inside a text is cut out too; what is left is then no JSON, for the word has quotes. Of two
    matrices both are cut out with what is between them, which `read_matrix` refuses.
    """
    start = body.find(b"[[")
    end = body.rfind(b"]]")  # from the end: a search through all of it would cost as much as parsing
    if start < 0 or end < start:
        return None
    return b"".join((body[:start], _STAND_IN_JSON, body[end + 2 :])), body[start : end + 2]


def put_matrix(holder: object, matrix: npt.NDArray[np.float32]) -> bool:
    """Put a matrix in its place, which is a value of `holder`; False where it is none."""
    if isinstance(holder, dict):
        for name, value in holder.items():
            if value == _STAND_IN:
                holder[name] = matrix
                return True
    return False


def read_matrix(text: bytes) -> npt.NDArray[np.float32] | None:
    """Read ``[[0.5, …], …]``: rows of one length, nothing but numbers in them. None for anything else.

    Numbers too large for float32 become infinite.
    """
    try:
        rows: Any = simdjson.Parser().parse(text)
        lengths = set(map(len, rows))
        # As many brackets as lists: the buffer view would also flatten lists within the rows.
        brackets = np.count_nonzero(np.frombuffer(text, dtype=np.uint8) == _BRACKET)
        if len(lengths) != 1 or 0 in lengths or brackets != len(rows) + 1:
            return None
        numbers = np.frombuffer(rows.as_buffer(of_type="d"), dtype=np.float64)
        with np.errstate(over="ignore"):
            return numbers.astype(np.float32).reshape(len(rows), lengths.pop())
    except (ValueError, TypeError, RuntimeError):
        return None

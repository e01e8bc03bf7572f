"""What a part says of its vectors: how many numbers, and whether all are of length 1 (a dot product is a cosine)."""

from __future__ import annotations

from typing import Any, Final

import numpy as np
import pyarrow as pa

TOLERANCE: Final = 0.01
"""How far a length may be from 1; what float16 and int8 round away stays below it."""


class Norms:
    """Watches the first column of vectors of a part.

    Args:
        schema: Of the part.
    """

    def __init__(self, schema: pa.Schema) -> None:
        places = [i for i, field in enumerate(schema) if pa.types.is_fixed_size_list(field.type)]
        self._place = places[0] if places else -1
        self._scale = schema.get_field_index(f"{schema.field(places[0]).name}_scale") if places else -1
        self._dim: int = schema.field(places[0]).type.list_size if places else 0
        self._is_one: bool | None = None

    def see(self, batch: pa.RecordBatch) -> None:
        """Look at rows that are about to be written; nothing once one was found that is not of length 1."""
        if self._place < 0 or self._is_one is False:
            return
        column = batch.column(self._place)
        # not `flatten`, which imports pyarrow.compute: 50 ms at the first part
        numbers: Any = column.values.slice(column.offset * self._dim, len(column) * self._dim)
        vectors = numbers.to_numpy(zero_copy_only=False).reshape(-1, self._dim).astype(np.float32, copy=False)
        with np.errstate(over="ignore"):
            lengths = np.sqrt(np.einsum("ij,ij->i", vectors, vectors))
        if self._scale >= 0:
            lengths = lengths * batch.column(self._scale).to_numpy(zero_copy_only=False)
        lengths = lengths[lengths > 0]  # a missing vector is all zeros there
        if len(lengths):
            self._is_one = bool((np.abs(lengths - 1.0) <= TOLERANCE).all())

    @property
    def before(self) -> dict[str, str]:
        """What is known before the first row: ``wai.dimensions``."""
        return {"wai.dimensions": str(self._dim)} if self._place >= 0 else {}

    @property
    def after(self) -> dict[str, str]:
        """What is known after the last row: ``wai.normalized``."""
        return {} if self._is_one is None else {"wai.normalized": "true" if self._is_one else "false"}

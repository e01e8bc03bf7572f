"""Failure rows: of requests that failed for good, and of input items that were never sent. Pure."""

from __future__ import annotations

from datetime import datetime
from typing import Final

from pipeline.errors import ApiError, AttemptError, Scope, UnreadableAnswer
from pipeline.records import NO_PAYLOAD, BrokenRecord, Failure, Piece, Record, digest, record_key

UNREADABLE_RECORD: Final = "unreadable_record"
UNUSABLE_RECORD: Final = "unusable_record"


def failure_of(
    piece: Piece, error: AttemptError, *, attempts: int, at: datetime, payload_key: bytes | None = None
) -> Failure:
    """A failure row for a record whose request failed for good.

    Args:
        piece: The piece that failed.
        error: What its last attempt ended with.
        attempts: How many there were.
        at: When.
        payload_key: Digest of all that is sent for the record; by default what the piece says of it.
    """
    return failure_row(piece.record, error, attempts=attempts, at=at, payload_key=payload_key or record_key((piece,)))


def failure_row(record: Record, error: AttemptError, *, attempts: int, at: datetime, payload_key: bytes) -> Failure:
    """A failure row for a record of which `payload_key` is what is sent; otherwise as `failure_of`."""
    return Failure(
        id_key=digest(record.id.encode()),
        payload_key=payload_key,
        id=record.id,
        source=record.source,
        row=record.row,
        code=error.code,
        http_status=error.http_status,
        message=error.message if isinstance(error, ApiError) else str(error),
        attempts=attempts,
        retryable=error.scope is Scope.ATTEMPT or isinstance(error, UnreadableAnswer),
        at=at,
    )


def failure_of_broken(broken: BrokenRecord, at: datetime, *, code: str = UNREADABLE_RECORD) -> Failure:
    """A failure row for an input item that was never sent."""
    return Failure(
        id_key=digest(broken.id.encode()),
        payload_key=NO_PAYLOAD,
        id=broken.id,
        source=broken.source,
        row=broken.row,
        code=code,
        http_status=None,
        message=broken.reason,
        attempts=0,
        retryable=False,
        at=at,
    )

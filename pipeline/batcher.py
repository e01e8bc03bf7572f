"""Packs pieces into requests: as many as fit by count and by bytes, in the order they come.

Pure. Takes pieces, hands on requests. A piece larger than the byte limit travels alone.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import replace

from pipeline.records import Piece, Request


class Batcher:
    """Collects pieces until a request is full.

    Args:
        max_pieces: Pieces per request at most, >= 1.
        max_bytes: Bytes of content per request at most.
    """

    def __init__(self, *, max_pieces: int, max_bytes: int) -> None:
        self._max_pieces = max_pieces
        self._max_bytes = max_bytes
        self._pieces: list[Piece] = []
        self._size = 0

    def add(self, piece: Piece) -> Request | None:
        """Take a piece; return the request it completes or no longer fits into, if any."""
        done: Request | None = None
        if self._pieces and self._size + piece.size > self._max_bytes:
            done = self.flush()
        self._pieces.append(piece)
        self._size += piece.size
        if done is None and len(self._pieces) >= self._max_pieces:
            return self.flush()
        return done

    def flush(self) -> Request | None:
        """Return what is left as a request, None where nothing is."""
        if not self._pieces:
            return None
        request = Request(tuple(self._pieces))
        self._pieces, self._size = [], 0
        return request


def count_requests(sizes: Iterable[int], *, max_pieces: int, max_bytes: int) -> int:
    """Count the requests `Batcher` would make of pieces of these sizes."""
    requests = pieces = size = 0
    for item in sizes:
        if pieces and size + item > max_bytes:
            requests, pieces, size = requests + 1, 0, 0
        pieces, size = pieces + 1, size + item
        if pieces >= max_pieces:
            requests, pieces, size = requests + 1, 0, 0
    return requests + (1 if pieces else 0)


def fit(request: Request, room: float) -> tuple[Request | None, Request | None]:
    """Split a request into the pieces whose ceilings fit into `room` neurons together, and the rest.

    First fit in the order of the request; either part is None where it is empty.
    """
    fitting: list[Piece] = []
    rest: list[Piece] = []
    used = 0.0
    for piece in request.pieces:
        if used + piece.ceiling <= room:
            fitting.append(piece)
            used += piece.ceiling
        else:
            rest.append(piece)
    return (Request(tuple(fitting)) if fitting else None, Request(tuple(rest)) if rest else None)


def halves(request: Request) -> tuple[Request, Request]:
    """Split a request of several pieces in two, order kept."""
    middle = len(request.pieces) // 2
    return (
        Request(request.pieces[:middle], output_cap=request.output_cap),
        Request(request.pieces[middle:], output_cap=request.output_cap),
    )


def lightest(request: Request) -> tuple[Request, Request | None]:
    """Split the piece off that costs least at most; the others together, None where there are none."""
    if len(request.pieces) == 1:
        return request, None
    at = min(range(len(request.pieces)), key=lambda n: request.pieces[n].ceiling)
    others = request.pieces[:at] + request.pieces[at + 1 :]
    return replace(request, pieces=(request.pieces[at],)), replace(request, pieces=others)

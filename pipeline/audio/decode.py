"""Any container to 16 kHz mono: as a stream of blocks, or one window of it.

The timeline begins with the first sound (with the first picture of a video that begins earlier), and every sample has
one place on it: gaps between time stamps are filled with silence, so a window that is sought is the same as the part of
the stream. MP3 and bare AAC have no time stamps to seek by, and the seek tables of MP3 are off by seconds; there the
reader of the stream notes byte positions (`Marks`), and a window is read from the nearest one before it.
"""

from __future__ import annotations

import math
from array import array
from bisect import bisect_right
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from types import ModuleType, TracebackType
from typing import TYPE_CHECKING, BinaryIO, Final, NamedTuple, Self

import numpy as np
import numpy.typing as npt

from pipeline.audio.extra import need_extra
from pipeline.errors import RecordUnusable

if TYPE_CHECKING:
    from av.audio.frame import AudioFrame
    from av.audio.resampler import AudioResampler
    from av.audio.stream import AudioStream
    from av.container import InputContainer
    from av.packet import Packet as _AnyPacket

    Packet = _AnyPacket[AudioStream]

RATE: Final = 16_000
"""Samples a second of all that is handed on."""

MARK_EVERY_S: Final = 5.0
_BLOCK: Final = RATE
_RUN_UP_S: Final = 0.5
_MARK_RUN_UP_S: Final = 1.0
_GAP_S: Final = 0.05
_TOLD_SLACK: Final = 0.01
_TOLD_SLACK_S: Final = 5.0
_UNSEEKABLE: Final = ("mp3", "aac")

Samples = npt.NDArray[np.int16]


@dataclass(frozen=True, slots=True)
class Marks:
    """Places from which a stream without time stamps can be read.

    Attributes:
        format: Its name in FFmpeg.
        seconds: Time stamps, ascending.
        bytes: Places in the file, as many.
    """

    format: str = ""
    seconds: array[float] = field(default_factory=lambda: array("d"))
    bytes: array[int] = field(default_factory=lambda: array("q"))

    def before(self, seconds: float) -> Mark | None:
        """The last one before a time; None where the beginning of the file does as well."""
        at = bisect_right(self.seconds, seconds) - 1
        return Mark(self.format, self.seconds[at], self.bytes[at]) if at > 0 else None


class Mark(NamedTuple):
    """One of them."""

    format: str
    seconds: float
    byte: int


class _Tail:
    """A file from some byte on, as PyAV reads it: without seeking."""

    def __init__(self, file: BinaryIO, byte: int) -> None:
        file.seek(byte)
        self._file = file

    def read(self, size: int) -> bytes:
        return self._file.read(size)


class Recording:
    """An open file with sound in it; a context manager.

    Args:
        path: The file.
        told: Seconds its header promises; a time stamp far behind them is damage, not a gap to be filled (and paid).
        origin: Where it is known from an earlier reading.
        mark: Where to begin to read.

    Attributes:
        origin: Time stamp of the beginning of the timeline, in seconds; known once something was decoded.
        marks: Of a format that cannot be sought, as far as it was read.
        n_broken: Packets that could not be decoded.
        problem: Why reading ended before the end of the file; "" where it did not.

    Raises:
        RecordUnusable: The file cannot be opened, or holds no sound.
        PlanError: PyAV is missing.
    """

    def __init__(
        self, path: Path, *, told: float = math.inf, origin: float | None = None, mark: Mark | None = None
    ) -> None:
        need_extra()
        import av  # noqa: PLC0415 - an extra

        self._av = av
        self._path = path
        self.origin = origin
        self._latest = told * (1 + _TOLD_SLACK) + _TOLD_SLACK_S
        self.n_broken = 0
        self.problem = ""
        self._shift = 0.0
        self._file: BinaryIO | None = None
        self._container: InputContainer = self._open(mark)
        if not self._container.streams.audio:
            self._container.close()
            raise RecordUnusable(f"{path} holds no sound")
        self._stream: AudioStream = self._container.streams.audio[0]
        self.marks = Marks(self._container.format.name)
        if mark is not None:
            self._shift = mark.seconds

    def _open(self, mark: Mark | None) -> InputContainer:
        try:
            if mark is None:
                return self._av.open(str(self._path), "r", metadata_errors="ignore")
            self._file = self._path.open("rb")
            return self._av.open(_Tail(self._file, mark.byte), "r", format=mark.format, metadata_errors="ignore")
        except (self._av.FFmpegError, OSError, ValueError) as exc:
            if self._file is not None:
                self._file.close()
            raise RecordUnusable(f"{self._path} cannot be read as a recording: {_reason(exc)}") from exc

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._container.close()
        if self._file is not None:
            self._file.close()

    @property
    def can_seek(self) -> bool:
        """Whether a seek ends up where its time stamps say."""
        return not any(name in _UNSEEKABLE for name in self._container.format.name.split(","))

    def duration_told(self) -> float | None:
        """Seconds by the header of the stream; None where it does not say, or guesses."""
        stream, container = self._stream, self._container
        seconds = 0.0
        if not self.can_seek:
            return None
        if stream.duration and stream.time_base:
            seconds = float(stream.duration * stream.time_base)
        elif container.duration and not container.streams.video:
            seconds = container.duration / self._av.time_base - max(0.0, self._container_start())
        return seconds if seconds > 0 else None

    def duration_of_packets(self) -> float:
        """Seconds by the time stamps of all packets; reads the file and decodes nothing.

        Raises:
            RecordUnusable: There are none.
        """
        first, last = None, 0.0
        for packet in self._packets():
            if packet.pts is None or packet.time_base is None:
                continue
            begin = float(packet.pts * packet.time_base)
            first = begin if first is None else min(first, begin)
            last = max(last, begin + float((packet.duration or 0) * packet.time_base))
        if first is None or last <= max(first, 0.0):
            raise RecordUnusable(f"{self._path} holds no sound that can be decoded{self._why()}")
        return last - max(first, 0.0)

    def _why(self) -> str:
        return f": {self.problem}" if self.problem else ""

    def _container_start(self) -> float:
        start: int | None = getattr(self._container, "start_time", None)  # the stub forgets that it may be none
        return 0.0 if start is None else start / self._av.time_base

    def seek(self, seconds: float) -> None:
        """Go to a place on the timeline, or before it."""
        time_base = self._stream.time_base
        assert self.origin is not None
        assert time_base
        try:
            self._container.seek(max(0, int((self.origin + seconds) / time_base)), stream=self._stream)
        except self._av.FFmpegError:  # a format that cannot: from the beginning
            self._container.seek(0)

    def _packets(self) -> Iterator[Packet]:
        packets = self._container.demux(self._stream)
        while True:
            try:
                packet = next(packets)
            except StopIteration:
                return
            except (self._av.FFmpegError, OSError) as exc:
                self.problem = _reason(exc)
                return
            yield packet

    def _frames(self) -> Iterator[tuple[float | None, AudioFrame]]:
        """Decoded frames with their time stamps in seconds; what cannot be decoded is counted and left out."""
        for packet in self._packets():
            self._note(packet)
            try:
                frames = packet.decode()
            except (self._av.FFmpegError, ValueError):
                self.n_broken += 1
                continue
            for frame in frames:
                if frame.samples and frame.sample_rate:
                    yield self._stamp(frame), frame

    def _note(self, packet: Packet) -> None:
        if self.can_seek or packet.pts is None or packet.pos is None or packet.time_base is None:
            return
        seconds = float(packet.pts * packet.time_base)
        known = self.marks.seconds
        if not known or seconds - known[-1] >= MARK_EVERY_S:
            known.append(seconds)
            self.marks.bytes.append(packet.pos)

    def _stamp(self, frame: AudioFrame) -> float | None:
        if frame.pts is None or not frame.time_base:
            return None
        return float(frame.pts * frame.time_base) + self._shift

    def runs(self) -> Iterator[tuple[float | None, Samples]]:
        """Yield stretches of sound at 16 kHz with the time on the timeline at which each begins, None: it goes on.

        Raises:
            RecordUnusable: Nothing can be decoded.
        """
        converter = _Converter(self._av)
        clock: float | None = None
        for stamp, frame in self._frames():
            try:
                samples = converter.convert(frame)
            except (self._av.FFmpegError, ValueError):
                self.n_broken += 1
                continue
            if self.origin is None:
                self.origin = self._begin(stamp or 0.0)
            at = None if stamp is None else stamp - self.origin
            is_new = at is not None and at <= self._latest and (clock is None or at - clock > _GAP_S)
            yield (at if is_new else None), samples
            clock = (at if is_new and at is not None else clock or 0.0) + frame.samples / frame.sample_rate
        if clock is None:
            raise RecordUnusable(f"{self._path} holds no sound that can be decoded{self._why()}")
        yield None, converter.rest()

    def _begin(self, first: float) -> float:
        """Where the timeline begins: with the picture of a video, else with the first sound."""
        pictures = [s for s in self._container.streams.video if not s.disposition & s.disposition.attached_pic]
        start = self._container_start() if pictures else first
        return start if 0 <= first - start <= self._latest else first

    def blocks(self) -> Iterator[Samples]:
        """Yield the whole recording, about a second at a time; constant memory.

        Raises:
            RecordUnusable: Nothing can be decoded.
        """
        held: list[Samples] = []
        n_held = position = 0
        for at, samples in self.runs():
            gap = 0 if at is None else round(at * RATE) - position
            for piece in (*_silences(gap), samples):
                held.append(piece)
                n_held += len(piece)
                position += len(piece)
                if n_held >= _BLOCK:
                    yield np.concatenate(held)
                    held, n_held = [], 0
        if n_held:
            yield np.concatenate(held)


class _Converter:
    """Frames of any form to 16 kHz mono; the form may change on the way, as where files were put one behind the other.

    Args:
        library: PyAV.
    """

    def __init__(self, library: ModuleType) -> None:
        self._av = library
        self._form: tuple[str, str, int] | None = None
        self._resampler: AudioResampler | None = None

    def convert(self, frame: AudioFrame) -> Samples:
        form = (frame.format.name, frame.layout.name, frame.sample_rate)
        before = np.empty(0, np.int16)
        if self._resampler is None or form != self._form:
            before = self.rest()
            self._resampler = self._av.AudioResampler(format="s16", layout="mono", rate=RATE)
            self._form = form
        converted = _joined(self._resampler.resample(frame))
        return np.concatenate((before, converted)) if len(before) else converted

    def rest(self) -> Samples:
        """What the filter still holds."""
        if self._resampler is None:
            return np.empty(0, np.int16)
        held, self._resampler = self._resampler, None
        return _joined(held.resample(None))


def _reason(error: Exception) -> str:
    return getattr(error, "strerror", None) or str(error) or type(error).__name__


def _joined(frames: Sequence[AudioFrame]) -> Samples:
    parts: list[Samples] = [frame.to_ndarray().reshape(-1).astype(np.int16, copy=False) for frame in frames]
    if len(parts) == 1:
        return parts[0]
    return np.concatenate(parts) if parts else np.empty(0, np.int16)


def _silences(n: int) -> Iterator[Samples]:
    while n > 0:
        yield np.zeros(min(n, _BLOCK), np.int16)
        n -= _BLOCK


def window(
    path: Path, start: float, end: float, *, told: float = math.inf, origin: float, marks: Marks | None = None
) -> Samples:
    """Decode one part of a recording: seek to shortly before it, decode, and cut by time stamps.

    Args:
        path: The file.
        start: Seconds on the timeline.
        end: Seconds on the timeline; what lies behind the end of the file is silence.
        told: As the stream had it.
        origin: As the stream had it.
        marks: As the stream had them.

    Raises:
        RecordUnusable: It cannot be decoded any more.
    """
    first, n = round(start * RATE), round((end - start) * RATE)
    mark = marks.before(start - _MARK_RUN_UP_S) if marks is not None else None
    with Recording(path, told=told, origin=origin, mark=mark) as recording:
        if mark is None and recording.can_seek and start > _RUN_UP_S:
            recording.seek(start - _RUN_UP_S)
        found, is_late = _collect(recording, first, n)
    if is_late:  # it landed behind the window: read from the beginning
        with Recording(path, told=told, origin=origin) as recording:
            found, _ = _collect(recording, first, n)
    return found


def _collect(recording: Recording, first: int, n: int) -> tuple[Samples, bool]:
    """Fill a window from what a recording yields; and whether it began to yield behind the window's start."""
    out = np.zeros(n, np.int16)
    position: int | None = None
    is_late = False
    for at, samples in recording.runs():
        if at is not None:
            is_late = is_late or (position is None and round(at * RATE) > max(first, 0) > 0)
            position = round(at * RATE)
        position = position or 0
        low, high = max(position, first), min(position + len(samples), first + n)
        if low < high:
            out[low - first : high - first] = samples[low - position : high - position]
        position += len(samples)
        if position >= first + n:
            break
    return out, is_late

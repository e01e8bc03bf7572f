"""`transcribe`: recordings of any length to text with times.

A file is gone through once, in the reader's thread, and cut at silences (`pipeline.audio`); each piece is decoded
again when it is sent. How models take sound: whisper-large-v3-turbo JSON with base64, the others the bare file.
Planning reads headers only, so what a plan says at most is as good as they are; what is reserved when a piece leaves is
exact.
Shapes and limits: developers.cloudflare.com/workers-ai/models/ and public clients, collected 2026-11-22.
"""

from __future__ import annotations

import base64
import contextlib
import math
import threading
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Final, cast

from pipeline.audio import Rules, Span, Track, cut, duration_of, encode, listen, need_extra
from pipeline.audio.cut import EARLIEST, LONGEST_S, SHORTEST_S
from pipeline.audio.encode import MIMES, AudioFormat
from pipeline.audio.listen import FRAME_S, Stopped
from pipeline.errors import PlanError, RecordUnusable
from pipeline.records import Answer, Column, File, Outline, Payload, Piece, Raw, Record, Request, digest
from pipeline.tasks.base import Adapter, TaskContext, TaskKind
from pipeline.tasks.files import fingerprint, located, media_name
from pipeline.tasks.speech.answers import read_answer
from pipeline.tasks.speech.carrying import prompt_of, text_before
from pipeline.tasks.speech.clips import Clip, clip_of, half_pieces, halves_of, pcm_bytes, pieces_of
from pipeline.tasks.speech.doubts import judge, kept_with_warning, without
from pipeline.tasks.speech.heard import COLUMNS, Heard, Value
from pipeline.tasks.speech.languages import LANGUAGES
from pipeline.tasks.speech.subtitles import cues_of, srt_of, vtt_of
from pipeline.tasks.speech.transcript import Transcript, put_together

_EXTRA: Final = frozenset(
    {
        "language",
        "piece_seconds",
        "overlap_seconds",
        "skip_silence",
        "hallucination_guard",
        "carry_text",
        "audio_format",
    }
)
_OWNED: Final = frozenset({"audio"})
_MOST_WAV_BYTES: Final = 1_000_000
_MOST_FILE_BYTES: Final = 64_000_000_000
_MOST_KNOWN: Final = 10_000
_ENOUGH_SPEECH_S: Final = 3.0
_HEADER_SLACK: Final = 0.01
_SECOND_TRY: Final = {"condition_on_previous_text": False, "vad_filter": True}


class Transcribe(Adapter):
    """Adapter of the task `transcribe`.

    The language is settled by the first piece in which somebody speaks for three seconds, which is sent alone; the
    others follow with its language. A doubtful answer is asked for once more (`pipeline.tasks.speech.doubts`). With
    `carry_text` each piece is told what was said before it, so those of a recording follow one another. All of these
    are further stages: their first piece carries the answers that stand, for only the last stage makes the row.
    """

    is_heavy = True
    keeps_pieces = True

    def __init__(self, context: TaskContext) -> None:
        super().__init__(context)
        need_extra()
        params = context.params
        if context.model.assumed_price and "per_audio_minute_websocket" in context.model.prices:
            raise PlanError(f"{context.model.name} answers over a WebSocket only, which is not used here", key="model")
        self._takes_json = "vad_filter" in context.fields  # the only speech model with options over REST
        self._params = {name: value for name, value in params.items() if name not in _EXTRA}
        if self._params and not self._takes_json:
            name = min(self._params)
            raise PlanError(f"{context.model.name} takes the bare recording and no parameters", key=f"params.{name}")
        if params.get("task", "transcribe") not in {"transcribe", "translate"}:
            raise PlanError(f"should be transcribe or translate, not {params['task']!r}", key="params.task")
        self._language = self._checked_language(params.get("language", "auto"))
        longest = _number(params, "piece_seconds", 30.0, SHORTEST_S, LONGEST_S)
        self._rules = Rules(
            longest_s=longest,
            overlap_s=_number(params, "overlap_seconds", min(1.0, longest / 6), 0.0, longest / 6),
            skip_silence=_switch(params, "skip_silence", default=False),
        )
        self._guards = _switch(params, "hallucination_guard", default=True)
        self._carries = _switch(params, "carry_text", default=False)
        if self._carries and "initial_prompt" not in context.fields:
            raise PlanError(
                f"{context.model.name} cannot be told what was said before: it takes no initial_prompt",
                key="params.carry_text",
            )
        self._format = params.get("audio_format", "auto")
        if self._format not in {"auto", "wav", "flac"}:
            raise PlanError(f"should be auto, wav or flac, not {self._format!r}", key="params.audio_format")
        self._per_s = context.model.prices.get("per_audio_minute", 0.0) / 60.0
        self._subtitles = tuple(dict.fromkeys(context.subtitles))
        paths = [Column("subtitles", "list<string>")] if self._subtitles else []
        self.columns: Sequence[Column] = (*COLUMNS, *paths)
        self._known: dict[tuple[str, int, int], tuple[bytes, float]] = {}
        self._is_over = threading.Event()

    def _checked_language(self, value: object) -> str:
        if value in {"auto", "per-piece"}:
            return str(value)
        if not self._takes_json:
            raise PlanError(f"{self._context.model.name} cannot be told a language", key="params.language")
        if value not in LANGUAGES:
            raise PlanError(
                f"should be auto, per-piece, or a language Whisper knows, such as en or pt, not {value!r}",
                key="params.language",
            )
        return str(value)

    # -- what is sent -------------------------------------------------------------------------------------------

    def _file(self, record: Record) -> tuple[Path, bytes, float]:
        """The file of a record, what it is recognised by, and its length by its header."""
        path = located(record, self._context.text.render(record.fields))
        with _readable(path):
            stat = path.stat()
            stamp = (str(path), stat.st_size, stat.st_mtime_ns)
            if stamp not in self._known:
                _, content = fingerprint(path, most=_MOST_FILE_BYTES)
                rules = repr((self._rules, self._language, self._format))
                if len(self._known) >= _MOST_KNOWN:
                    self._known.clear()
                self._known[stamp] = (digest(content, rules.encode()), duration_of(path))
        return path, *self._known[stamp]

    def outline(self, record: Record) -> Outline:
        """From the file's header: each piece may be rounded up to a second and share its overlap with the next.

        Raises:
            RecordUnusable: There is no such file, or no sound in it.
        """
        _, key, seconds = self._file(record)
        longest = seconds * (1 + _HEADER_SLACK) + 1
        n_most = math.floor(longest / (self._rules.longest_s * EARLIEST)) + 1
        ceiling = (math.ceil(longest) + n_most * (1 + self._rules.overlap_s)) * self._per_s
        n_likely = max(1, math.ceil(seconds / self._rules.longest_s))
        return Outline(pcm_bytes(seconds), seconds * self._per_s, ceiling, key, n_likely)

    def sample(self, record: Record) -> Payload:
        """Without any sound: only the form of the request counts, and decoding takes long."""
        self._file(record)
        return self._body(b"", "wav", Clip(Track(Path(), 0, 0, 0.0, 0.0), 0.0, 0.0, 0.0, self._told_language()))

    def hurry(self) -> None:
        """Stop listening to a file."""
        self._is_over.set()

    def pieces(self, record: Record) -> list[Piece]:
        """Listen to the whole file and cut it; only the first piece where the others wait for its answer.

        Raises:
            RecordUnusable: There is no such file, no sound in it, or nothing that can be decoded.
        """
        self._is_over.clear()
        path, key, told = self._file(record)
        try:
            with _readable(path):
                track, frames = listen(path, told=told, is_stopped=self._is_over.is_set)
        except Stopped:
            raise RecordUnusable(f"{path} was not read to its end, for the run is ending") from None
        spans = cut(frames.speech, frames.level, frame_s=FRAME_S, seconds=track.seconds, rules=self._rules)
        language = self._told_language()
        settles = self._takes_json and self._language == "auto"
        if len(spans) > 1 and (settles or self._carries):
            at = _telling(spans) if settles else 0
            rest = (*spans[:at], *spans[at + 1 :])
            clips = [replace(clip_of(track, spans[at], language=language), rest=rest)]
        else:
            clips = [clip_of(track, span, language=language) for span in spans]
        return pieces_of(record, key, clips, neurons_per_s=self._per_s)

    def _told_language(self) -> str | None:
        return None if self._language in {"auto", "per-piece"} else self._language

    def payload(self, request: Request) -> Payload:
        """JSON with base64 and the job's parameters, or the bare file.

        Raises:
            RecordUnusable: The file is gone or has changed.
        """
        clip = _clip(request.pieces[0])
        track = clip.track
        with _readable(track.path):
            stat = track.path.stat()
        if (stat.st_size, stat.st_mtime_ns) != (track.size, track.changed_ns):
            raise RecordUnusable(f"{track.path} has changed since the run began; start it again to go on")
        samples = track.window(clip.start, clip.end)
        kind = cast("AudioFormat", self._format)
        if self._format == "auto":
            kind = "wav" if samples.nbytes <= _MOST_WAV_BYTES else "flac"
        return self._body(encode(samples, kind), kind, clip)

    def _body(self, content: bytes, kind: AudioFormat, clip: Clip) -> Payload:
        if not self._takes_json:
            return Raw(content, MIMES[kind])
        body: dict[str, object] = {"audio": base64.b64encode(content).decode(), **self._params}
        if clip.language is not None:
            body["language"] = clip.language
        if clip.prompt:
            body["initial_prompt"] = prompt_of(body.get("initial_prompt"), clip.prompt)
        return {**body, **_SECOND_TRY} if clip.is_second else body

    def halved(self, piece: Piece) -> Sequence[Piece]:
        """In time, at the quietest moment near the middle."""
        halves = halves_of(_clip(piece), self._rules.overlap_s)
        return half_pieces(piece, halves, neurons_per_s=self._per_s)

    # -- what comes back ----------------------------------------------------------------------------------------

    def parse(self, request: Request, answer: Answer) -> Sequence[object]:
        """One `Value`.

        Raises:
            UnreadableAnswer: It is no transcript.
        """
        clip = _clip(request.pieces[0])
        heard = read_answer(answer.result, start=clip.start, end=clip.end)
        if heard["language"] is None:
            heard["language"] = clip.language
        judgement = judge(heard, clip.speech)
        if clip.is_second:
            heard = without(heard, judgement)
        elif self._guards:
            heard["doubts"] = list(judgement.reasons)
        else:
            heard = kept_with_warning(heard, judgement)
        return [Value(seconds=clip.track.seconds, sent=clip.seconds, heard=[heard], problems=list(clip.track.problems))]

    def placed(self, piece: Piece, value: object) -> object:
        """With the answers that the piece carries, which are no part of what is written down for it."""
        clip, own = _clip(piece), cast("Value", value)
        heard = [*clip.carried, own["heard"][-1]]
        return Value(**{**own, "sent": clip.sent_before + clip.seconds, "heard": heard})

    def follow_up(self, record: Record, answered: Sequence[tuple[Piece, object]]) -> Sequence[Piece]:
        """Second tries of doubtful answers, and what waits: all of the rest, or the next piece of it."""
        standing: list[Heard] = []
        again: list[Clip] = []
        sent = 0.0
        for piece, found in answered:
            value = cast("Value", found)
            *carried, heard = value["heard"]
            sent += value["sent"]
            standing += carried
            if heard["doubts"]:
                again += self._second_try(_clip(piece))
            else:
                standing.append(heard)
        first, value = answered[0][0], cast("Value", answered[0][1])
        clip = _clip(first)
        if not self._carries:
            language = self._settled(clip, value["heard"][-1])
            clips = [*again, *(clip_of(clip.track, span, language=language) for span in clip.rest)]
        elif again:
            clips = [replace(again[0], rest=clip.rest), *again[1:]]
        else:
            clips = self._next(clip, self._settled(clip, value["heard"][-1]), standing)
        if not clips:
            return ()
        clips[0] = replace(clips[0], carried=tuple(standing), sent_before=sent)
        return pieces_of(record, first.record_key, clips, neurons_per_s=self._per_s, stage=first.stage + 1)

    def _settled(self, clip: Clip, heard: Heard) -> str | None:
        """What those that wait for the answer of a clip are told of the language; only the first one settles it."""
        if self._language != "auto" or clip.language is not None or clip.carried:
            return clip.language
        is_settled = heard["is_sure"] and not heard["doubts"] and not heard["warnings"]
        return heard["language"] if is_settled and heard["language"] in LANGUAGES else None

    def _next(self, clip: Clip, language: str | None, standing: Sequence[Heard]) -> list[Clip]:
        """The next of the clips that follow one another, with what was said before it."""
        if not clip.rest:
            return []
        span, *rest = clip.rest
        prompt = text_before(standing, span.start)
        return [replace(clip_of(clip.track, span, language=language), rest=tuple(rest), prompt=prompt)]

    def _second_try(self, clip: Clip) -> list[Clip]:
        """The same with other options, and told nothing of what was before; in halves for a model without options."""
        again = replace(clip, is_second=True, rest=(), carried=(), sent_before=0.0, prompt="")
        halves = () if self._takes_json else halves_of(again, self._rules.overlap_s)
        return list(halves) or [again]

    def row(self, record: Record, values: Sequence[object]) -> Mapping[str, object]:
        """The transcript, with the times of the file."""
        whole = _whole(values)
        columns: dict[str, object] = {
            "text": whole.text,
            "language": whole.language,
            "duration_seconds": whole.seconds,
            "sent_seconds": whole.sent,
            "segments": whole.segments,
            "words": whole.words,
            "vtt": vtt_of(cues_of(whole.segments, whole.words)),
            "warnings": whole.warnings,
        }
        if self._subtitles:
            columns["subtitles"] = [f"media/{media_name(record.id, f'.{kind}')}" for kind in self._subtitles]
        return columns

    def files(self, record: Record, values: Sequence[object]) -> Sequence[File]:
        """The subtitles that the job asks for."""
        if not self._subtitles:
            return ()
        whole = _whole(values)
        cues = cues_of(whole.segments, whole.words)
        texts = {"srt": srt_of, "vtt": vtt_of}
        return [
            File(media_name(record.id, f".{kind}"), texts[kind](cues).encode("utf-8", "replace"))
            for kind in self._subtitles
        ]


@contextlib.contextmanager
def _readable(path: Path) -> Iterator[None]:
    """Blame the record for a file that is gone or refused while it is looked at."""
    try:
        yield
    except OSError as exc:
        raise RecordUnusable(f"{path} cannot be read: {exc.strerror or exc}") from exc


def _whole(values: Sequence[object]) -> Transcript:
    return put_together(cast("Sequence[Value]", values))


def _clip(piece: Piece) -> Clip:
    assert isinstance(piece.content, Clip)
    return piece.content


def _telling(spans: Sequence[Span]) -> int:
    """The first piece with three seconds of speech; the one with the most where there is none."""
    enough = (at for at, span in enumerate(spans) if span.speech >= _ENOUGH_SPEECH_S)
    most = max(range(len(spans)), key=lambda at: (spans[at].speech, -at))
    return next(enough, most)


def _number(params: Mapping[str, object], name: str, default: float, least: float, most: float) -> float:
    value = params.get(name, default)
    if isinstance(value, bool) or not isinstance(value, int | float) or not least <= value <= most:
        raise PlanError(
            f"should be a number of seconds from {least:g} to {most:g}, not {value!r}", key=f"params.{name}"
        )
    return float(value)


def _switch(params: Mapping[str, object], name: str, *, default: bool) -> bool:
    value = params.get(name, default)
    if not isinstance(value, bool):
        raise PlanError(f"should be true or false, not {value!r}", key=f"params.{name}")
    return value


KIND: Final = TaskKind(
    name="transcribe",
    adapter=Transcribe,
    text=("path", None),
    media="audio",
    owned=_OWNED,
    extra=_EXTRA,
    carriers=("audio",),
    timed=True,
    head="""\
task: transcribe                     # text with times per recording, of any length
model: "@cf/openai/whisper-large-v3-turbo"   # wai models --task transcribe lists others
params:                              # parameters of the model, checked before anything is sent
  language: auto                     # auto (of the first speech, then for all) | per-piece | en, de, ja, ...
  # task: translate                  # into English
  # piece_seconds: 30                # most seconds of a piece, 5 to 60
  # skip_silence: true               # silences of more than 2 s are not sent
  # hallucination_guard: false       # keep what the model probably made up
  # carry_text: true                 # each piece is told the end of the text before it; one after the other
  # initial_prompt: Names and terms  # how they are written
""",
    input="""\
input:
  path: data/audio                   # files, a folder or a glob; or a table with a column of paths
  # items: [{path: talk.mp3}]        # instead of path: records written here
  # format: audio                    # default: by the suffix
  # text: path                       # the column with the path, where the input is a table
  # id: episode                      # column with the record id; default: the path
  keep: []                           # columns carried to the output
  # limit: 1000                      # only the first records
  # where: lang = 'en'               # SQL condition on the columns
""",
)

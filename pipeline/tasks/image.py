"""`image`: a prompt to a picture, kept as a file beside the results.

Four forms of input and two of answer (facts: npm @cloudflare/workers-types 5.20261117.1; developers.cloudflare.com/
workers-ai/models/, 2026-11-22): flux-1-schnell takes ``{prompt, steps}`` and nothing else (a `seed` or `width` is
answered 5006), lucid and phoenix size, steps and guidance, the Stable Diffusion family those and a picture to begin
with, flux-2 a form. The answer is ``{image: base64}`` or the picture itself.
"""

from __future__ import annotations

import base64
import binascii
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Final

from pipeline.errors import PlanError, RecordUnusable, UnreadableAnswer
from pipeline.records import (
    Answer,
    Column,
    File,
    Form,
    FormPart,
    Media,
    Outline,
    Payload,
    Piece,
    Record,
    Request,
    digest,
)
from pipeline.tasks.base import Adapter, TaskContext, TaskKind, number_param, sendable_text, whole
from pipeline.tasks.canvas import canvas_of, charge
from pipeline.tasks.files import media_name
from pipeline.tasks.pictures import Drawn, Picture, find_picture, max_pixels_param, read_answer, read_picture

_FORM_INPUTS: Final = tuple(f"input_image_{n}" for n in range(4))
_OWNED: Final = frozenset({"prompt", "image", "image_b64", "mask", "multipart", *_FORM_INPUTS})
_EXTRA: Final = frozenset({"input_image_columns", "max_pixels"})
_STEPS: Final = ("num_steps", "steps")
_LONGEST_PROMPT: Final = 20_000


@dataclass(frozen=True, slots=True)
class _Asked:
    """What is sent for a record: a prompt and the pictures that go in."""

    prompt: str
    pictures: tuple[Picture, ...]


class Image(Adapter):
    """Adapter of the task `image`. One prompt, one request, one picture.

    The charge is known before a picture is drawn: size and steps are always sent where a model takes them, with its own
    defaults where the job names none. So the ceiling is the charge.
    """

    columns: Sequence[Column] = (
        Column("path", "string"),
        Column("width", "int32"),
        Column("height", "int32"),
        Column("mime", "string"),
    )

    def __init__(self, context: TaskContext) -> None:
        super().__init__(context)
        params, fields = context.params, context.fields
        self._canvas = canvas_of(context.model.name)
        self._max_pixels = max_pixels_param(params)
        self._inputs = self._input_columns()
        self.is_heavy = bool(self._inputs)
        self._is_form = "input_image_0" in fields
        given = [name for name in _STEPS if name in params]
        if len(given) > 1:
            raise PlanError("says the same as params.num_steps; give one of them", key="params.steps")
        named = given[0] if given else next((name for name in _STEPS if name in fields), None)
        self._steps = self._bounded(named, 1, self._canvas.most_steps, self._canvas.steps) if named else None
        width, height = (self._bounded(side, *self._canvas.sides, self._canvas.side) for side in ("width", "height"))
        self._size = width, height
        self._check_fractions()
        self._fixed = {key: value for key, value in params.items() if key not in _EXTRA}
        if self._canvas.is_told:
            told = {"width": width, "height": height, **({named: self._steps} if named else {})}
            self._fixed.update({key: value for key, value in told.items() if key in fields})

    def _bounded(self, name: str, least: int, most: int | None, default: int) -> int:
        value = number_param(self._context.params, name, default)
        if value < least or (most is not None and value > most):
            at_most = f" and at most {most}" if most is not None else ""
            raise PlanError(f"should be at least {least}{at_most}, not {value}", key=f"params.{name}")
        return value

    def _check_fractions(self) -> None:
        for name, limits in (("guidance", self._canvas.guidance), ("strength", (0.0, 1.0))):
            value = self._context.params.get(name)
            if limits is None or value is None:
                continue
            if isinstance(value, bool) or not isinstance(value, int | float) or not limits[0] <= value <= limits[1]:
                raise PlanError(
                    f"should be a number from {limits[0]:g} to {limits[1]:g}, not {value!r}", key=f"params.{name}"
                )

    def _input_columns(self) -> tuple[str, ...]:
        """Columns that name pictures to begin with."""
        key = "params.input_image_columns"
        names = self._context.params.get("input_image_columns")
        if names is None:
            return ()
        fields = self._context.fields
        most = len(_FORM_INPUTS) if "input_image_0" in fields else 1 if "image_b64" in fields else 0
        if not most:
            raise PlanError(f"{self._context.model.name} takes no pictures to begin with", key=key)
        if not isinstance(names, list) or not all(isinstance(name, str) and name for name in names):
            raise PlanError("should be a list of column names, such as [photo]", key=key)
        if not 1 <= len(names) <= most:
            raise PlanError(f"{self._context.model.name} takes 1 to {most} pictures, not {len(names)}", key=key)
        return tuple(names)

    def _asked(self, record: Record) -> tuple[_Asked, Outline]:
        prompt = sendable_text(self._context.text, record.fields)
        most = self._canvas.most_prompt or _LONGEST_PROMPT
        if len(prompt) > most:
            raise RecordUnusable(f"the prompt has {len(prompt):,} characters, and the model takes {most:,}")
        pictures = tuple(self._picture(record, column) for column in self._inputs)
        sizes = [(picture.width, picture.height) for picture in pictures]
        neurons = charge(self._context.model.prices, self._size, self._steps or self._canvas.steps, sizes)
        encoded = prompt.encode()
        outline = Outline(
            len(encoded) + sum(picture.size for picture in pictures),
            neurons,
            neurons,
            digest(encoded, *(picture.digest for picture in pictures)),
        )
        return _Asked(prompt, pictures), outline

    def _picture(self, record: Record, column: str) -> Picture:
        name = record.fields.get(column)
        if not isinstance(name, str) or not name:
            raise RecordUnusable(f'column "{column}" names no picture')
        return find_picture(record, name, is_scaled=self._max_pixels is not None)

    def pieces(self, record: Record) -> list[Piece]:
        """One prompt, one piece.

        Raises:
            RecordUnusable: There is no prompt, it is too long, or a picture cannot be used.
        """
        asked, outline = self._asked(record)
        return whole(record, asked, outline)

    def outline(self, record: Record) -> Outline:
        """The same without the piece."""
        return self._asked(record)[1]

    def payload(self, request: Request) -> Payload:
        """JSON, or a form for flux-2; pictures as base64 or as files of the form."""
        asked = request.pieces[0].content
        assert isinstance(asked, _Asked)
        pictures = [read_picture(picture, max_pixels=self._max_pixels) for picture in asked.pictures]
        if not self._is_form:
            begin = {"image_b64": base64.b64encode(pictures[0][0]).decode()} if pictures else {}
            return {**self._fixed, "prompt": asked.prompt, **begin}
        fields = {"prompt": asked.prompt, **self._fixed}
        parts = [FormPart(name, str(value).encode()) for name, value in fields.items()]
        parts += [
            FormPart(name, content, filename=f"{n}.{mime.removeprefix('image/')}", mime=mime)
            for n, (name, (content, mime)) in enumerate(zip(_FORM_INPUTS, pictures, strict=False))
        ]
        return Form(tuple(parts))

    def parse(self, request: Request, answer: Answer) -> Sequence[object]:
        """One `Drawn`.

        Raises:
            UnreadableAnswer: No whole picture came back.
        """
        result = answer.result
        if isinstance(result, Media):
            return [read_answer(result.content)]
        told = result.get("image") if isinstance(result, dict) else None
        if not isinstance(told, str) or not told:
            raise UnreadableAnswer("the answer holds no picture")
        try:
            content = base64.b64decode(told.rpartition("base64,")[2], validate=True)
        except (binascii.Error, ValueError):
            raise UnreadableAnswer("the answer's picture is not base64") from None
        return [read_answer(content)]

    def row(self, record: Record, values: Sequence[object]) -> Mapping[str, object]:
        """Where the picture is kept, and what it is."""
        drawn = _drawn(values)
        path = f"media/{media_name(record.id, drawn.suffix)}"
        return {"path": path, "width": drawn.width, "height": drawn.height, "mime": drawn.mime}

    def files(self, record: Record, values: Sequence[object]) -> Sequence[File]:
        """The picture."""
        drawn = _drawn(values)
        return [File(media_name(record.id, drawn.suffix), drawn.content)]


def _drawn(values: Sequence[object]) -> Drawn:
    value = values[0]
    assert isinstance(value, Drawn)
    return value


KIND: Final = TaskKind(
    name="image",
    adapter=Image,
    text=("prompt", "text"),
    owned=_OWNED,
    extra=_EXTRA,
    carriers=("prompt",),
    head="""\
task: image                          # one picture per record, in <output.path>/media
model: "@cf/black-forest-labs/flux-1-schnell"   # wai models --task image lists others
params:                              # parameters of the model, checked before anything is sent
  steps: 4                           # 1 to 8; each costs 38.4 neurons
  # input_image_columns: [photo]     # columns with paths of pictures to begin with (flux-2: 4, Stable Diffusion: 1)
  # max_pixels: 262144               # make those smaller before they are sent
""",
)

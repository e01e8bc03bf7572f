"""`detect-objects`: a picture to the objects in it, with their boxes.

The picture is the body of the request; the result is ``[{label, score, box: {xmin, ymin, xmax, ymax}}]`` (Cloudflare's
page of detr-resnet-50, 2026-11-22). No model of this task has been listed since autumn 2026 and none has a published
price; the task is kept for those who still have it.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

from pipeline.errors import UnreadableAnswer
from pipeline.records import Answer, Column, Raw, Request
from pipeline.tasks.base import TaskKind
from pipeline.tasks.seeing import EXTRA, INPUT, PricedByPicture, findings_of, label_of, number_of

_CORNERS: Final = ("xmin", "ymin", "xmax", "ymax")
_OBJECT: Final = (
    Column("label", "string"),
    Column("score", "float64"),
    *(Column(corner, "float64") for corner in _CORNERS),
)


class DetectObjects(PricedByPicture):
    """Adapter of the task `detect-objects`."""

    columns: Sequence[Column] = (Column("objects", "list<struct>", fields=_OBJECT), Column("n_objects", "int32"))

    def payload(self, request: Request) -> Raw:
        """The picture itself."""
        return Raw(*self.content(request))

    def parse(self, request: Request, answer: Answer) -> Sequence[object]:
        """One mapping: the columns of this task. A picture without objects is an answer, too.

        Raises:
            UnreadableAnswer: Not a list of labels with finite scores and boxes.
        """
        objects = []
        for each in findings_of(answer.result):
            box = each.get("box")
            if not isinstance(box, dict):
                raise UnreadableAnswer("an object has no box")
            corners = {corner: number_of(box, corner) for corner in _CORNERS}
            objects.append({"label": label_of(each), "score": number_of(each, "score"), **corners})
        return [{"objects": objects, "n_objects": len(objects)}]


KIND: Final = TaskKind(
    name="detect-objects",
    adapter=DetectObjects,
    text=("path", "text"),
    media="images",
    owned=frozenset({"image"}),
    extra=EXTRA,
    carriers=("image",),
    head="""\
task: detect-objects                 # what is where in a picture
model: "@cf/facebook/detr-resnet-50" # not listed since autumn 2026; for accounts that still have it
model_info:                          # no price is published: this is that of resnet-50
  prices: {per_m_images: 228055}     # neurons per million pictures
# params: {max_pixels: 262144}       # make larger pictures smaller before they are sent (boxes are in sent pixels)
""",
    input=INPUT,
)

"""`classify-image`: a picture to labels with scores.

The picture is the body of the request; the result is ``[{label, score}]``. Shapes: npm @cloudflare/workers-types
5.20261117.1; that the body may be the bytes: developers.cloudflare.com/workers-ai/models/resnet-50/, 2026-11-22.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

from pipeline.errors import UnreadableAnswer
from pipeline.records import Answer, Column, Raw, Request
from pipeline.tasks.base import TaskKind
from pipeline.tasks.seeing import EXTRA, INPUT, PricedByPicture, findings_of, label_of, number_of

_SCORES: Final = (Column("label", "string"), Column("score", "float64"))


class ClassifyImage(PricedByPicture):
    """Adapter of the task `classify-image`."""

    columns: Sequence[Column] = (*_SCORES, Column("scores", "list<struct>", fields=_SCORES))

    def payload(self, request: Request) -> Raw:
        """The picture itself: as a list of numbers it would be four times as large."""
        return Raw(*self.content(request))

    def parse(self, request: Request, answer: Answer) -> Sequence[object]:
        """One mapping: the columns of this task.

        Raises:
            UnreadableAnswer: Not a list of labels with finite scores.
        """
        found = [(label_of(each), number_of(each, "score")) for each in findings_of(answer.result)]
        if not found:
            raise UnreadableAnswer("the answer holds no label")
        found.sort(key=lambda pair: -pair[1])
        (label, score), scores = found[0], [{"label": label, "score": score} for label, score in found]
        return [{"label": label, "score": score, "scores": scores}]


KIND: Final = TaskKind(
    name="classify-image",
    adapter=ClassifyImage,
    text=("path", "text"),
    media="images",
    owned=frozenset({"image"}),
    extra=EXTRA,
    carriers=("image",),
    head="""\
task: classify-image                 # what a picture shows: a label, and all labels with scores
model: "@cf/microsoft/resnet-50"     # wai models --task classify-image lists others
# params: {max_pixels: 262144}       # make larger pictures smaller before they are sent
""",
    input=INPUT,
)

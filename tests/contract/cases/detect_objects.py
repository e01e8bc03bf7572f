"""`detect-objects`."""

from tests.contract.cases.base import TaskCase
from tests.support.seeing import picture_records

BOX = {"xmin": 1, "ymin": 2, "xmax": 3.5, "ymax": 4}


def answers(request, payload, model):
    return [[], [{"label": "cat", "score": 0.9, "box": BOX}]]


CASE = TaskCase(
    task="detect-objects",
    columns=[("objects", "list<struct>"), ("n_objects", "int32")],
    params=[{}, {"max_pixels": 2048}],
    records=picture_records,
    answers=answers,
    charge=lambda model, _params, _request, _payload: model.prices["per_m_images"] / 1e6,
    text="path",
)

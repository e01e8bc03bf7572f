"""`classify-image`."""

from tests.contract.cases.base import TaskCase
from tests.support.seeing import picture_records


def answers(request, payload, model):
    return [[{"label": "CAT", "score": 0.9}], [{"label": "dog", "score": 0}, {"label": "cat", "score": 0.7}]]


CASE = TaskCase(
    task="classify-image",
    columns=[("label", "string"), ("score", "float64"), ("scores", "list<struct>")],
    params=[{}, {"max_pixels": 2048}],
    records=picture_records,
    answers=answers,
    charge=lambda model, _params, _request, _payload: model.prices["per_m_images"] / 1e6,
    text="path",
)

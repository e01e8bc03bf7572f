"""`to-markdown`."""

from hypothesis import strategies as st

from tests.contract.cases.base import TaskCase

DOCUMENTS = {"a.html": b"<h1>A</h1>", "b.csv": b"x,y\n1,2\n", "c.pdf": b"%PDF-1.4", "d.bin": b"\0\1"}


def records(folder):
    for name, content in DOCUMENTS.items():
        (folder / name).write_bytes(content)
    return st.sampled_from([{"path": str(folder / name)} for name in DOCUMENTS])


def answers(request, payload, model):
    """One result a file, by the names that were sent."""
    names = [part.filename for part in payload.parts if part.filename is not None]
    made = [
        {"id": "x", "name": name, "mimeType": "text/html", "format": "markdown", "tokens": 3, "data": "# A"}
        for name in names
    ]
    return [made, made[::-1], *([made[0]] if len(made) == 1 else [])]


CASE = TaskCase(
    task="to-markdown",
    columns=[("markdown", "string"), ("tokens", "int64"), ("mime", "string")],
    params=[{}, {"conversion_options": {"pdf": {"metadata": False}}}],
    records=records,
    answers=answers,
    charge=lambda _model, _params, _request, _payload: 0.0,
    text="path",
)

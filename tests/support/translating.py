"""A text through `translate` with a model that is a function, second attempts included."""

from dataclasses import replace

from pipeline.records import Usage
from tests.support.fakes import record
from tests.support.street import Street


def said_by(function):
    """Take a function of a text for the model."""
    return lambda _request, payload: {"translated_text": function(payload["text"])}


def row_of(adapter, text, answer, *, source="items", **fields):
    """The row of a text; fails where there is none."""
    street = Street(adapter, answer, Usage(), most=5_000)
    (row,) = street.run([replace(record(0, text, **fields), source=source)])
    return row.values, street


def translated(adapter, text, answer, *, source="items"):
    """The translation alone."""
    return row_of(adapter, text, answer, source=source)[0]["translation"]

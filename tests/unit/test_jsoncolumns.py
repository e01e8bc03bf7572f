"""JSON Schema to columns, and answers to their values."""

import orjson
import pytest
from hypothesis import given
from hypothesis import strategies as st

from pipeline.errors import PlanError
from pipeline.records import Column
from pipeline.tasks.jsoncolumns import columns_of, values_of


def kinds(**properties):
    return {c.name: c.kind for c in columns_of({"type": "object", "properties": properties})}


def test_each_property_is_a_column_in_its_order():
    """Scalars and lists of them are typed, all else is JSON text."""
    assert kinds(
        s={"type": "string"},
        i={"type": "integer"},
        n={"type": "number"},
        b={"type": "boolean"},
        maybe={"type": ["string", "null"]},
        either={"type": ["string", "integer"]},
        choice={"enum": ["a", "b"]},
        mixed={"enum": ["a", 1]},
        tags={"type": "array", "items": {"type": "string"}},
        matrix={"type": "array", "items": {"type": "array", "items": {"type": "number"}}},
        anything={"type": "array"},
        inner={"type": "object", "properties": {"x": {"type": "string"}}},
        free={},
        always=True,
    ) == {
        "s": "string",
        "i": "int64",
        "n": "float64",
        "b": "bool",
        "maybe": "string",
        "either": "json",
        "choice": "string",
        "mixed": "json",
        "tags": "list<string>",
        "matrix": "json",
        "anything": "json",
        "inner": "json",
        "free": "json",
        "always": "json",
    }


@pytest.mark.parametrize(
    "schema",
    [{}, {"type": "array"}, {"type": "object"}, {"type": "object", "properties": {}}, {"properties": {"a": {}}}],
)
def test_a_schema_without_properties_makes_no_columns(schema):
    """The user is told what it should be."""
    with pytest.raises(PlanError, match="of type object, with properties") as caught:
        columns_of(schema)
    assert caught.value.key == "params.json_schema"


@pytest.mark.parametrize(
    ("kind", "value", "stored"),
    [
        ("string", "a", "a"),
        ("int64", 5, 5),
        ("int64", 5.0, 5),
        ("int64", 2**63, None),
        ("int64", -(2**63), -(2**63)),
        ("int64", 1e300, None),
        ("float64", 3, 3.0),
        ("bool", True, True),
        ("json", {"a": [1]}, '{"a":[1]}'),
        ("json", "text", '"text"'),
        ("list<int64>", [1, 2.0, 2**64], [1, 2, None]),
        ("list<string>", ["a", None], ["a", None]),
        ("string", None, None),
        ("json", None, None),
    ],
)
def test_values_fit_their_columns(kind, value, stored):
    """What is too large for its column is null, never an error."""
    assert values_of([Column("c", kind)], {"c": value}) == {"c": stored}


def test_what_is_absent_is_null():
    """And what is no object has no values at all."""
    assert values_of([Column("c", "string")], {}) == {"c": None}
    assert values_of([Column("c", "string")], ["c"]) == {"c": None}


SCALARS = (
    st.none() | st.booleans() | st.integers(-(2**63), 2**64 - 1) | st.floats(allow_nan=False) | st.text(max_size=5)
)


@given(st.recursive(SCALARS, lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=3), inner)))
def test_json_columns_hold_any_answer_and_give_it_back(value):
    """A round trip through text; infinity is no JSON and becomes null."""
    (stored,) = values_of([Column("c", "json")], {"c": value}).values()
    assert value is None or orjson.loads(stored) == orjson.loads(orjson.dumps(value))

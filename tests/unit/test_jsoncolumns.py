"""JSON Schema to columns, and answers to their values."""

import orjson
import pytest
from hypothesis import given
from hypothesis import strategies as st

from pipeline.errors import PlanError
from pipeline.records import Column, Row
from pipeline.storage.columns import Encoder
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
        "matrix": "list<list<float64>>",
        "anything": "json",
        "inner": "struct",
        "free": "json",
        "always": "json",
    }


def one(spec, **definitions):
    """The column of one property."""
    (column,) = columns_of({"type": "object", "properties": {"c": spec}, "$defs": definitions})
    return column


@pytest.mark.parametrize(
    ("spec", "kind"),
    [
        ({"anyOf": [{"type": "string"}, {"type": "null"}]}, "string"),
        ({"oneOf": [{"type": "null"}, {"$ref": "#/$defs/Mood"}]}, "string"),
        ({"allOf": [{"$ref": "#/$defs/Mood"}]}, "string"),
        ({"anyOf": [{"type": "integer"}, {"type": "number"}]}, "float64"),
        ({"anyOf": [{"type": "string"}, {"type": "integer"}]}, "json"),
        ({"anyOf": [{"$ref": "#/$defs/Point"}, {"$ref": "#/$defs/Mood"}]}, "json"),
        ({"type": ["integer", "number", "null"]}, "float64"),
        ({"type": ["integer", "null"]}, "int64"),
        ({"enum": [1, 2, None]}, "int64"),
        ({"enum": [1, 2.5]}, "float64"),
        ({"enum": [True, False]}, "bool"),
        ({"enum": ["a", {"b": 1}]}, "json"),
        ({"const": "x"}, "string"),
        ({"enum": [None]}, "json"),
        ({"$ref": "#/$defs/Point"}, "struct"),
        ({"anyOf": [{"$ref": "#/$defs/Point"}, {"type": "null"}]}, "struct"),
        ({"type": "array", "items": {"$ref": "#/$defs/Point"}}, "list<struct>"),
        ({"type": "array", "prefixItems": [{"type": "string"}], "items": {"type": "string"}}, "json"),
        ({"type": "object", "additionalProperties": {"type": "number"}}, "json"),
        ({"type": "object", "properties": {"a": {}}, "additionalProperties": True}, "json"),
        ({"type": "object", "properties": {"a": {}}, "patternProperties": {"x": {}}}, "json"),
        ({"$ref": "#/$defs/Nobody"}, "json"),
        ({"$ref": "#/$defs/Loop"}, "json"),
    ],
)
def test_the_type_of_a_column_is_found_behind_references_and_unions(spec, kind):
    """As far as there is one; a library that makes schemas of classes writes most of these."""
    point = {"type": "object", "properties": {"x": {"type": "number"}, "y": {"type": ["integer", "null"]}}}
    mood = {"enum": ["good", "bad"]}
    column = one(spec, Point=point, Mood=mood, Loop={"$ref": "#/$defs/Loop"})
    assert column.kind == kind
    members = [(member.name, member.kind) for member in column.fields]
    assert members == ([("x", "float64"), ("y", "int64")] if "struct" in kind else [])


def test_a_schema_that_holds_itself_ends_as_text():
    """A tree of any depth has no type; the first levels of it have."""
    tree = {"type": "object", "properties": {"name": {"type": "string"}, "child": {"$ref": "#/$defs/Tree"}}}
    column, depth = one({"$ref": "#/$defs/Tree"}, Tree=tree), 0
    while column.kind == "struct":
        column, depth = column.fields[1], depth + 1
    assert (column.kind, depth) == ("json", 9)


def test_structs_take_what_they_name_and_stand_in_parquet():
    """What a member lacks is null, what nobody named is dropped, and the file reads back as it was."""
    spec = {
        "type": "object",
        "properties": {"x": {"type": "integer"}, "tags": {"type": "array", "items": {"type": "string"}}, "any": {}},
    }
    column = one({"type": "array", "items": spec})
    said = {"c": [{"x": 1, "tags": ["a"], "any": [1], "more": 5}, {"tags": [None]}, None]}
    values = values_of([column], said)
    assert values == {"c": [{"x": 1, "tags": ["a"], "any": "[1]"}, {"x": None, "tags": [None], "any": None}, None]}
    batch = Encoder([column]).batch([Row(b"", b"", values), Row(b"", b"", {"c": None})])
    assert batch.to_pylist() == [values, {"c": None}]


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

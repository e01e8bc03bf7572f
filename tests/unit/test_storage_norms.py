"""What a part says of its vectors: how long they are, whatever numbers they are stored as."""

import numpy as np
import pyarrow as pa
import pytest

from pipeline.records import Column, Row
from pipeline.storage.columns import Encoder
from pipeline.storage.norms import Norms

UNIT = np.array([0.6, 0.0, 0.8, 0.0], np.float32)


def batch(vectors, kind="vector", **more):
    columns = [Column("embedding", kind, dim=4), *(Column(name, "float32") for name in more)]
    rows = [{"embedding": vector, **more} for vector in vectors]
    return Encoder(columns).batch([Row(b"", b"", values) for values in rows])


def told(*batches):
    norms = Norms(batches[0].schema)
    for one in batches:
        norms.see(one)
    return norms.after.get("wai.normalized")


@pytest.mark.parametrize(
    ("vectors", "said"),
    [
        ([UNIT, UNIT * 1.009, UNIT * 0.991], "true"),
        ([UNIT, UNIT * 1.02], "false"),
        ([UNIT, None], "true"),
        ([None, None], None),
        ([UNIT, UNIT * 1e30], "false"),
    ],
)
def test_all_vectors_are_looked_at(vectors, said):
    """Those that are missing say nothing."""
    assert told(batch(vectors)) == said


def test_one_that_is_not_of_length_1_is_not_forgotten():
    assert told(batch([UNIT * 2]), batch([UNIT])) == "false"
    assert told(batch([UNIT]), batch([UNIT * 2])) == "false"


def test_a_slice_is_judged_by_its_own_rows():
    """Arrow keeps all numbers behind a slice."""
    whole = batch([UNIT * 2, UNIT, UNIT * 3])
    assert told(whole.slice(1, 1)) == "true"
    assert told(whole.slice(1, 2)) == "false"


def test_smaller_numbers_are_judged_as_what_they_stand_for():
    assert told(batch([UNIT.astype(np.float16)], "vector<float16>")) == "true"
    steps = np.array([95, 0, 127, 0], np.int8)
    assert told(batch([steps], "vector<int8>", embedding_scale=0.8 / 127)) == "true"
    assert told(batch([steps], "vector<int8>", embedding_scale=0.9 / 127)) == "false"


def test_what_holds_no_vectors_says_nothing():
    norms = Norms(pa.schema([pa.field("id", pa.string())]))
    norms.see(pa.record_batch({"id": ["a"]}))
    assert (norms.before, norms.after) == ({}, {})
    assert Norms(batch([UNIT]).schema).before == {"wai.dimensions": "4"}

"""`wai run` with a model that goes astray: warnings, and another try where the job wants one."""

import pytest

from pipeline.emulator.tasks.translation import FOREIGN
from pipeline.tasks.translation.shields import plain_shields
from tests.support.cli import sentences

LONG = [line for line in sentences() if 150 < len(line) < 350 and not plain_shields(line)][:60]
"""Without marks, whose loss would be another reason to ask again."""


@pytest.fixture
def astray(world_with):
    """A world in which one answer in three is Finnish."""
    return world_with("--no-rate-limit", "--wrong-language-one-in", "3")


def run(world, **params):
    world.records(LONG)
    world.spec(task="translate", params={"source_lang": "en", "target_lang": "de", **params})
    world.run()
    return {row["id"]: row for row in world.table().to_pylist()}


def is_doubted(row):
    return any("it seems to be Finnish, not German" in warning for warning in row["warnings"])


def test_answers_in_the_wrong_language_are_told(astray):
    """All of them, and nothing else; each record is sent once."""
    rows = run(astray)
    for row in rows.values():
        assert is_doubted(row) == (FOREIGN[:40] in row["translation"])
        assert len(row["warnings"]) == is_doubted(row)
        assert row["attempts"] == 1
    assert 5 < sum(map(is_doubted, rows.values())) < 40
    assert astray.requests == len(LONG)


def test_asked_again_in_parts_most_of_them_are_right(astray):
    """The second try is paid by the record that needs it."""
    rows = run(astray, retry_doubtful=True)
    again = [row for row in rows.values() if row["attempts"] > 1]
    assert 5 < len(again) < 40
    assert astray.requests >= len(LONG) + 2 * len(again)
    assert sum(map(is_doubted, rows.values())) < len(again)
    assert any(row["warnings"] == [] for row in again)
    assert all(row["attempts"] > 1 for row in rows.values() if is_doubted(row))
    assert sum(row["neurons"] for row in rows.values()) == pytest.approx(astray.metered, rel=0.005)

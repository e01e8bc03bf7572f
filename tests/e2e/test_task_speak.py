"""Speech through the command line: files beside the rows, booked as metered."""

import mutagen
import pytest

from tests.support.cli import sentences

AURA = "@cf/deepgram/aura-2-en"


@pytest.mark.parametrize(("params", "suffix"), [({"lang": "en"}, ".mp3"), ({"encoding": "linear16"}, ".wav")])
def test_recordings_become_files_beside_their_rows(world, params, suffix):
    """melotts by the minute of its answer, from the header; aura by the character, by the formula."""
    world.records([*sentences()[:5], "x" * 5000])
    model = {"model": AURA} if "encoding" in params else {}
    world.spec(task="speak", params=params, **model)
    plan = world.wai("plan", "job.yaml", "--json").json
    report = world.run(code=4)
    assert report["records"] == {"total": 6, "done": 5, "failed": 1, "pending": 0}
    spent = report["neurons"]["spent"]
    assert spent <= plan["neurons"]["at_most"] * (1 + 1e-6)  # planned in 32-bit numbers
    assert spent == pytest.approx(world.metered, rel=0.005)
    rows = world.table().to_pylist()
    assert len({row["path"] for row in rows}) == 5
    for row in rows:
        recording = mutagen.File(world.folder / "out" / row["path"])
        assert row["path"].endswith(suffix)
        assert recording.info.length == pytest.approx(row["duration_seconds"])
    (failure,) = world.table("failures").to_pylist()
    assert failure["code"] == "unusable_record"

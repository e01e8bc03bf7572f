"""Tasks that look at pictures, through the command line: a folder of files in, a row for each picture."""

import pytest

from tests.support.drawing import picture
from tests.support.seeing import gallery

CASES = [
    ("classify-image", {}, {}, "label"),
    ("detect-objects", {}, {"unpriced": "allow"}, "n_objects"),
    ("caption", {"caption_length": "short", "max_tokens": 40}, {}, "caption"),
    ("caption", {"question": "What colour is it?", "max_pixels": 2000}, {}, "caption"),
]


@pytest.mark.parametrize(("task", "params", "budget", "column"), CASES)
def test_a_folder_of_pictures(world, task, params, budget, column):
    """Equal files are asked once, what is no picture fails alone, and the books agree with the meter."""
    folder = world.folder / "photos"
    folder.mkdir()
    gallery(folder)
    (folder / "copy.png").write_bytes(picture(32, 32))
    (folder / "no.png").write_text("no picture")
    world.spec(
        task=task,
        text=None,
        identity=None,
        input={"path": "photos"},
        params=params,
        budget=budget,
        output={"path": "out"},
    )
    plan = world.wai("plan", "job.yaml", "--json").json
    assert plan["records"]["total"] == 6
    report = world.run(code=4)
    assert report["records"] == {"total": 6, "done": 5, "failed": 1, "pending": 0}
    assert report["requests"] == {"sent": 4, "retried": 0, "deduplicated": 1}
    rows = {row["id"]: row for row in world.table().to_pylist()}
    assert all(row[column] is not None for row in rows.values())
    assert rows["copy.png"][column] == rows["drawing.png"][column]
    assert report["neurons"]["spent"] <= plan["neurons"]["at_most"]
    if not budget:
        assert report["neurons"]["spent"] == pytest.approx(world.metered, rel=0.005)
    (failure,) = world.table("failures").to_pylist()
    assert "not a picture in PNG, JPEG, WebP or GIF" in failure["message"]


def test_a_table_names_its_pictures(world):
    """With columns of its own kept."""
    (world.folder / "a.jpg").write_bytes(picture(64, 64, "JPEG"))
    (world.folder / "photos.csv").write_text("id,photo,where\n7,a.jpg,garden\n", encoding="utf-8")
    world.spec(task="classify-image", input={"path": "photos.csv", "id": "id", "text": "photo", "keep": ["where"]})
    world.run()
    (row,) = world.table().to_pylist()
    assert (row["id"], row["where"]) == ("7", "garden")
    assert row["label"] == row["scores"][0]["label"]

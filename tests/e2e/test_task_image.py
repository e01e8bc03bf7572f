"""Pictures through the command line: files beside the rows, paid once, whole after a resume."""

import pytest

from tests.support.cli import write_jsonl
from tests.support.drawing import picture, size_of

DEV = "@cf/black-forest-labs/flux-2-dev"
PHOENIX = "@cf/leonardo/phoenix-1.0"


def prompts(world, n, **more):
    write_jsonl(world.folder / "data.jsonl", [{"id": f"Picture {i}", "prompt": f"owl {i}", **more} for i in range(n)])


def test_pictures_become_files_beside_their_rows(world):
    """Each opens, is what its row says, and costs what was planned; a second run asks for nothing."""
    prompts(world, 6)
    world.spec(task="image", text=None)
    plan = world.wai("plan", "job.yaml", "--json").json
    assert plan["neurons"] == {"expected": pytest.approx(6 * 172.8), "at_most": pytest.approx(6 * 172.8)}
    report = world.run()
    assert report["records"]["done"] == 6
    assert report["neurons"]["spent"] == pytest.approx(world.metered) == pytest.approx(6 * 172.8)
    rows = world.table().to_pylist()
    assert len({row["path"] for row in rows}) == 6
    for row in rows:
        content = (world.folder / "out" / row["path"]).read_bytes()
        assert size_of(content) == (row["width"], row["height"]) == (1024, 1024)
        assert row["mime"] == "image/jpeg"
    requests = world.requests
    assert world.run()["requests"]["sent"] == 0
    assert world.requests == requests
    assert "every part matches" in world.wai("status", "out", "--verify").out
    (world.folder / "out" / rows[0]["path"]).unlink()
    said = world.wai("status", "out", "--verify", code=None)
    assert f"1 files that its rows name are missing, the first is {rows[0]['path']}" in said.said
    assert said.code != 0


def test_an_answer_that_names_no_charge_is_booked_by_the_formula(world):
    """phoenix answers with the picture itself and without cf-ai-neurons."""
    prompts(world, 2)
    world.spec(task="image", text=None, model=PHOENIX, params={"width": 256, "height": 256, "num_steps": 2})
    report = world.run()
    assert report["neurons"]["spent"] == pytest.approx(world.metered) == pytest.approx(2 * 0.25 * (530 + 20))


def test_flux_2_with_pictures_to_begin_with(world):
    """A form with files; a row whose picture is none fails alone, before anything is spent on it."""
    (world.folder / "a.png").write_bytes(picture(64, 64))
    (world.folder / "b.png").write_text("no picture")
    records = [{"id": "a", "prompt": "x", "photo": "a.png"}, {"id": "b", "prompt": "x", "photo": "b.png"}]
    write_jsonl(world.folder / "data.jsonl", records)
    params = {"width": 256, "height": 256, "steps": 2, "input_image_columns": ["photo"]}
    world.spec(task="image", text=None, model=DEV, params=params)
    report = world.run(code=4)
    assert world.ids() == ["a"]
    (failure,) = world.table("failures").to_pylist()
    assert failure["code"] == "unusable_record"
    assert "not a picture" in failure["message"]
    assert report["neurons"]["spent"] == pytest.approx(world.metered, rel=1e-3)
    assert world.requests == 1

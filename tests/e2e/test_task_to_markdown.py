"""Documents through the command line: several a request, and one that cannot be converted fails alone."""

import json
import runpy

import pytest

from tests.support.cli import ROOT


def test_a_folder_of_documents(world, monkeypatch):
    """The samples that the jobs use, one broken PDF among them: one request, six results."""
    monkeypatch.chdir(world.folder)
    runpy.run_path(str(ROOT / "jobs" / "samples_documents.py"), run_name="__main__")
    (world.folder / "data" / "documents" / "broken.pdf").write_bytes(b"no PDF at all")
    world.spec(task="to-markdown", text=None, identity=None, input={"path": "data/documents"})
    plan = world.wai("plan", "job.yaml", "--json").json
    report = world.run(code=4)
    assert report["records"] == {"total": 6, "done": 5, "failed": 1, "pending": 0}
    assert report["requests"]["sent"] == world.requests == 1
    assert 0 < report["neurons"]["spent"] <= plan["neurons"]["at_most"] < 50  # the drawing: nothing names its charge
    rows = {row["id"]: row for row in world.table().to_pylist()}
    assert rows["comparisons.html"]["markdown"].startswith("# Comparisons")
    assert rows["topics.csv"]["markdown"].startswith("| topic | paragraphs | characters |")
    assert "[simulated]" in rows["exceptions.pdf"]["markdown"]
    assert rows["exceptions.pdf"]["mime"] == "application/pdf"
    assert all(row["tokens"] > 0 for row in rows.values())
    paid = {name: row["neurons"] for name, row in rows.items() if row["neurons"]}
    (picture,) = [name for name, row in rows.items() if row["mime"].startswith("image/")]
    assert paid == {picture: pytest.approx(report["neurons"]["spent"])}, "only pictures cost anything"
    (failure,) = world.table("failures").to_pylist()
    assert (failure["id"], failure["code"]) == ("broken.pdf", "unreadable_answer")
    assert "Invalid PDF" in failure["message"]
    assert world.run(code=4)["requests"]["sent"] == 0


def test_a_table_names_documents_and_options_go_along(world):
    (world.folder / "a.html").write_text("<h1>Title</h1>", encoding="utf-8")
    (world.folder / "data.jsonl").write_text(json.dumps({"id": "a", "file": "a.html"}), encoding="utf-8")
    options = {"conversion_options": {"output": {"format": "text"}}}
    world.spec(task="to-markdown", text="file", params=options)
    world.run()
    assert world.table().to_pylist()[0]["markdown"] == "# Title\n"

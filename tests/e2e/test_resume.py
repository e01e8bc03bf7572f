"""A second run on the same output (promises P1, P9, P11): only what is new is sent, nothing is mixed."""

import time

import pytest

from tests.support.cli import KILL, sentences, write_jsonl

NO_EMULATOR = {"CLOUDFLARE_BASE_URL": "http://127.0.0.1:9/client/v4"}  # nothing listens there


@pytest.fixture
def done(world):
    """A job of 120 records that has run to its end."""
    world.records(sentences()[:120])
    world.spec(limits={"batch_size": 40})
    world.run()
    assert world.requests == 3
    return world


def test_extended_input(done):
    """Records that were added are sent; nothing else is."""
    done.records(sentences()[:150])
    plan = done.wai("plan", "job.yaml", "--json").json
    assert (plan["records"]["done"], plan["records"]["pending"], plan["requests"]) == (120, 30, 1)
    report = done.run(fresh=True)  # an interpreter with another seed of hashes finds them all the same
    assert report["records"] == {"total": 150, "done": 150, "failed": 0, "pending": 0}
    assert report["requests"]["sent"] == 1
    assert done.stats()["texts"] == 150
    done.check_once([f"r{n:05}" for n in range(150)])


def test_reordered_input(done):
    """Identity is the id and the text, not the position: the same records in another order send nothing."""
    records = [{"id": f"r{n:05}", "text": text} for n, text in enumerate(sentences()[:120])]
    write_jsonl(done.folder / "data.jsonl", reversed(records))
    assert done.run()["requests"]["sent"] == 0


def test_shortened_input(done):
    """Rows of records that are no longer in the input stay, and are told apart."""
    done.records(sentences()[:100])
    ran = done.wai("run", "job.yaml")
    assert "100 done, 0 failed, 0 pending of 100" in ran.out
    assert "rows of 20 records no longer in the input" in ran.out
    assert len(done.ids()) == 120


def test_changed_text(done):
    """A record whose text changed is not silently left as it was: the run says so, and replaces it on demand."""
    texts = [*sentences()[:120]]
    texts[7] = "Quite another text."
    done.records(texts)
    ran = done.wai("run", "job.yaml", code=2)
    assert "--replace-changed" in ran.err
    assert "--force-new" in ran.err
    assert done.requests == 3
    assert done.wai("status", "out", "--json").json["stop_reason"] == "completed", "what was refused was not killed"
    report = done.run("job.yaml", "--replace-changed")
    assert report["requests"]["sent"] == 1
    assert done.stats()["texts"] == 121
    done.check_once([f"r{n:05}" for n in range(120)])
    assert done.run()["requests"]["sent"] == 0


@pytest.mark.parametrize(
    ("changed", "words"),
    [
        ({"model": "@cf/baai/bge-base-en-v1.5"}, 'model: "@cf/baai/bge-m3" -> "@cf/baai/bge-base-en-v1.5"'),
        ({"model": "@cf/baai/bge-m3", "params": {"truncate_inputs": True}}, "truncate_inputs: (not set) -> true"),
        ({"text": "Passage: {text}"}, '"Passage: {text}"'),
    ],
    ids=["model", "params", "template"],
)
def test_changed_job(done, changed, words):
    """What changes answers is refused: what it is, and a clear choice; --force-new moves the old output aside."""
    done.spec(**changed, limits={"batch_size": 40})
    ran = done.wai("run", "job.yaml", code=2)
    assert words in ran.err
    assert "--force-new" in ran.err
    assert "output.path" in ran.err
    assert done.requests == 3
    assert done.wai("status", "out", "--json").json["stop_reason"] == "completed", "what was refused was not killed"
    ran = done.wai("run", "job.yaml", "--force-new", "--json")
    assert ran.json["records"]["done"] == 120
    assert done.requests == 6
    (aside,) = done.folder.glob("out.old-*")
    assert f"the old output is now {aside.name}" in ran.err
    assert len(done.ids(output=aside.name)) == 120


def test_changed_limits(done):
    """What does not change answers (limits, budget, name) is taken over."""
    done.spec(limits={"batch_size": 7, "concurrency": 2}, budget={"neurons_per_day": 77}, name="another")
    done.records(sentences()[:121])
    report = done.run()
    assert report["records"]["done"] == 121
    assert report["job"] == "another"
    assert report["neurons"]["budget"] == 77


def test_retry_failed(world):
    """Failed records are left alone until --retry-failed sends them, and only them, again."""
    texts = [*sentences()[:60]]
    texts[3] += " BAD"
    texts[33] += " BAD"
    world.records(texts)
    world.spec(limits={"batch_size": 10}, retry={"attempts": 1})
    world.faults({"fault": "5006", "match": " BAD"})
    report = world.run(code=4)
    assert report["records"] == {"total": 60, "done": 58, "failed": 2, "pending": 0}
    assert "--retry-failed" in report["advice"]
    world.emulator.set_faults([])
    sent = world.requests
    assert world.run(code=4)["requests"]["sent"] == 0
    assert world.requests == sent
    world.check_once([f"r{n:05}" for n in range(60)])
    report = world.run("job.yaml", "--retry-failed")
    assert report["records"] == {"total": 60, "done": 60, "failed": 0, "pending": 0}
    assert world.requests == sent + 1
    world.check_once([f"r{n:05}" for n in range(60)])
    assert not world.table("failures").num_rows


def test_retry_failed_with_another_text(world):
    """A failed record has no answer to lose: it is sent again with the text it has now."""
    world.records(["one", "two BAD", "three"])
    world.spec(retry={"attempts": 1})
    world.faults({"fault": "5006", "match": " BAD"})
    world.run(code=4)
    world.records(["one", "two", "three"])
    assert world.run("job.yaml", "--retry-failed")["records"]["done"] == 3


def test_refused_before_failures_are_dropped(world):
    """A run that is refused for an answered record whose text changed leaves the failures as they are."""
    world.records(["one", "two BAD", "three"])
    world.spec(limits={"batch_size": 1}, retry={"attempts": 1})
    world.faults({"fault": "5006", "match": " BAD"})
    world.run(code=4)
    world.records(["another", "two", "three"])
    ran = world.wai("run", "job.yaml", "--retry-failed", code=2)
    assert "1 record of the input changed since being answered" in ran.err
    assert "will be sent again" not in ran.err
    assert world.table("failures").num_rows == 1
    assert world.run("job.yaml", "--retry-failed", "--replace-changed")["records"]["done"] == 3


def test_two_runs_on_one_output(world):
    """The second run on an output is refused with the pid of the first; a killed one leaves no lock behind."""
    world.records(sentences()[:100])
    world.spec(limits={"batch_size": 5, "concurrency": 1})
    world.latency(0.7)
    with world.start("run", "job.yaml", "--json") as first:
        world.wait_for(lambda: world.requests > 0, what="the first request")
        began = time.monotonic()
        ran = world.wai("run", "job.yaml", code=11)
        assert time.monotonic() - began < 10
        assert str(first.pid) in ran.err
        status = world.wai("status", "job.yaml", "--json").json
        assert status["stop_reason"] == "running"
        first.send(KILL)
        first.ended()
    assert world.wai("status", "job.yaml", "--json").json["stop_reason"] == "killed"
    world.emulator.set_faults([])
    told = world.wai("status", "job.yaml").out
    assert "ended without a report" in told
    assert "  next      resume with: wai run job.yaml\n" in told
    assert world.run()["records"]["done"] == 100
    assert "  next " not in world.wai("status", "job.yaml").out


def test_output_that_cannot_be_written(world):
    """A file where the folder should be, or a folder that is not ours, is named, and nothing is sent."""
    world.records(sentences()[:5])
    world.spec()
    (world.folder / "out").write_text("a file")
    ran = world.wai("run", "job.yaml", code=2)
    assert "output.path" in ran.err
    assert len(ran.err.splitlines()) == 1
    (world.folder / "out").unlink()
    (world.folder / "out").mkdir()
    (world.folder / "out" / "thesis.doc").write_text("precious")
    world.wai("run", "job.yaml", code=2)
    assert (world.folder / "out" / "thesis.doc").read_text() == "precious"
    assert world.requests == 0


def test_damaged_output(done):
    """A part that was changed on disk is found by status --verify, and one that is gone by the next run: exit 10."""
    (part,) = (done.folder / "out" / "results").glob("*.parquet")
    raw = bytearray(part.read_bytes())
    raw[len(raw) // 2] ^= 0x40
    part.write_bytes(raw)
    ran = done.wai("status", "out", "--verify", "--json", code=10)
    assert any(part.name in problem for problem in ran.json["problems"])
    part.unlink()
    assert part.name in done.wai("run", "job.yaml", code=10).err
    assert done.requests == 3


@pytest.mark.slow
def test_a_rehearsal_is_marked_and_kept_apart(world):
    """A rehearsal writes beside the output, says in every file that it is simulated, and nothing real continues it."""
    world.records(sentences()[:80])
    world.spec()
    no_account = {"CLOUDFLARE_ACCOUNT_ID": "", "CLOUDFLARE_API_TOKEN": "", "CLOUDFLARE_BASE_URL": ""}
    report = world.run("job.yaml", "--rehearse", env=no_account)
    assert report["simulated"] is True
    assert report["records"]["done"] == 80
    assert report["output"] == "out.rehearsal"
    assert not (world.folder / "out").exists()
    assert world.requests == 0
    manifest = world.manifest("out.rehearsal")
    assert manifest["endpoint"] == {"kind": "emulator", "base_url": "", "simulated": True}
    metadata = world.table(output="out.rehearsal").schema.metadata
    assert metadata[b"wai.simulated"] == b"true"
    assert metadata[b"wai.endpoint"] == b"emulator"
    shown = world.wai("status", "job.yaml", "--rehearse", "--json").json
    assert shown["simulated"] is True

    again = world.run("job.yaml", "--rehearse", env=no_account)
    assert again["requests"]["sent"] == 0
    world.spec(output={"path": "out.rehearsal"})
    ran = world.wai("run", "job.yaml", code=2, env=NO_EMULATOR)
    assert "simulated" in ran.err
    assert world.requests == 0
    assert all(row["simulated"] for row in world.wai("budget", "--json").json["rows"])


def test_endpoint_emulator(world):
    """endpoint.kind: emulator is a simulation too, and marked as one."""
    world.records(sentences()[:20])
    world.spec(endpoint={"kind": "emulator"})
    assert world.run()["simulated"] is True
    assert world.manifest()["endpoint"]["simulated"] is True
    world.spec()
    assert "simulated" in world.wai("run", "job.yaml", code=2, env=NO_EMULATOR).err


def test_an_emulator_at_the_base_url_is_recognised(world):
    """Answers of an emulator that runs on its own are marked as simulated as well, and never mixed with real ones."""
    world.records(sentences()[:20])
    world.spec()
    assert world.run()["simulated"] is True
    assert world.manifest()["endpoint"]["simulated"] is True
    assert world.table().schema.metadata[b"wai.simulated"] == b"true"
    assert "simulated" in world.wai("run", "job.yaml", code=2, env=NO_EMULATOR).err

"""Outputs of earlier versions, and of later ones: resumed or refused with a clear word, never misread (promise P1)."""

import json
import shutil
import struct
import zlib

import pytest

from pipeline.storage.manifest import _seal
from tests.support.cli import ROOT

KEPT = ROOT / "tests" / "data" / "outputs"
IDS = [f"r{n:02}" for n in range(24)]
POISON = {"fault": "5006", "match": "POISON"}
SAID = ["id", "response", "neurons", "finished_at"]


@pytest.fixture
def opened(world):
    """Put a folder of another version where the job writes its output; returns it."""

    def put(version, state):
        for name in ("data.jsonl", "job.yaml"):
            shutil.copy(KEPT / name, world.folder)
        out = world.folder / "out"
        shutil.copytree(KEPT / version / state, out)
        for name in ("media", "failures", "results"):  # empty ones are not kept by git
            (out / name).mkdir(exist_ok=True)
        world.faults(POISON)
        return out

    return put


def rows_in(world):
    return {row["id"]: row for row in world.table().select(SAID).to_pylist()}


@pytest.mark.parametrize("version", ["several-rows", "one-row"])
@pytest.mark.parametrize("state", ["finished", "killed"])
def test_an_older_output_is_continued(world, opened, version, state):
    """What it holds is not asked for again and stays as it is, also where its parts are written anew."""
    opened(version, state)
    world.wai("status", "out", "--verify")
    before = rows_in(world)
    assert len(before) == {"finished": 23, "killed": 7}[state]

    report = world.run(code=4)
    assert report["records"] == {"total": 24, "done": 23, "failed": 1, "pending": 0}
    assert world.requests == {"finished": 0, "killed": 24 - 8 - 4}[state], "eight lie in parts, four in the journal"
    world.check_once(IDS)

    world.faults()
    assert world.run("job.yaml", "--retry-failed")["records"]["done"] == 24
    assert world.wai("status", "out", "--verify", "--json").json["problems"] == []
    after = rows_in(world)
    assert sorted(after) == IDS
    assert {name: after[name] for name in before} == before


def manifest_of_version(number):
    def change(out):
        path = out / "run" / "manifest.json"
        manifest = json.loads(path.read_bytes()) | {"format_version": number, "written_by": "workers-ai-batch 9.9"}
        del manifest["sha256"]
        body = json.dumps(manifest, indent=2).encode().removesuffix(b"\n}")
        path.write_bytes(body + _seal(body))

    return change


def journal_of_version_2(out):
    """A header of the next version, checksum and all."""
    (path,) = (out / "run").glob("journal-*.wal")
    head = struct.pack("<8sHI", b"WAIJRNL\n", 2, 2)
    path.write_bytes(head + struct.pack("<I", zlib.crc32(head)) + path.read_bytes()[18:])


def frame_of_another_kind(out):
    """A whole frame, of a kind that this version does not know."""
    (path,) = (out / "run").glob("journal-*.wal")
    body = b"something new"
    crc = zlib.crc32(body, zlib.crc32(struct.pack("<BI", 8, 0)))
    path.write_bytes(path.read_bytes() + struct.pack("<4sIIBI", b"\xf7WAI", len(body), crc, 8, 0) + body)


def nothing(_):
    pass


@pytest.mark.parametrize(
    ("version", "state", "change", "says"),
    [
        ("several-rows", "finished", manifest_of_version(2), "format 2, written by workers-ai-batch 9.9"),
        ("several-rows", "killed", manifest_of_version(2), "use the version that wrote it"),
        ("several-rows", "finished", manifest_of_version(0), "format 0, written by workers-ai-batch 9.9"),
        ("several-rows", "killed", journal_of_version_2, "written by a newer version; use that version"),
        ("several-rows", "killed", frame_of_another_kind, "written by a newer version; use that version"),
        ("unsealed", "finished", nothing, "start over with --force-new"),
    ],
)
def test_what_this_version_cannot_read_is_refused(world, opened, version, state, change, says):
    """Exit 10, the file named, what to do; nothing is sent and nothing changed. --force-new moves it aside."""
    out = opened(version, state)
    change(out)
    before = {path: path.read_bytes() for path in out.rglob("*") if path.is_file()}
    ran = world.wai("run", "job.yaml", code=10)
    (line,) = ran.err.splitlines()
    assert "out/run/" in line
    assert says in line
    assert world.requests == 0
    assert {path: path.read_bytes() for path in before} == before
    assert world.run("job.yaml", "--force-new", code=4)["records"]["done"] == 23
    (aside,) = world.folder.glob("out.old-*")
    assert {path.relative_to(out): (aside / path.relative_to(out)).read_bytes() for path in before} == {
        path.relative_to(out): content for path, content in before.items()
    }

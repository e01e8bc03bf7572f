"""Recordings through the command line: real containers in, text with the times of the file out."""

import json

import numpy as np
import pytest

from tests.support.cli import KILL
from tests.support.sounds import SAMPLES, talk, write_as

MODELS = ["@cf/openai/whisper-large-v3-turbo", "@cf/openai/whisper", "@cf/deepgram/nova-3"]
AUDIO = {"path": "audio", "text": None, "id": None}


def write_audio(world, talks):
    """Write recordings: file name to (container, talk)."""
    folder = world.folder / "audio"
    folder.mkdir()
    for name, (kind, made) in talks.items():
        write_as(folder, kind, made.samples, name=name)


def transcribe(world, *, model=MODELS[0], **groups):
    world.spec(task="transcribe", model=model, **{"input": {**AUDIO, "text": None}, **groups})


def rows(world):
    return {row["id"]: row for row in world.table().to_pylist()}


def times(words):
    return np.array([(word["start"], word["end"]) for word in words])


def is_named_as_simulated(subtitles):
    """Whether the first words on the screen say that nobody has listened."""
    return subtitles.partition(" --> ")[2].splitlines()[1].startswith("[simulated] ")


@pytest.mark.slow
def test_recordings_of_any_container_become_text_with_times(world):
    talks = {
        "a": ("wav", talk(95.0, seed=1)),
        "b": ("mp3", talk(40.0, seed=12)),
        "c": ("m4a", talk(40.0, seed=13)),
        "d": ("webm", talk(8.0, seed=14)),
        "e": ("wav", talk(45.0, seed=4, manner=SAMPLES.BREATHLESS)),
    }
    write_audio(world, talks)
    transcribe(world, output={"path": "out", "subtitles": ["srt", "vtt"]})
    plan = world.wai("plan", "job.yaml", "--json").json
    report = world.run()
    assert report["records"] == {"total": 5, "done": 5, "failed": 0, "pending": 0}
    assert report["neurons"]["spent"] == pytest.approx(world.metered, rel=0.01)
    assert report["neurons"]["spent"] <= plan["neurons"]["at_most"]
    assert plan["neurons"]["expected"] == pytest.approx(228 / 60 * 46.63, rel=0.01)
    found = rows(world)
    for name, (kind, made) in talks.items():
        row = found[f"{name}.{kind}"]
        assert len(row["words"]) == len(made.words), name
        assert np.abs(times(row["words"]) - made.words).max() <= 0.05, name
        assert row["duration_seconds"] == pytest.approx(len(made.samples) / SAMPLES.RATE, abs=0.02)
        assert row["warnings"] == []
        assert row["language"] == "en"
        for path, head in zip(row["subtitles"], ("1\n00:00:00,6", "WEBVTT\n\n00:00:00.6"), strict=True):
            written = (world.folder / "out" / path).read_text("utf-8")
            assert written.startswith(head)
            assert is_named_as_simulated(written), name
        assert row["vtt"] == (world.folder / "out" / row["subtitles"][1]).read_text("utf-8")
    sent = world.requests
    assert world.run()["requests"]["sent"] == 0
    assert world.requests == sent


@pytest.mark.parametrize("model", [*MODELS[1:], "@cf/openai/whisper-tiny-en"])
def test_models_that_take_the_bare_file(world, model):
    """One of them has no published price; its job says that this is all right."""
    made = talk(50.0, seed=15)
    write_audio(world, {"a": ("flac", made)})
    transcribe(world, model=model, budget={"unpriced": "allow"}, output={"path": "out", "subtitles": ["srt", "vtt"]})
    world.run()
    (row,) = world.table().to_pylist()
    for path in row["subtitles"]:
        assert is_named_as_simulated((world.folder / "out" / path).read_text("utf-8"))
    assert np.abs(times(row["words"]) - made.words).max() <= 0.05
    assert row["language"] is None


def test_what_is_too_large_for_the_service_is_sent_in_halves(world):
    """3006 and 3010 cut a piece in time; the row is as if nothing had been."""
    made = talk(58.0, seed=16)
    write_audio(world, {"a": ("wav", made)})
    world.faults({"fault": "3010", "times": 3})
    transcribe(world)
    report = world.run()
    (row,) = world.table().to_pylist()
    assert report["codes"] == {"3010": 3}
    assert len(row["words"]) == len(made.words)
    assert np.abs(times(row["words"]) - made.words).max() <= 0.05
    assert row["sent_seconds"] > 58.0


def test_files_that_cannot_be_heard_are_failures_with_a_reason(world):
    write_audio(world, {"good": ("wav", talk(8.0, seed=3))})
    (world.folder / "audio" / "empty.mp3").write_bytes(b"")
    (world.folder / "audio" / "text.ogg").write_text("this is no sound")
    transcribe(world)
    report = world.run(code=4)
    assert (report["records"]["done"], report["records"]["failed"]) == (1, 2)
    said = {row["id"]: row["message"] for row in world.table("failures").to_pylist()}
    assert said["empty.mp3"] == "audio/empty.mp3 is empty"
    assert said["text.ogg"].startswith("audio/text.ogg cannot be read as a recording: ")


def test_paths_in_a_table_and_equal_files(world):
    """A table may name the files; the same recording under two names is sent once."""
    made = talk(8.0, seed=3)
    write_audio(world, {"one": ("wav", made), "two": ("wav", made)})
    lines = [{"id": name, "file": f"audio/{name}.wav", "show": "s"} for name in ("one", "two")]
    (world.folder / "data.jsonl").write_text("".join(json.dumps(line) + "\n" for line in lines))
    world.spec(
        task="transcribe", text="file", input={"path": "data.jsonl", "id": "id", "text": "file", "keep": ["show"]}
    )
    world.run()
    found = rows(world)
    assert found["one"]["text"] == found["two"]["text"] != ""
    assert [found[name]["show"] for name in ("one", "two")] == ["s", "s"]
    assert world.requests == 1
    words = world.wai("explain", "job.yaml", "two").out
    assert words.startswith("two: done, shares the answer of one (equal file) (simulated)\n")
    assert f"  file      audio/two.wav ({(world.folder / 'audio' / 'two.wav').stat().st_size:,} bytes)\n" in words


def test_subtitles_are_for_recordings_only(world):
    world.records(["a"])
    world.spec(output={"path": "out", "subtitles": ["srt"]})
    assert "output.subtitles: embed has no times" in world.wai("plan", "job.yaml", code=2).said


@pytest.mark.slow
def test_a_run_that_is_killed_begins_the_recording_anew(world):
    """What was finished stays; of what was not, nothing is left over, and the second run completes it."""
    talks = {"a": ("wav", talk(8.0, seed=3)), "b": ("wav", talk(95.0, seed=1))}
    write_audio(world, talks)
    transcribe(world)
    world.faults({"fault": "latency", "seconds": 4.0, "after": 4})
    with world.start("run", "job.yaml") as running:
        world.wait_for(lambda: world.requests >= 5 and world.ids(), what="half of the pieces")
        running.send(KILL)
        running.ended()
    world.faults()
    report = world.run()
    assert report["records"] == {"total": 2, "done": 2, "failed": 0, "pending": 0}
    found = rows(world)
    assert sorted(found) == ["a.wav", "b.wav"]
    for name, (_, made) in talks.items():
        assert np.abs(times(found[f"{name}.wav"]["words"]) - made.words).max() <= 0.05


def test_one_recording_is_sent_by_many_at_once(world):
    """Once its language is known, its pieces do not wait for each other."""
    write_audio(world, {"a": ("wav", talk(200.0, seed=17))})
    world.faults({"fault": "latency", "seconds": 1.0})
    transcribe(world, params={"piece_seconds": 10})
    report = world.run()
    assert report["requests"]["sent"] > 20
    assert report["seconds"] < 10.0


def test_a_kill_between_pieces_that_follow_one_another_pays_none_again(world):
    """Each piece is told what was said before it, one after the other; what was answered is found again."""
    talks = {"a": ("wav", talk(95.0, seed=1)), "b": ("wav", talk(60.0, seed=2))}
    write_audio(world, talks)
    transcribe(world, params={"piece_seconds": 10, "carry_text": True}, limits={"concurrency": 4})
    plan = world.wai("plan", "job.yaml", "--json").json
    world.latency(0.1)
    with world.start("run", "job.yaml") as running:
        world.wait_for(lambda: world.requests >= 8, what="half of the pieces")
        assert world.stats()["running"] <= 2, "one piece of a file at a time"
        running.send(KILL)
        running.ended()
    world.faults()
    report = world.run()
    assert report["records"] == {"total": 2, "done": 2, "failed": 0, "pending": 0}
    assert world.stats()["input_digests"]["repeated"] <= 2, "what was under way"
    assert world.metered <= plan["neurons"]["at_most"]
    found = rows(world)
    for name, (_, made) in talks.items():
        assert np.abs(times(found[f"{name}.wav"]["words"]) - made.words).max() <= 0.05


def test_another_model_beside_it_takes_whole_recordings_only(world):
    """One whose other pieces wait for its first answer stays with the job's own model, and is there to its end."""
    talks = {name: ("wav", talk(45.0, seed=n)) for n, name in enumerate("abcd", 1)}
    talks["short"] = ("wav", talk(8.0, seed=3))
    write_audio(world, talks)
    endpoints = [{"name": "own", "kind": "workers-ai"}, {"name": "other", "kind": "workers-ai", "model": MODELS[1]}]
    transcribe(world, endpoints=endpoints)
    world.run()
    found = rows(world)
    for name, (_, made) in talks.items():
        assert len(found[f"{name}.wav"]["words"]) == len(made.words), name

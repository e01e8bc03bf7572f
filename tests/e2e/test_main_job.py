"""The main job through the command line (acceptance 2; promise P1): thousands of real sentences in, one vector each."""

import http.client
import json
from urllib.parse import urlsplit

import duckdb
import numpy as np
import pandas as pd
import polars as pl
import pytest

from tests.support.cli import ACCOUNT, TOKEN, sentences

MODEL = "@cf/baai/bge-m3"


def ask(emulator, texts):
    """Embed texts by a plain HTTP request of our own."""
    base = urlsplit(emulator.url)
    connection = http.client.HTTPConnection(base.hostname, base.port, timeout=10)
    connection.request(
        "POST",
        f"{base.path}/accounts/{ACCOUNT}/ai/run/{MODEL}",
        body=json.dumps({"text": texts}),
        headers={"authorization": f"Bearer {TOKEN}", "content-type": "application/json"},
    )
    body = json.loads(connection.getresponse().read())
    connection.close()
    return body["result"].get("data") or body["result"]["response"]


@pytest.mark.slow
def test_thousands_of_sentences(world):
    """Every sentence gets one row with its own vector, at 100 a request, booked as metered, and is sent once."""
    texts = sentences()[:3_100]
    world.records(texts)
    world.spec(model=MODEL, output={"path": "out", "include_input": True})
    report = world.run()
    n = len(texts)
    assert report["records"] == {"total": n, "done": n, "failed": 0, "pending": 0}
    assert report["stop_reason"] == "completed"
    assert world.requests == report["requests"]["sent"] <= n / 100 + 10
    assert report["neurons"]["spent"] == pytest.approx(world.metered, rel=0.02)
    assert report["neurons"]["spent"] >= 0.995 * world.metered

    stats = world.stats()
    again = world.run()
    assert again["requests"]["sent"] == 0
    assert again["records"] == report["records"]
    assert world.stats() == stats

    results = world.folder / "out" / "results"
    frame = pd.read_parquet(results)
    assert len(frame) == n
    assert frame["id"].is_unique
    assert dict(zip(frame["id"], frame["input"], strict=True)) == {f"r{i:05}": text for i, text in enumerate(texts)}
    assert [path.suffix for path in results.iterdir()] == [".parquet"]
    counted = duckdb.sql(f"select count(*), count(distinct id), sum(neurons) from '{results}/*.parquet'").fetchall()[0]
    assert counted[:2] == (n, n)
    assert counted[2] == pytest.approx(report["neurons"]["spent"], rel=1e-6)
    assert pl.read_parquet(f"{results}/*.parquet").height == n

    chosen = frame.iloc[[0, n // 2, n - 1]]
    expected = np.array(ask(world.emulator, chosen["input"].tolist()), dtype=np.float32)
    np.testing.assert_allclose(np.stack(chosen["embedding"].to_list()), expected, atol=1e-6)


def test_rows_carry_what_the_design_says(world):
    """A result row holds id, source, row, kept columns, the vector, model, neurons, latency, attempts and time."""
    (world.folder / "data.jsonl").write_text('{"id": "a", "text": "one", "lang": "en", "n": 3}\n', encoding="utf-8")
    world.spec(input={"path": "data.jsonl", "id": "id", "keep": ["lang", "n"]})
    world.run()
    (row,) = world.table().to_pylist()
    assert row.keys() == {
        "id", "source", "row", "lang", "n", "embedding", "chunk", "n_chunks", "chunk_start", "chunk_end",
        "model", "neurons", "latency_ms", "attempts", "finished_at",
    }  # fmt: skip
    assert (row["id"], row["source"], row["row"], row["lang"], row["n"]) == ("a", "data.jsonl", 0, "en", 3)
    assert row["model"] == MODEL
    assert row["attempts"] == 1
    assert row["neurons"] > 0
    assert row["latency_ms"] > 0
    assert row["finished_at"].utcoffset().total_seconds() == 0


def test_generate_with_a_schema(world):
    """Answers in JSON become typed columns, with finish reason and token counts beside them."""
    world.records(sentences()[:12])
    schema = {
        "type": "object",
        "properties": {"topic": {"type": "string"}, "level": {"type": "integer"}},
        "required": ["topic", "level"],
    }
    world.spec(task="generate", text="Judge: {text}", params={"max_tokens": 80, "json_schema": schema})
    report = world.run()
    assert report["records"]["done"] == 12
    assert report["neurons"]["spent"] == pytest.approx(world.metered, rel=0.02)
    rows = world.table().to_pylist()
    assert all(isinstance(row["topic"], str) and isinstance(row["level"], int) for row in rows)
    assert all(row["finish_reason"] and row["response"] for row in rows)


def test_equal_texts_are_sent_once(world):
    """Of 400 records with 200 different texts 200 are sent, and all 400 have a row."""
    texts = sentences()[:200]
    world.records([*texts, *reversed(texts)])
    world.spec(output={"path": "out", "include_input": True})
    report = world.run()
    assert report["records"]["done"] == 400
    assert report["requests"] == {"sent": 2, "retried": 0, "deduplicated": 200}
    assert world.stats()["texts"] == 200
    rows = world.table().to_pylist()
    vectors = {}
    for row in rows:
        assert vectors.setdefault(row["input"], row["embedding"]) == row["embedding"]
    world.check_once([f"r{n:05}" for n in range(400)])
    assert sum(row["neurons"] for row in rows) == pytest.approx(report["neurons"]["spent"], rel=1e-6)


def test_dedupe_can_be_switched_off(world):
    """With dedupe: false every record is sent."""
    world.records(["the same"] * 30)
    world.spec(dedupe=False)
    assert world.run()["requests"]["deduplicated"] == 0
    assert world.stats()["texts"] == 30


def test_stdin(world):
    """Records can come from a pipe."""
    world.spec(input={"path": "-", "format": "jsonl", "id": "id"})
    feed = "".join(json.dumps({"id": f"s{n}", "text": text}) + "\n" for n, text in enumerate(sentences()[:250]))
    assert world.run(feed=feed)["records"]["done"] == 250
    world.check_once([f"s{n}" for n in range(250)])
    assert world.run(feed=feed)["requests"]["sent"] == 0


def test_plain_text_folder_and_gzip(world):
    """Lines of text files, plain and packed, become records named by file and line."""
    import gzip

    folder = world.folder / "texts"
    folder.mkdir()
    (folder / "a.txt").write_text("first text\n", encoding="utf-8")
    (folder / "b.txt").write_bytes(b"\xef\xbb\xbfsecond text\n")
    world.spec(identity=None, text=None, input={"path": "texts"})
    assert world.run()["records"]["done"] == 2
    with gzip.open(world.folder / "lines.jsonl.gz", "wt") as file:
        file.writelines(json.dumps({"text": text}) + "\n" for text in sentences()[:20])
    world.spec(identity=None, input={"path": "lines.jsonl.gz"}, output={"path": "out2"})
    assert world.run()["records"]["done"] == 20
    assert len(set(world.ids(output="out2"))) == 20


def test_broken_lines_are_failures_with_their_place(world):
    """A line that is no JSON, one without the text and an empty text fail alone, each with its row."""
    lines = [json.dumps({"id": f"k{n}", "text": text}) for n, text in enumerate(sentences()[:20])]
    lines[4], lines[9], lines[14] = '{"id": "k4", "text": ', '{"id": "k9"}', '{"id": "k14", "text": "  "}'
    (world.folder / "data.jsonl").write_text("\n".join(lines) + "\n", encoding="utf-8")
    world.spec()
    report = world.run(code=4)
    assert report["stop_reason"] == "completed_with_failures"
    assert report["records"] == {"total": 20, "done": 17, "failed": 3, "pending": 0}
    failures = world.table("failures").to_pylist()
    assert [row["row"] for row in sorted(failures, key=lambda row: row["row"])] == [4, 9, 14]
    assert all(row["code"] and row["message"] for row in failures)
    assert world.stats()["texts"] == 17
    again = world.run(code=4)
    assert again["requests"]["sent"] == 0
    assert again["records"] == report["records"]


def test_set_and_limit(world):
    """--limit takes the first N records and --set overrides any key, over the spec."""
    world.records(sentences()[:60])
    world.spec(limits={"batch_size": 30})
    report = world.run("job.yaml", "--limit", 20, "--set", "limits.batch_size=5", "--set", "output.path=elsewhere")
    assert report["records"]["total"] == 20
    assert report["requests"]["sent"] == 4
    assert report["output"] == "elsewhere"
    assert not (world.folder / "out").exists()


def test_several_specs(world):
    """Several specs run one after the other and are reported together."""
    world.records(sentences()[:10])
    world.spec("one.yaml", output={"path": "out1"})
    world.spec("two.yaml", output={"path": "out2"})
    ran = world.wai("run", "one.yaml", "two.yaml", "--json")
    assert [job["job"] for job in ran.json["jobs"]] == ["one", "two"]
    assert all(job["records"]["done"] == 10 for job in ran.json["jobs"])


def test_the_report_in_words(world):
    """Without --json the end of a run says what was done, spent and sent."""
    world.records(sentences()[:10])
    world.spec()
    ran = world.wai("run", "job.yaml")
    assert "10 done, 0 failed, 0 pending of 10" in ran.out
    assert "neurons" in ran.out
    assert "out/results" in ran.out

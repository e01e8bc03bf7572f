"""The command line as a child process, against an emulator of its own: what a user types and what comes of it.

A command is forked from a process that has imported everything (`tests.support.forkserver`), unless it has words in
front of it, an environment that only a new interpreter takes in, or the test says `fresh`: where start-up, memory or
the process list is the point.
"""

import json
import re
import signal
import subprocess
import sys
import time
from dataclasses import dataclass, field
from functools import cache
from pathlib import Path
from pydoc_data.topics import topics

import pyarrow as pa
import pyarrow.parquet as pq

from pipeline.emulator.process import EmulatorProcess
from tests.support.forkserver import fork_server, kept_env

ROOT = Path(__file__).resolve().parents[2]
WAI = [sys.executable, "-m", "pipeline"]
ACCOUNT = "0123456789abcdef0123456789abcdef"
TOKEN = "test-token-not-real"
FAST = {"requests_per_minute": 1_000_000}
IMPATIENT = {"max_delay_seconds": 0.1}
_SENTENCE_END = re.compile(r"(?<=[.!?:]) +(?=[A-Z\"*])")


@cache
def sentences() -> tuple[str, ...]:
    """Distinct sentences of Python's own help pages, in a fixed order."""
    found = {}
    for _, page in sorted(topics.items()):
        for paragraph in page.split("\n\n"):
            for sentence in _SENTENCE_END.split(" ".join(paragraph.split())):
                if 20 <= len(sentence) <= 600:
                    found[sentence] = None
    return tuple(found)


def write_jsonl(path, records):
    """Write records, one JSON object a line."""
    path.write_text("".join(json.dumps(record) + "\n" for record in records), encoding="utf-8")
    return path


@dataclass
class Ran:
    """How a command ended."""

    code: int
    out: str
    err: str
    seconds: float

    @property
    def json(self):
        return json.loads(self.out)

    @property
    def said(self):
        return self.out + self.err


class Running:
    """A command that is running."""

    def __init__(self, arguments, *, env, cwd, stdin=None, before=(), fresh=False):
        self.began = time.monotonic()
        server = fork_server()
        if fresh or before or not server.serves(env):
            self.child = subprocess.Popen(
                [*before, *WAI, *arguments],
                env=env,
                cwd=cwd,
                stdin=stdin,
                stdout=subprocess.PIPE,
                stderr=subprocess.PIPE,
                text=True,
            )
        else:
            self.child = server.start("pipeline", arguments, env=env, cwd=cwd, stdin=stdin)

    @property
    def pid(self):
        return self.child.pid

    def send(self, number):
        self.child.send_signal(number)

    def ended(self, timeout=60, feed=None):
        """Wait for the end and return a `Ran`; `feed` is for a stdin that is a pipe."""
        try:
            out, err = self.child.communicate(feed, timeout=timeout)
        except subprocess.TimeoutExpired:
            self.child.kill()
            out, err = self.child.communicate()
            raise AssertionError(f"still running after {timeout} s\n{out}\n{err}") from None
        return Ran(self.child.returncode, out, err, time.monotonic() - self.began)

    def __enter__(self):
        return self

    def __exit__(self, *_):
        if self.child.poll() is None:
            self.child.kill()
        if not self.child.stdout.closed:
            self.child.communicate()


def resident(pid):
    """Peak resident memory of a process so far, in bytes; 0 once it is gone."""
    try:
        lines = Path(f"/proc/{pid}/status").read_text().splitlines()
    except OSError:
        return 0
    return next((int(line.split()[1]) * 1024 for line in lines if line.startswith("VmHWM")), 0)


def ended_with_peak(running, timeout=120):
    """Wait for the end of a command; return how it ended and the peak of its resident memory in bytes."""
    peak = 0

    def is_over():
        nonlocal peak
        peak = max(peak, resident(running.pid))
        return running.child.poll() is not None

    wait_for(is_over, what="the run", timeout=timeout)
    ran = running.ended()
    assert "Traceback" not in ran.said, ran.said
    return ran, peak


@dataclass
class World:
    """A folder, an environment and an emulator for one test."""

    folder: Path
    emulator: EmulatorProcess
    env: dict[str, str] = field(default_factory=dict)

    def __post_init__(self):
        self.env = {
            **kept_env(),
            "HOME": str(self.folder / "home"),
            "CLOUDFLARE_BASE_URL": self.emulator.url,
            "CLOUDFLARE_ACCOUNT_ID": ACCOUNT,
            "CLOUDFLARE_API_TOKEN": TOKEN,
            "WAI_STATE_DIR": str(self.folder / "state"),
        }

    def start(self, *arguments, env=None, stdin=None, before=(), fresh=False):
        """Start a command and do not wait for it.

        Args:
            *arguments: What follows ``wai``.
            env: Variables beside those of this world.
            stdin: As for `subprocess.Popen`.
            before: Words in front of it, as of `prlimit`.
            fresh: In an interpreter of its own.
        """
        given, env = [str(each) for each in arguments], {**self.env, **(env or {})}
        return Running(given, env=env, cwd=self.folder, stdin=stdin, before=before, fresh=fresh)

    def wai(self, *arguments, code=0, feed=None, timeout=90, **how):
        """Run a command to its end and check its exit code and that it did not crash; `how` is for `start`."""
        with self.start(*arguments, stdin=subprocess.DEVNULL if feed is None else subprocess.PIPE, **how) as running:
            ran = running.ended(timeout, feed)
        assert "Traceback" not in ran.said, ran.said
        assert code is None or ran.code == code, f"exit code {ran.code}, not {code}\n{ran.said}"
        return ran

    def run(self, spec="job.yaml", *arguments, code=0, **more):
        """`wai run SPEC --json`: returns the report."""
        return self.wai("run", spec, "--json", *arguments, code=code, **more).json

    def spec(self, file="job.yaml", *, task="embed", text="text", identity="id", **groups):
        """Write a job spec (JSON is YAML) for data.jsonl into out/, at full speed and without long waits."""
        given = {
            "task": task,
            "input": {"path": "data.jsonl", "id": identity, "text": text},
            "output": {"path": "out"},
            **groups,
        }
        given["input"] = {key: value for key, value in given["input"].items() if value is not None}
        given["limits"] = {**FAST, **given.get("limits", {})}
        given["retry"] = {**IMPATIENT, **given.get("retry", {})}
        path = self.folder / file
        path.write_text(json.dumps(given, indent=2), encoding="utf-8")
        return path

    def records(self, texts, *, prefix="r"):
        """Write data.jsonl with one record a text."""
        return write_jsonl(
            self.folder / "data.jsonl", [{"id": f"{prefix}{n:05}", "text": text} for n, text in enumerate(texts)]
        )

    def stats(self):
        return self.emulator.stats()

    @property
    def requests(self):
        """Inference requests that have reached the emulator."""
        return self.stats()["requests"]["total"]

    @property
    def metered(self):
        """Neurons the emulator has metered today."""
        return self.stats()["neurons"]

    def faults(self, *rules, seed=1):
        self.emulator.set_faults(rules, seed=seed)

    def latency(self, seconds):
        self.faults({"fault": "latency", "seconds": seconds})

    def table(self, kind="results", output="out"):
        """All rows of an output folder."""
        return read_rows(self.folder / output / kind)

    def ids(self, kind="results", output="out"):
        rows = self.table(kind, output)
        return rows["id"].to_pylist() if rows.num_rows else []

    def manifest(self, output="out"):
        return json.loads((self.folder / output / "run" / "manifest.json").read_bytes())

    def wait_for(self, condition, *, what, timeout=30.0):
        """Wait until a condition holds."""
        wait_for(condition, what=what, timeout=timeout)

    def check_once(self, expected, output="out"):
        """Each record of `expected` ends in one place, as a result (one row or more) or a failure; no other does."""
        results = self.table("results", output)
        parts = results["chunk"].to_pylist() if "chunk" in results.column_names else [0] * results.num_rows
        assert len(set(zip(self.ids("results", output), parts, strict=True))) == len(parts), "a row stands twice"
        found = [*set(self.ids("results", output)), *self.ids("failures", output)]
        assert sorted(found) == sorted(expected)


def read_rows(folder):
    """Read a folder of parts; an empty table where there are none."""
    parts = sorted(folder.glob("*.parquet")) if folder.is_dir() else []
    return pq.read_table(folder) if parts else pa.table({})


def wait_for(condition, *, what, timeout=30.0, pause_s=0.02):
    """Poll until a condition holds."""
    deadline = time.monotonic() + timeout
    while not condition():
        assert time.monotonic() < deadline, f"waited {timeout} s for {what}"
        time.sleep(pause_s)


def settle_down(emulator, timeout=15.0):
    """Wait until nothing runs in the emulator any more, then make it forget everything."""
    emulator.set_faults([])
    come_to_rest(emulator, timeout)
    emulator.reset()


def come_to_rest(emulator, timeout=15.0):
    """Wait until nothing runs in the emulator any more; what the dead have sent is counted all the same."""
    wait_for(lambda: emulator.stats()["running"] == 0, what="the emulator to finish", timeout=timeout)


INTERRUPT, TERMINATE, KILL = signal.SIGINT, signal.SIGTERM, signal.SIGKILL

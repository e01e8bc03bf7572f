"""Our own OpenAI dialect against a server that others wrote, which fails on purpose.

npm `@copilotkit/aimock`; `make thirdparty` installs it into .thirdparty/ where npm is there.
"""

import json
import os
import re
import shutil
import socket
import subprocess
import urllib.request
from pathlib import Path

import pytest

from tests.support.cli import ROOT, World, wait_for

pytestmark = pytest.mark.thirdparty

AIMOCK = Path(os.environ.get("AIMOCK", ROOT / ".thirdparty/node_modules/@copilotkit/aimock")) / "dist/cli.js"
N = 100


class _Nobody:
    url = "http://127.0.0.1:9/client/v4"


@pytest.fixture
def aimock(tmp_path):
    """Start it with chaos flags; yields a function that returns its base URL."""
    node = shutil.which("node")
    if node is None or not AIMOCK.exists():
        pytest.skip("npm is not there, so aimock is not installed")
    fixtures = {"fixtures": [{"match": {"userMessage": "text"}, "response": {"content": "A fixed answer."}}]}
    (tmp_path / "fixtures.json").write_text(json.dumps(fixtures))
    started = []

    def start(*flags):
        with socket.socket() as free:
            free.bind(("127.0.0.1", 0))
            port = free.getsockname()[1]
        command = [node, str(AIMOCK), "-p", str(port), "-f", str(tmp_path / "fixtures.json"), *flags]
        started.append(subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL))

        def listens():
            with socket.socket() as probe:
                return probe.connect_ex(("127.0.0.1", port)) == 0

        wait_for(listens, what="aimock")
        return f"http://127.0.0.1:{port}/v1"

    yield start
    for child in started:
        child.terminate()
        child.wait(10)


@pytest.fixture
def asking(tmp_path):
    world = World(tmp_path, _Nobody())
    for name in ("CLOUDFLARE_BASE_URL", "CLOUDFLARE_ACCOUNT_ID", "CLOUDFLARE_API_TOKEN"):
        world.env.pop(name)
    world.env["KEY"] = "sk-other-server-0123"
    world.env["PYTHONPATH"] = str(ROOT)
    world.records([f"text {n}" for n in range(N)])
    return world


def endpoint(url):
    return {"kind": "openai", "base_url": url, "api_key_env": "KEY"}


def test_chats(asking, aimock):
    asking.spec(task="generate", model="gpt-4o", endpoint=endpoint(aimock()))
    assert asking.run()["records"]["done"] == N
    assert set(asking.table()["response"].to_pylist()) == {"A fixed answer."}


def test_embeddings(asking, aimock):
    asking.spec(model="text-embedding-3-small", endpoint=endpoint(aimock()), limits={"batch_size": 7})
    assert asking.run()["records"]["done"] == N
    rows = asking.table().to_pylist()
    assert len({tuple(row["embedding"]) for row in rows}) > 1
    assert len({len(row["embedding"]) for row in rows}) == 1


FAULTS = {
    "drop": "chaos_drop",
    "malformed": "unreadable_answer",
    "disconnect": "truncated",
    "rateLimit": "rate_limit_error",
}


def test_chaos(asking, aimock):
    """Every record ends in one place, and what we count is what the server counts: of requests, and of each fault."""
    rates = {"drop": "0.15", "malformed": "0.1", "disconnect": "0.1", "ratelimit": "0.03"}
    url = aimock("--metrics", *[word for name, rate in rates.items() for word in (f"--chaos-{name}", rate)])
    asking.spec(
        task="generate",
        model="gpt-4o",
        endpoint=endpoint(url),
        limits={"concurrency": 8},
        retry={"attempts": 8, "max_delay_seconds": 1, "abort_share": 1},
    )
    report = asking.run(code=None)
    asking.check_once([f"r{n:05}" for n in range(N)])
    assert report["records"]["pending"] == 0
    metrics = urllib.request.urlopen(url.removesuffix("/v1") + "/metrics", timeout=10).read().decode()
    asked = re.findall(r"^aimock_requests_total\{.*\} (\d+)$", metrics, re.MULTILINE)
    struck = re.findall(r'^aimock_chaos_triggered_total\{action="(\w+)".*\} (\d+)$', metrics, re.MULTILINE)
    assert report["requests"]["sent"] == sum(map(int, asked))
    assert report["codes"] == {FAULTS[action]: int(n) for action, n in struck}
    assert set(asking.table()["response"].to_pylist()) == {"A fixed answer."}
    failed = asking.table("failures")
    assert failed.num_rows <= N // 4
    assert set(failed["code"].to_pylist() if failed.num_rows else []) <= {"unreadable_answer"}
    assert report["neurons"]["spent"] == 0
    again = asking.run("job.yaml", "--retry-failed", code=None)
    assert again["records"]["done"] >= report["records"]["done"]
    asking.check_once([f"r{n:05}" for n in range(N)])

"""The whole street against a bare aiohttp loop, in turn, in one process run, on the same emulator.

Bare: 64 tasks, one session, json() of every answer, rows to one Parquet file at the end; no ledger, no limiter, no
retries, no checkpoint, no resume. Street: `run_job` with everything on. Prints rates and their ratio, CPU per row and
peak memory. The emulator runs in a process of its own; on two cores it is often the limit for both.

    python benchmarks/bench_street.py [rows]
"""

from __future__ import annotations

import asyncio
import json
import os
import resource
import shutil
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import aiohttp
import pyarrow as pa
import pyarrow.parquet as pq

from pipeline import parse_spec, run_job
from pipeline.emulator import EmulatorProcess
from pipeline.settings import load_settings

ACCOUNT = "0" * 32
MODELS = {"embed": "@cf/baai/bge-base-en-v1.5", "generate": "@cf/meta/llama-3.2-1b-instruct"}


def texts(n):
    return [f"Record number {index}: the quick brown fox jumps over {index % 97} lazy dogs." for index in range(n)]


def spec_of(task, folder):
    return f"""
task: {task}
model: "{MODELS[task]}"
input: {{path: {folder}/input.txt}}
params: {{{"max_tokens: 64" if task == "generate" else ""}}}
output: {{path: {folder}/out}}
limits: {{requests_per_minute: 1000000}}
budget: {{neurons_per_day: 1000000}}
"""


async def bare(task, url, items):
    """What people write first."""
    rows = []
    batches = [items[start : start + 100] for start in range(0, len(items), 100)] if task == "embed" else items
    queue = iter(batches)
    address = f"{url}/accounts/{ACCOUNT}/ai/run/{MODELS[task]}"

    async def worker(session):
        for batch in queue:
            body = (
                {"text": batch}
                if task == "embed"
                else {"messages": [{"role": "user", "content": batch}], "max_tokens": 64}
            )
            async with session.post(address, json=body) as response:
                result = (await response.json())["result"]
            rows.extend(result["data"] if task == "embed" else [result["response"]])

    headers = {"Authorization": "Bearer test-token-not-real"}
    connector = aiohttp.TCPConnector(limit=64)
    async with aiohttp.ClientSession(headers=headers, connector=connector) as session, asyncio.TaskGroup() as group:
        for _ in range(64):
            group.create_task(worker(session))
    with tempfile.TemporaryDirectory() as folder:
        pq.write_table(pa.table({"answer": rows}), f"{folder}/bare.parquet")


def street(task, url, items):
    with tempfile.TemporaryDirectory() as folder:
        Path(folder, "input.txt").write_text("\n".join(items))
        environment = {
            "CLOUDFLARE_ACCOUNT_ID": ACCOUNT,
            "CLOUDFLARE_API_TOKEN": "test-token-not-real",
            "CLOUDFLARE_BASE_URL": url,
            "WAI_STATE_DIR": f"{folder}/state",
        }
        settings = load_settings(environment, Path(folder), need_credentials=True)
        report = asyncio.run(run_job(parse_spec(spec_of(task, folder)), settings=settings))
        assert report.done == len(items), report.lines()
        shutil.rmtree(f"{folder}/out")


def measured(call):
    before = resource.getrusage(resource.RUSAGE_SELF)
    started = time.perf_counter()
    call()
    after = resource.getrusage(resource.RUSAGE_SELF)
    return time.perf_counter() - started, after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime


def main():
    n = int(sys.argv[1]) if len(sys.argv) > 1 else 5_000
    commit = subprocess.run(
        ["git", "rev-parse", "--short", "HEAD"], capture_output=True, text=True, check=False
    ).stdout.strip()
    print(json.dumps({"rows": n, "commit": commit, "cores": os.cpu_count(), "python": sys.version.split()[0]}))
    for task in ("generate", "embed"):
        items = texts(n)
        with EmulatorProcess("--no-rate-limit", "--answer-tokens", "8,24") as emulator:
            for _ in range(2):  # the first turn warms up both and the emulator
                loop = measured(lambda: asyncio.run(bare(task, emulator.url, items)))
                ours = measured(lambda: street(task, emulator.url, items))
        peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
        print(
            f"{task:9} bare {n / loop[0]:7,.0f} rows/s {loop[1] / n * 1e3:.3f} ms CPU/row | "
            f"street {n / ours[0]:7,.0f} rows/s {ours[1] / n * 1e3:.3f} ms CPU/row | "
            f"ratio {loop[0] / ours[0]:.2f} | peak RSS {peak:.0f} MB"
        )


if __name__ == "__main__":
    main()

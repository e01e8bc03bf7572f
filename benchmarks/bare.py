"""What people write first: 64 tasks, one session, `json`, all rows to one Parquet file at the end.

No ledger, no limiter, no retries, no checkpoint, no resume.
"""

from __future__ import annotations

import asyncio
import json
from pathlib import Path

import aiohttp
import pyarrow as pa
import pyarrow.parquet as pq

from benchmarks.client import ACCOUNT, TOKEN, main

TASKS = 64


async def fetch_all(task, items):
    size = task["batch"]
    batches = iter([items[start : start + size] for start in range(0, len(items), size)])
    address = f"{task['url']}/accounts/{ACCOUNT}/ai/run/{task['model']}"
    ids, rows = [], []

    async def worker(session):
        for batch in batches:
            if task["task"] == "embed":
                body = {"text": [item["text"] for item in batch]}
            else:
                body = {"messages": [{"role": "user", "content": batch[0]["text"]}], "max_tokens": 64}
            async with session.post(address, json=body) as response:
                response.raise_for_status()
                result = (await response.json())["result"]
            ids.extend(item["id"] for item in batch)
            rows.extend(result["data"] if task["task"] == "embed" else [result["response"]])

    headers = {"Authorization": f"Bearer {TOKEN}"}
    connector = aiohttp.TCPConnector(limit=TASKS)
    async with aiohttp.ClientSession(headers=headers, connector=connector) as session, asyncio.TaskGroup() as group:
        for _ in range(TASKS):
            group.create_task(worker(session))
    return ids, rows


def work(task):
    with Path(task["input"]).open() as file:
        items = [json.loads(line) for line in file]
    ids, rows = asyncio.run(fetch_all(task, items))
    assert len(rows) == task["rows"]
    kind = pa.list_(pa.float32()) if task["task"] == "embed" else pa.string()
    pq.write_table(pa.table({"id": ids, "answer": pa.array(rows, kind)}), "bare.parquet", compression="zstd")
    return {}


if __name__ == "__main__":
    main(work)

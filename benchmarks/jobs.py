"""Inputs and specs of the benchmarks, as people write them; only the pace is lifted."""

from __future__ import annotations

import contextlib
import json
import shutil
import tempfile
from pathlib import Path

CHAT = "@cf/meta/llama-3.2-1b-instruct"
BASE = "@cf/baai/bge-base-en-v1.5"  # 768 numbers
LARGE = "@cf/baai/bge-m3"  # 1,024 numbers
TINY = "@cf/benchmark/tiny"  # not in the catalogue: 8 numbers, so that what a record costs is not hidden by its vector
TINY_INFO = {"task": "text-embeddings", "input_per_m_tokens": 1000, "max_batch": 100, "dimensions": 8}
LIFTED = 1_000_000


@contextlib.contextmanager
def work_folder():
    folder = Path(tempfile.mkdtemp(prefix="wai-bench-"))
    try:
        yield folder
    finally:
        shutil.rmtree(folder, ignore_errors=True)


def write_texts(folder, rows):
    """Records of some 80 characters."""
    path = folder / "input.jsonl"
    with path.open("w") as file:
        for n in range(rows):
            text = f"Record number {n}: the quick brown fox jumps over {n % 97} lazy dogs."
            file.write(json.dumps({"id": f"doc-{n:08}", "text": text}) + "\n")
    return path


def write_tiny(folder, rows):
    path = folder / "input.jsonl"
    with path.open("w") as file:
        file.writelines(f'{{"id":"{n:08}","text":"t {n}"}}\n' for n in range(rows))
    return path


def write_spec(folder, *, task, model, concurrency=64, per_minute=LIFTED):
    """A spec in JSON, which is YAML."""
    spec = {
        "name": "job",
        "task": task,
        "model": model,
        "input": {"path": str(folder / "input.jsonl"), "id": "id", "text": "text"},
        "output": {"path": str(folder / "out")},
        "limits": {"concurrency": concurrency, "requests_per_minute": per_minute},
        "budget": {"neurons_per_day": 10_000_000},
        "params": {"max_tokens": 64} if task == "generate" else {},
    }
    if model == TINY:
        spec["model_info"] = TINY_INFO
    path = folder / "job.yaml"
    path.write_text(json.dumps(spec, indent=1))
    return path


def forget_run(folder):
    """Remove what a run left: output and ledger."""
    for name in ("out", "state"):
        shutil.rmtree(folder / name, ignore_errors=True)

"""Memory does not grow with the input (acceptance 7; promise P6)."""

import json
import os
import subprocess
import sys

import pytest

from tests.support.cli import WAI

MEGABYTE = 2**20
N = 60_000


@pytest.mark.slow
def test_peak_memory_of_a_long_run(world):
    """Tens of thousands of records go through in less than 300 MB."""
    with (world.folder / "data.jsonl").open("w") as file:
        file.writelines(f'{{"id": "{n}", "text": "record number {n}"}}\n' for n in range(N))
    world.spec(model="@cf/baai/bge-small-en-v1.5", checkpoint={"rows_per_part": 10_000})
    out = world.folder / "report.json"
    with out.open("wb") as report:
        child = subprocess.Popen(
            [*WAI, "run", "job.yaml", "--json", "-q"], env=world.env, cwd=world.folder, stdout=report
        )
        _, status, usage = os.wait4(child.pid, 0)
        child.returncode = os.waitstatus_to_exitcode(status)
    assert child.returncode == 0
    assert json.loads(out.read_bytes())["records"]["done"] == N
    peak = usage.ru_maxrss * 1024
    sys.stderr.write(f"peak {peak / MEGABYTE:.0f} MiB for {N:,} records\n")
    assert peak < 300 * MEGABYTE

"""Memory does not grow with the input (promise P6)."""

import json
import subprocess
import sys

import pytest

MEGABYTE = 10**6
N = 60_000
# What the process itself held at most. Not ru_maxrss, which a child inherits from the process that started it.
REPORTING_ITS_PEAK = """
import sys
from pipeline.cli import main
try:
    main()
finally:
    (peak,) = [line.split()[1] for line in open("/proc/self/status") if line.startswith("VmHWM")]
    sys.stderr.write(f"peak {peak}\\n")
"""


@pytest.mark.slow
@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="reads /proc")
def test_peak_memory_of_a_long_run(world):
    """Tens of thousands of records leave enough of 300 MB for a million, at 20 bytes each while it sends."""
    with (world.folder / "data.jsonl").open("w") as file:
        file.writelines(f'{{"id": "{n}", "text": "record number {n}"}}\n' for n in range(N))
    world.spec(model="@cf/baai/bge-small-en-v1.5", checkpoint={"rows_per_part": 10_000})
    ran = subprocess.run(
        [sys.executable, "-c", REPORTING_ITS_PEAK, "run", "job.yaml", "--json", "-q"],
        env=world.env,
        cwd=world.folder,
        capture_output=True,
        text=True,
        check=True,
    )
    assert json.loads(ran.stdout)["records"]["done"] == N
    peak = int(ran.stderr.split("peak ")[1].split()[0]) * 1024
    assert peak < 300 * MEGABYTE - 20 * (1_000_000 - N)

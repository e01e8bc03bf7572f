"""Memory does not grow with the input (promise P6)."""

import json
import subprocess
import sys
from pathlib import Path

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


def held(pid):
    """Resident memory of a process just now, in bytes; 0 once it is gone."""
    try:
        lines = Path(f"/proc/{pid}/status").read_text().splitlines()
    except OSError:
        return 0
    return next((int(line.split()[1]) * 1024 for line in lines if line.startswith("VmRSS")), 0)


@pytest.mark.torture
@pytest.mark.timeout(1_800)
@pytest.mark.parametrize("n", [200_000])
def test_memory_levels_off(world, figures, n):
    """Vectors of 1,024 numbers, 800 MB of them: after the first parts have been written, nothing is added any more."""
    with (world.folder / "data.jsonl").open("w") as file:
        file.writelines(f'{{"id": "{at}", "text": "record number {at}"}}\n' for at in range(n))
    world.spec(model="@cf/baai/bge-m3", checkpoint={"rows_per_part": 10_000})
    peaks = [0, 0, 0, 0]
    with world.start("run", "job.yaml", "--json", "-q", fresh=True) as running:

        def is_over():
            quarter = min(3, 4 * world.stats()["texts"] // n)
            peaks[quarter] = max(peaks[quarter], held(running.pid))
            return running.child.poll() is not None

        world.wait_for(is_over, what="the run", timeout=1_500)
        ran = running.ended()
    assert ran.json["records"]["done"] == n
    figures({"peaks_mb": [round(peak / MEGABYTE, 1) for peak in peaks]})
    assert max(peaks) < 400 * MEGABYTE
    assert max(peaks[2:]) < max(peaks[:2]) + 10 * MEGABYTE

"""`make demo-all`: run every job of this folder on the local emulator, one line each.

Nothing is sent to Cloudflare and nothing is written outside ./data and ./out. The emulator's rate limits are lifted, so
that the whole takes about a minute.
"""

from __future__ import annotations

import json
import os
import runpy
import subprocess
import sys
from pathlib import Path
from typing import Final

JOBS: Final = Path("jobs")
ENVIRONMENT: Final = {**os.environ, "WAI_STATE_DIR": str(Path("out/demo-state").resolve())}
FAST: Final = ("--set", "limits.requests_per_minute=100000", "--emulator-args=--no-rate-limit")
COMPLETED: Final = {0, 4}
"""All answered; or all ended, some as failures (the samples hold a broken document)."""


def run(spec: Path) -> tuple[int, str]:
    """Rehearse one job; return its exit code and what to say of it."""
    command = [sys.executable, "-m", "pipeline", "run", str(spec), "--rehearse", "--force-new", "--json", *FAST]
    ran = subprocess.run(command, env=ENVIRONMENT, check=False, capture_output=True, text=True)
    if ran.returncode not in COMPLETED:
        return ran.returncode, ran.stderr.strip()
    report = json.loads(ran.stdout)
    records, files = report["records"], len(list((Path(report["output"]) / "media").iterdir()))
    kept = f", {files} files in media/" if files else ""
    return 0, (
        f"{records['done']:>5} done {records['failed']:>2} failed  {report['requests']['sent']:>4} requests  "
        f"{report['neurons']['spent']:>9.2f} neurons  {report['seconds']:>5.1f} s  {report['output']}{kept}"
    )


def main() -> int:
    """Write the samples, run every job, and say how many did not end well."""
    for script in (JOBS / "corpus.py", *sorted(JOBS.glob("samples_*.py"))):
        runpy.run_path(str(script), run_name="__main__")
    failures = 0
    for spec in sorted(JOBS.glob("*.yaml")):
        code, said = run(spec)
        failures += code != 0
        sys.stdout.write(f"{spec.stem:<16} {said}\n" if not code else f"{spec.stem:<16} ended with {code}: {said}\n")
        sys.stdout.flush()
    return 1 if failures else 0


if __name__ == "__main__":
    sys.exit(main())

"""``python -m benchmarks [--long] [b1 a1 …]``: run all, or some, and print one table, then the same as Markdown."""

from __future__ import annotations

import argparse
import os
import platform
import subprocess
import sys
import time

from benchmarks import audio, pressure, size, speed
from benchmarks.server import ROOT
from benchmarks.table import HEAD, as_markdown, as_text

ALL = {
    "b1": speed.b1,
    "b2": speed.b2,
    "b3": speed.b3,
    "b4": size.b4,
    "b5": size.b5,
    "b6": pressure.b6,
    "b7": pressure.b7,
    "b8": pressure.b8,
    "b9": pressure.b9,
    "b10": speed.b10,
    "b11": size.b11,
    "a1": audio.a1,
}


def commit():
    told = subprocess.run(
        ["git", "rev-parse", "--short", "HEAD"], cwd=ROOT, capture_output=True, text=True, check=False
    )
    return told.stdout.strip() or "unknown"


def main():
    parser = argparse.ArgumentParser(prog="python -m benchmarks", description=__doc__)
    parser.add_argument("ids", nargs="*", metavar="ID", help=f"which ones: {' '.join(ALL)}; default: all")
    parser.add_argument("--long", action="store_true", help="also what takes minutes each")
    asked = parser.parse_args()
    if unknown := set(asked.ids) - set(ALL):
        parser.error(f"there is no {', '.join(sorted(unknown))}")
    figures = []
    for name in asked.ids or ALL:
        began = time.monotonic()
        print(f"{name}: {ALL[name].__doc__} …", file=sys.stderr, flush=True)
        try:
            for figure in ALL[name](asked.long):
                figures.append(figure)
                print("  " + "  ".join(figure.cells), file=sys.stderr, flush=True)
        except subprocess.SubprocessError as error:
            print(f"  {error}", file=sys.stderr)
        print(f"  {time.monotonic() - began:.0f} s", file=sys.stderr, flush=True)
    load = os.getloadavg()[0]
    print(as_text(figures) if figures else HEAD)
    print(
        f"\nCommit {commit()}, {os.cpu_count()} cores, load {load:.1f} at the end, "
        f"{platform.python_implementation()} {platform.python_version()}.\n"
    )
    print(as_markdown(figures))


if __name__ == "__main__":
    main()

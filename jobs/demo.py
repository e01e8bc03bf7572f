"""`make demo`: embed real text on the local emulator, and look at what comes out.

Every step is a command that you can type yourself; each is printed before it runs. Nothing is sent to Cloudflare and
nothing is written outside ./data and ./out.
"""

from __future__ import annotations

import os
import re
import shlex
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Final

import numpy as np
import numpy.typing as npt

SPEC: Final = "jobs/embed-corpus.yaml"
OUTPUT: Final = Path("out/embed-corpus.rehearsal")
ENVIRONMENT: Final = {**os.environ, "WAI_STATE_DIR": str(Path("out/demo-state").resolve())}
WAI: Final = [sys.executable, "-m", "pipeline"]
QUESTIONS: Final = (
    "How do I catch an exception and run clean-up code afterwards?",
    "What is the precedence of the arithmetic operators?",
    "formatting numbers with a width and a precision",
)


def say(text: str) -> None:
    """Print a heading."""
    sys.stdout.write(f"\n\033[1m{text}\033[0m\n" if sys.stdout.isatty() else f"\n{text}\n")
    sys.stdout.flush()


def wai(*arguments: str) -> None:
    """Show a command and run it."""
    say(f"$ wai {shlex.join(arguments)}")
    subprocess.run([*WAI, *arguments], env=ENVIRONMENT, check=True)


def words(text: str) -> set[str]:
    """The longer words of a text, for showing which of them a neighbour shares."""
    return set(re.findall(r"[a-z]{4,}", text.lower()))


def embed_questions() -> npt.NDArray[np.float32]:
    """Embed the questions with a second small job, as a search would."""
    from pipeline import read_results

    spec = Path("out/questions.yaml")
    items = "\n".join(f'    - "{question}"' for question in QUESTIONS)
    output = "output: {path: out/questions, include_input: true}"
    spec.write_text(f"task: embed\nname: questions\ninput:\n  items:\n{items}\n{output}\n")
    wai("run", str(spec), "--rehearse", "--force-new", "--quiet")
    frame = read_results("out/questions.rehearsal").set_index("input").loc[list(QUESTIONS)]
    return np.stack(frame["embedding"].to_list())


def main() -> None:
    """Run the steps."""
    for leftover in (OUTPUT, Path("out/questions.rehearsal"), Path("out/demo-state")):
        shutil.rmtree(leftover, ignore_errors=True)
    say("Real text: the topic pages that ship with Python, cut into passages")
    subprocess.run([sys.executable, "jobs/corpus.py"], check=True)
    wai("plan", SPEC, "--rehearse")
    wai("run", SPEC, "--rehearse", "--emulator-args", "--latency-ms 150,400")
    wai("status", SPEC, "--rehearse")
    wai("run", SPEC, "--rehearse")
    wai("budget")

    import pandas as pd

    say('>>> pandas.read_parquet("out/embed-corpus.rehearsal/results")')
    frame = pd.read_parquet(OUTPUT / "results")
    sys.stdout.write(
        f"{frame.drop(columns=['source', 'finished_at', 'attempts']).head(5).to_string(max_colwidth=34)}\n"
    )
    sys.stdout.write(
        f"[{len(frame):,} rows, ids unique: {frame['id'].is_unique}, vectors of {len(frame['embedding'][0])} numbers]\n"
    )

    say("A small search over it: the nearest passages to three questions (cosine)")
    questions = embed_questions()
    vectors = np.stack(frame["embedding"].to_list())
    for question, row in zip(QUESTIONS, questions @ vectors.T, strict=True):
        sys.stdout.write(f"\n  {question}\n")
        for position in np.argsort(-row)[:3]:
            found = frame.iloc[int(position)]
            shared = ", ".join(sorted(words(question) & words(str(found["input"]))))
            sys.stdout.write(f"    {row[position]:.2f}  {found['id']:<18} {str(found['input'])[:88]}…  [{shared}]\n")
    sys.stdout.write(
        "\nThe vectors are simulated (feature hashing of words), which is enough to show the way. "
        "For real ones:\n  export CLOUDFLARE_ACCOUNT_ID=… CLOUDFLARE_API_TOKEN=…\n"
        f"  .venv/bin/wai check && .venv/bin/wai run {SPEC}\n"
    )


if __name__ == "__main__":
    main()

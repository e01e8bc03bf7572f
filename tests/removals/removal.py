"""A mechanism taken out of a copy of the project, and the tests that say so."""

import os
import re
import shutil
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
COPIED = ("pipeline", "tests", "jobs", "pyproject.toml")
QUIET = ("-q", "-rfE", "--tb=short", "-p", "no:cacheprovider", "-p", "no:randomly", "--hypothesis-seed=0")
# What is said of a program that does not run any more, which is another thing than one that runs without a mechanism;
# and of a test that ended for want of time, which says nothing of either.
BROKEN = re.compile(
    r"\b(?:Syntax|Indentation|Import|ModuleNotFound|Name|UnboundLocal)Error\b|FailedHealthCheck|Failed: Timeout"
)

SUBJECTS = frozenset({"budget", "machine", "hostile", "breaker", "retry-failed", "explain"})
"""What docs/reliability.md tells without a number: the budget, faults of the machine, hostile answers and input; and
what stops a job that fails, sends again what failed, and tells of a record."""


@dataclass(frozen=True, kw_only=True)
class Removal:
    """A small change that takes one mechanism away; the program still runs.

    Attributes:
        name: What the program then does, or leaves undone.
        promise: What it breaks: a number of ARCHITECTURE.md, or one of `SUBJECTS`.
        path: The file, seen from the project.
        before: Text that stands there exactly once.
        after: What takes its place.
        tests: Ids of tests of which each must fail.
    """

    name: str
    promise: str
    path: str
    before: str
    after: str
    tests: tuple[str, ...]


@dataclass(frozen=True)
class Outcome:
    """How a run of tests ended.

    Attributes:
        code: Exit code of pytest.
        failed: Ids of tests that failed.
        errors: Ids of tests or files that could not be run.
        said: All of its output.
    """

    code: int
    failed: tuple[str, ...]
    errors: tuple[str, ...]
    said: str

    def has_failed(self, test):
        """Whether a test failed; one with parameters, with any of them."""
        return any(found == test or found.startswith(f"{test}[") for found in self.failed)


def copy_project(folder):
    """Copy what the tests need; compiled files too, which stay valid since times are kept."""
    for name in COPIED:
        source = ROOT / name
        if source.is_dir():
            shutil.copytree(source, folder / name)
        else:
            shutil.copy2(source, folder / name)
    return folder


def apply(removal, folder):
    """Take the mechanism away in a copy."""
    file = folder / removal.path
    text = file.read_text(encoding="utf-8")
    assert text.count(removal.before) == 1, f"{removal.path}: {text.count(removal.before)} times {removal.before!r}"
    file.write_text(text.replace(removal.before, removal.after), encoding="utf-8")


def run_tests(folder, *arguments, longest_s=280):
    """Run pytest in a copy. PYTHONPATH makes every interpreter that a test starts import the copy as well."""
    env = {name: value for name, value in os.environ.items() if not name.startswith(("PYTEST_", "WAI_"))}
    ran = subprocess.run(
        [sys.executable, "-m", "pytest", *QUIET, *arguments],
        cwd=folder,
        env={**env, "PYTHONPATH": str(folder)},
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        timeout=longest_s,
        check=False,
    )
    said = ran.stdout + ran.stderr
    return Outcome(ran.returncode, named("FAILED", said), named("ERROR", said), said)


def named(word, said):
    """Ids in the summary of pytest."""
    return tuple(re.findall(rf"^{word} (\S+?\.py(?:::.+?)?)(?= - |$)", said, re.MULTILINE))

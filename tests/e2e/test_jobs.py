"""The job specs that ship with the project plan and rehearse on the corpus that comes with them."""

import contextlib
import runpy
import shutil

import pytest

from tests.support.cli import ROOT

JOBS = sorted((ROOT / "jobs").glob("*.yaml"))


@pytest.fixture(scope="session")
def samples(tmp_path_factory):
    """The jobs folder and its samples, made once."""
    folder = tmp_path_factory.mktemp("samples")
    shutil.copytree(ROOT / "jobs", folder / "jobs", ignore=shutil.ignore_patterns("__pycache__"))
    with contextlib.chdir(folder):
        for script in ("corpus.py", *sorted(path.name for path in (ROOT / "jobs").glob("samples_*.py"))):
            runpy.run_path(f"jobs/{script}", run_name="__main__")
    return folder


@pytest.fixture
def with_corpus(world, samples):
    """The jobs folder and its samples, in a folder of the test's own."""
    shutil.copytree(samples, world.folder, dirs_exist_ok=True)
    return world


@pytest.mark.slow
@pytest.mark.parametrize("path", JOBS, ids=lambda path: path.stem)
def test_job(with_corpus, path):
    """A job plans, and a rehearsal of it completes within what was planned, with a row for every record."""
    spec = f"jobs/{path.name}"
    offline = {"CLOUDFLARE_ACCOUNT_ID": "", "CLOUDFLARE_API_TOKEN": "", "CLOUDFLARE_BASE_URL": ""}
    plan = with_corpus.wai("plan", spec, "--json", "--rehearse", env=offline).json
    assert plan["days"] == 1
    fast = ("--set", "limits.requests_per_minute=100000", "--emulator-args", "--no-rate-limit")
    report = with_corpus.run(spec, "--rehearse", *fast, env=offline)
    assert report["simulated"] is True
    assert report["records"]["done"] == plan["records"]["total"]
    assert report["neurons"]["spent"] <= plan["neurons"]["at_most"]
    assert len(with_corpus.ids(output=report["output"])) == plan["records"]["total"]
    assert with_corpus.requests == 0

"""Every program that a test starts is made of the files that lie beside the tests: of a copy, where that is tried.

`test_removals` runs these in a copy as well. An interpreter that imported another tree, such as the one that is
installed, would not see what was removed.
"""

import json
import re
import subprocess
import sys
from pathlib import Path

import pytest

import pipeline
import tests.support.cli
from tests.support.cli import World
from tests.support.crashing import Lives, Order
from tests.support.forkserver import fork_server, kept_env

ROOT = Path(__file__).resolve().parents[2]
PROBE = "import json, pipeline, pipeline.engine as e; print(json.dumps([pipeline.__file__, e.__file__]))"


class Nowhere:
    """Stands for an emulator that nobody asks."""

    url = "http://127.0.0.1:9"


def of_these_tests():
    return [pipeline.__file__, tests.support.cli.__file__]


def of_a_fork(folder):
    (folder / "probe.py").write_text(PROBE)
    streams = {"stdin": subprocess.DEVNULL, "stdout": subprocess.PIPE, "stderr": subprocess.PIPE}
    out, err = fork_server().start("probe", [], env=kept_env(), cwd=folder, **streams).communicate(timeout=30)
    assert not err
    return json.loads(out)


def of_an_interpreter(folder, env=None):
    return json.loads(
        subprocess.run([sys.executable, "-c", PROBE], cwd=folder, env=env, capture_output=True, check=True).stdout
    )


def of_a_life(folder):
    """By the traceback of one whose `--set` is no text: the server of lives says which files it came through."""
    (folder / "job.yaml").write_text("task: embed\ninput: {items: [a]}\n")
    server = Lives()
    try:
        with pytest.raises(AssertionError) as told:
            server.live(Order(cwd=str(folder), env=kept_env(), spec="job.yaml", overrides=[1]))
    finally:
        server.close()
    return re.findall(r'File "([^"]+/pipeline/[^"]+)"', str(told.value))


WAYS = {
    "these tests": lambda _: of_these_tests(),
    "a fork": of_a_fork,
    "an interpreter": of_an_interpreter,
    "an interpreter of a world": lambda folder: of_an_interpreter(folder, World(folder, Nowhere()).env),
    "a life": of_a_life,
}


@pytest.mark.parametrize("way", WAYS)
def test_it_is_made_of_the_files_beside_the_tests(tmp_path, way):
    """However it was started, and in whatever folder."""
    files = WAYS[way](tmp_path)
    assert files
    assert [file for file in files if not Path(file).is_relative_to(ROOT)] == []

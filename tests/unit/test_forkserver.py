"""A process of the fork server is what a fresh one would be: tests through the command line rely on it."""

import signal
import subprocess
import sys
from pathlib import Path

import pytest

from tests.support.cli import wait_for
from tests.support.forkserver import ROOT, fork_server, kept_env

PROGRAMS = {
    "probe": """
import json, os, signal, sys
print(json.dumps({
    "argv": sys.argv, "name": __name__, "cwd": os.getcwd(), "path": sys.path[0], "env": dict(os.environ),
    "streams": [(s.encoding, s.errors, s.line_buffering, s.isatty()) for s in (sys.stdin, sys.stdout, sys.stderr)],
    "open": [n for n in range(64) if os.path.exists(f"/proc/self/fd/{n}")],
    "signals": {n: str(signal.getsignal(n)) for n in range(1, 32)},
    "woken by": signal.set_wakeup_fd(-1),
    "fed": len(sys.stdin.read()),
}))
print("said", file=sys.stderr)
sys.exit(int(os.environ["CODE"]))
""",
    "raises": "import atexit; atexit.register(print, 'the end'); raise ValueError('so it goes')",
    "ends": "import sys; sys.exit('so it goes')",
    "talks": """
import atexit, threading, time
atexit.register(print, "at exit")
threading.Thread(target=lambda: (time.sleep(0.05), print("in a thread"))).start()
""",
    "sleeps": "import time; print('here', flush=True); time.sleep(60)",
    "floods": "import os; print(os.environ['WORDS'] * 100_000)",
}


@pytest.fixture
def folder(tmp_path):
    """A folder with programs to start as modules."""
    for name, text in PROGRAMS.items():
        (tmp_path / f"{name}.py").write_text(text)
    return tmp_path


def forked(folder, module, *arguments, feed="", **env):
    it = fork_server().start(module, arguments, env={**kept_env(), **env}, cwd=folder, stdin=subprocess.PIPE)
    out, err = it.communicate(feed, timeout=30)
    return it.returncode, out, err


def fresh(folder, module, *arguments, feed="", **env):
    command = [sys.executable, "-m", module, *arguments]
    env = {**kept_env(), **env}
    it = subprocess.run(command, input=feed, env=env, cwd=folder, capture_output=True, text=True, check=False)
    return it.returncode, it.stdout, it.stderr


@pytest.mark.parametrize(
    ("module", "env"),
    [("probe", {"CODE": "3"}), ("probe", {"CODE": "0", "SECRET": "é\udce9"}), ("ends", {}), ("talks", {})],
)
def test_it_finds_itself_where_a_fresh_one_would(folder, module, env):
    """Arguments, folder, environment, streams, descriptors, signals, exit code, threads and what runs at the end."""
    told = [start(folder, module, "one", "--two", feed="fed " * 50_000, **env) for start in (forked, fresh)]
    assert told[0] == told[1]


def test_what_is_raised_is_told(folder):
    """A traceback on stderr and exit code 1, as from any program; the end is reached all the same."""
    code, out, err = forked(folder, "raises")
    assert (code, out) == (1, "the end\n")
    assert err.startswith("Traceback")
    assert err.endswith("ValueError: so it goes\n")


def test_it_can_be_signalled(folder):
    """It has a pid that is its own, and ends by the signal it is sent."""
    for number in (signal.SIGKILL, signal.SIGTERM):
        it = fork_server().start("sleeps", [], env=kept_env(), cwd=folder)
        assert it.stdout.read(5) == b"here\n"
        assert it.poll() is None
        with pytest.raises(subprocess.TimeoutExpired):
            it.wait(0)
        it.send_signal(number)
        assert it.wait(10) == it.poll() == -number
        assert not Path(f"/proc/{it.pid}").exists()
        it.kill()  # as for any process that has ended: nothing happens
        it.communicate()


def test_nobody_reads_what_it_says(folder):
    """A reader that goes away is an error of the program's, as in a fresh interpreter."""
    how = {
        "env": {**kept_env(), "WORDS": "so it goes "},
        "cwd": folder,
        "stdout": subprocess.PIPE,
        "stderr": subprocess.DEVNULL,
    }
    codes = []
    for it in (fork_server().start("floods", [], **how), subprocess.Popen([sys.executable, "-m", "floods"], **how)):
        it.stdout.close()
        codes.append(it.wait(10))
    assert codes[0] == codes[1] != 0


def test_what_only_a_fresh_interpreter_takes_in_is_not_served():
    """Whatever is settled while an interpreter starts must be as it was when the server did."""
    server = fork_server()
    assert server.serves({**server.env, "HOME": "/", "CLOUDFLARE_BASE_URL": "http://127.0.0.1"})
    for name in ("PYTHONPATH", "PYTHONHASHSEED", "LD_PRELOAD", "TZ", "LC_ALL"):
        assert not server.serves({**server.env, name: "another"})
    assert not server.serves(
        {name: value for name, value in server.env.items() if name != "PYTHONPATH"} | {"PYTHONPATH": ""}
    )


def test_it_ends_with_the_tests(folder):
    """When the process of tests is killed, the server ends and takes what it started with it."""
    code = (
        "import sys, time\n"
        "from tests.support.forkserver import fork_server, kept_env\n"
        f"it = fork_server().start('sleeps', [], env=kept_env(), cwd={str(folder)!r})\n"
        "print(fork_server()._child.pid, it.pid, flush=True)\n"
        "time.sleep(60)\n"
    )
    with subprocess.Popen([sys.executable, "-c", code], cwd=ROOT, stdout=subprocess.PIPE) as tests:
        pids = [int(pid) for pid in tests.stdout.readline().split()]
        assert all(Path(f"/proc/{pid}").exists() for pid in pids)
        tests.kill()
    wait_for(lambda: not any(is_running(pid) for pid in pids), what="both to end", timeout=10)


def is_running(pid):
    """Whether a process is there and is more than an entry that nobody has asked about."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rsplit(")", 1)[1].split()[0] != "Z"
    except OSError:
        return False

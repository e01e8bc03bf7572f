"""Starts of this project's programs that do not import everything again: a warmed-up process that forks.

A fresh interpreter takes 0.6 to 1 s of CPU until a run begins, nearly all of it imports; a fork takes 20 ms. What comes
of `ForkServer.start` is a process of its own as after ``python -m MODULE``: pid, signals, exit code, environment,
working folder and streams are real. Not so, and nothing to be tested with it: what an interpreter settles while it
starts (`SETTLED_AT_START`, the seed of hashes), what is imported by then, how modules are taken apart at the end, and
the command line that /proc shows.

The server (``python -m tests.support.forkserver FD``) has one thread and one socket. It ends when that closes, as it
does with the process of tests even when that is killed, and takes all that it has started with it.
"""

import atexit
import contextlib
import gc
import importlib
import json
import os
import pkgutil
import runpy
import select
import selectors
import signal
import socket
import subprocess
import sys
import threading
import time
from functools import cache
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
# Libraries that would start a thread when they are imported: numpy's arithmetic, and the allocator of pyarrow.
ONE_THREAD = {"OPENBLAS_NUM_THREADS": "1", "OMP_NUM_THREADS": "1", "JE_ARROW_MALLOC_CONF": "background_thread:false"}
KEPT_ENV = ("PATH", "LANG", "LC_ALL", "TMPDIR", "VIRTUAL_ENV", "PYTHONPATH")
SETTLED_AT_START = ("PYTHON", "LD_", "LC_", "LANG", "TZ", "MALLOC_", "GLIBC_", "ARROW_")
"""Beginnings of the names of variables that are read once, by interpreter, loader or libraries."""
_HEAD = 8
_STOP_S = 10.0


class Forked:
    """A process that was forked for us. Has of `subprocess.Popen` what tests use."""

    def __init__(self, status, stdin, stdout, stderr):
        self._status = status
        self.returncode = None
        self.stdin, self.stdout, self.stderr = stdin, stdout, stderr
        self.pid = int(self._told(None))

    def _told(self, timeout):
        """What the server says next of this process; None while it says nothing."""
        if not select.select([self._status], [], [], timeout)[0]:
            return None
        words = self._status.recv(_HEAD)
        assert words, "the fork server has ended"
        return words

    def wait(self, timeout=None):
        if self.returncode is None:
            words = self._told(timeout)
            if words is None:
                raise subprocess.TimeoutExpired(f"process {self.pid}", timeout)
            self.returncode = int(words)
            self._status.close()
        return self.returncode

    def poll(self):
        with contextlib.suppress(subprocess.TimeoutExpired):
            self.wait(0)
        return self.returncode

    def send_signal(self, number):
        if self.poll() is None:
            with contextlib.suppress(ProcessLookupError):
                os.kill(self.pid, number)

    def terminate(self):
        self.send_signal(signal.SIGTERM)

    def kill(self):
        self.send_signal(signal.SIGKILL)

    def communicate(self, feed=None, timeout=None):
        """Feed stdin, gather stdout and stderr as text until both have ended, and wait. May be called again."""
        deadline = None if timeout is None else time.monotonic() + timeout
        said = {self.stdout: b"", self.stderr: b""}
        feed = memoryview((feed or "").encode())
        with selectors.DefaultSelector() as streams:
            for stream in (self.stdout, self.stderr):
                if stream and not stream.closed:
                    streams.register(stream, selectors.EVENT_READ)
            if self.stdin and not self.stdin.closed:
                streams.register(self.stdin, selectors.EVENT_WRITE)
            while streams.get_map():
                left = None if deadline is None else deadline - time.monotonic()
                ready = streams.select(left)
                if not ready:
                    raise subprocess.TimeoutExpired(f"process {self.pid}", timeout)
                for key, _ in ready:
                    if key.fileobj is self.stdin:
                        feed = self._fed(feed)
                        is_over = not feed
                    else:
                        chunk = os.read(key.fd, 65_536)
                        said[key.fileobj] += chunk
                        is_over = not chunk
                    if is_over:
                        streams.unregister(key.fileobj)
                        key.fileobj.close()
        self.wait(None if deadline is None else max(0.0, deadline - time.monotonic()))
        return said[self.stdout].decode(), said[self.stderr].decode()

    def _fed(self, feed):
        """What is left to be written to stdin."""
        try:
            return feed[os.write(self.stdin.fileno(), feed[: select.PIPE_BUF]) :]
        except BrokenPipeError:
            return feed[:0]


class ForkServer:
    """The server, seen from a test.

    Attributes:
        env: The environment its interpreter was started in.
    """

    def __init__(self, env):
        self.env = env
        self._socket, theirs = socket.socketpair()
        with theirs:
            self._child = subprocess.Popen(
                [sys.executable, "-m", "tests.support.forkserver", str(theirs.fileno())],
                cwd=ROOT,
                env={**env, **ONE_THREAD},
                stdin=subprocess.DEVNULL,
                stdout=subprocess.DEVNULL,
                pass_fds=[theirs.fileno()],
                start_new_session=True,  # Ctrl-C on the terminal is for the tests, which end it by closing the socket
            )

    def serves(self, env):
        """Whether a process in this environment may be forked: nothing of it had to be known any earlier."""
        return all(
            env.get(name) == self.env.get(name)
            for name in env.keys() | self.env.keys()
            if name.startswith(SETTLED_AT_START)
        )

    def start(self, module, arguments, *, env, cwd, stdin=None, stdout=subprocess.PIPE, stderr=subprocess.PIPE):
        """Start ``python -m MODULE ARGUMENTS``; streams are as for `subprocess.Popen`, pipes in bytes."""
        order = {"module": module, "arguments": arguments, "env": env, "cwd": str(cwd)}
        payload = json.dumps(order).encode()
        ours, theirs = socket.socketpair(type=socket.SOCK_SEQPACKET)
        with contextlib.ExitStack() as given:
            given.enter_context(theirs)
            ends = [_ends(number, stream, given) for number, stream in enumerate((stdin, stdout, stderr))]
            socket.send_fds(self._socket, [b"%*d" % (_HEAD, len(payload))], [theirs.fileno(), *(fd for fd, _ in ends)])
            self._socket.sendall(payload)
        return Forked(ours, *(pipe for _, pipe in ends))

    def close(self):
        """End the server and all it has started."""
        self._socket.close()
        self._child.wait(_STOP_S)


def _ends(number, stream, given):
    """The descriptor that a child gets as its standard stream, and our end where that is a pipe."""
    if stream is None:
        return number, None
    if stream == subprocess.DEVNULL:
        return given.enter_context(Path(os.devnull).open("r+b")).fileno(), None
    if stream != subprocess.PIPE:
        return stream if isinstance(stream, int) else stream.fileno(), None
    reading, writing = os.pipe()
    theirs, ours = (reading, writing) if number == 0 else (writing, reading)
    given.callback(os.close, theirs)
    return theirs, os.fdopen(ours, "wb" if number == 0 else "rb", buffering=0)


@cache
def fork_server():
    """The server of this process of tests, started when it is first needed."""
    server = ForkServer(kept_env())
    atexit.register(server.close)
    return server


def kept_env():
    """What the programs get of the environment of the tests."""
    return {name: os.environ[name] for name in KEPT_ENV if name in os.environ}


# -- in the server --------------------------------------------------------------------------------------------------


def warm_up():
    """Import what the commands import, as they do: without pandas."""
    from pipeline.cli.memory import forgo_pandas

    forgo_pandas()
    import pyarrow.parquet  # noqa: F401

    import pipeline

    for found in pkgutil.walk_packages(pipeline.__path__, "pipeline."):
        if not found.name.endswith(("__main__", ".results")):
            importlib.import_module(found.name)
    gc.collect()
    gc.freeze()


def serve(control):
    """Fork on request. Returns an order in a child only; the server exits when the socket closes."""
    woken, waking = socket.socketpair()
    woken.setblocking(False)
    waking.setblocking(False)
    signal.signal(signal.SIGCHLD, lambda *_: None)
    signal.set_wakeup_fd(waking.fileno())
    living = {}
    while True:
        ready = select.select([control, woken], [], [])[0]
        if woken in ready:
            woken.recv(4096)
            bury(living)
        if control in ready:
            order, descriptors = received(control)
            if order is None:
                for pid in living:
                    os.kill(pid, signal.SIGKILL)
                sys.exit()
            status, streams = socket.socket(fileno=descriptors[0]), descriptors[1:]
            assert len(list(Path("/proc/self/task").iterdir())) == 1, "a process with threads cannot be forked safely"
            pid = os.fork()
            if pid == 0:
                for each in (control, woken, waking, status, *living.values()):
                    each.close()
                be_born(order, streams)
                return order
            for each in streams:
                os.close(each)
            status.send(b"%d" % pid)
            living[pid] = status


def bury(living):
    """Tell of each child that has ended how it did."""
    for pid in list(living):
        ended, how = os.waitpid(pid, os.WNOHANG)
        if ended:
            with living.pop(pid) as status, contextlib.suppress(BrokenPipeError):
                status.send(b"%d" % os.waitstatus_to_exitcode(how))


def received(control):
    """The next order and the descriptors that came with it; None at the end."""
    head, descriptors, _, _ = socket.recv_fds(control, _HEAD, 4)
    if not head:
        return None, []
    payload = b""
    while len(payload) < int(head):
        payload += control.recv(int(head) - len(payload))
    return json.loads(payload), descriptors


def be_born(order, streams):
    """Make the child what a fresh process would be."""
    signal.set_wakeup_fd(-1)
    signal.signal(signal.SIGCHLD, signal.SIG_DFL)
    for number, stream in enumerate(streams):
        os.dup2(stream, number)
        os.close(stream)
    os.chdir(order["cwd"])
    sys.path[0] = order["cwd"]
    os.environ.clear()
    os.environ.update(order["env"])
    for number, name in enumerate(("stdin", "stdout", "stderr")):
        old = getattr(sys, name)
        new = os.fdopen(number, "w" if number else "r", encoding=old.encoding, errors=old.errors, closefd=False)
        new.reconfigure(line_buffering=number == 2 or new.isatty())
        setattr(sys, name, new)
        setattr(sys, f"__{name}__", new)


def main():
    """Serve; in a child, be the program that was ordered, to its end."""
    control = socket.socket(fileno=int(sys.argv[1]))
    warm_up()
    order = serve(control)
    sys.argv[1:] = order["arguments"]
    code = 0
    try:
        runpy.run_module(order["module"], run_name="__main__", alter_sys=True)
    except SystemExit as ended:
        code = ended.code or 0
        if not isinstance(code, int):
            raise
    leave(code)
    sys.exit(code)


def leave(code):
    """End as an interpreter does, but without taking modules apart, which takes 60 ms; returns where it cannot."""
    threading._shutdown()
    atexit._run_exitfuncs()
    with contextlib.suppress(OSError, ValueError):  # nobody reads what is said: the interpreter knows what to do
        sys.stdout.flush()
        sys.stderr.flush()
        os._exit(code)


if __name__ == "__main__":
    main()

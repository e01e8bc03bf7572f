"""The token is never printed, logged, stored, or sent to anybody else (promise P10)."""

import socket

import pytest

from tests.support.cli import sentences

TOKEN = "zq7Xv-VerySecretToken_0123456789-kP4w"


@pytest.fixture
def secret(world):
    """A world whose token would be recognised anywhere, in the environment and in .env."""
    world.env["CLOUDFLARE_API_TOKEN"] = TOKEN
    (world.folder / ".env").write_text(f"CLOUDFLARE_API_TOKEN={TOKEN}\n")
    (world.folder / ".env").chmod(0o600)
    world.records(sentences()[:60])
    world.spec(limits={"batch_size": 20}, retry={"attempts": 1, "max_delay_seconds": 1})
    return world


def check_nowhere(world, *ran):
    """No output and no file but .env holds the token."""
    for each in ran:
        assert TOKEN not in each.said
    files = [path for path in world.folder.rglob("*") if path.is_file() and path.name != ".env"]
    assert [path for path in files if TOKEN.encode() in path.read_bytes()] == []
    return files


@pytest.mark.slow
def test_after_a_run(secret):
    """After a run with faults neither its output nor any file it left holds the token; nor do the other commands."""
    secret.faults(
        {"fault": "3043", "share": 0.3}, {"fault": "reset", "share": 0.2}, {"fault": "garbage_json", "share": 0.2}
    )
    ran = [secret.wai("run", "job.yaml", code=None), secret.wai("run", "job.yaml", "--retry-failed", code=None)]
    secret.emulator.set_faults([])
    ran += [
        secret.wai(*arguments, code=None)
        for arguments in (
            ("run", "job.yaml", "--retry-failed"),
            ("check", "job.yaml", "--json"),
            ("plan", "job.yaml"),
            ("status", "job.yaml"),
            ("budget",),
            ("run", "--help"),
        )
    ]
    files = check_nowhere(secret, *ran)
    assert {"ledger.sqlite3", "manifest.json"} <= {path.name for path in files}


@pytest.mark.parametrize("fault", ["10000", "9106", "redirect", "html502", "hang"])
def test_in_errors(secret, fault):
    """When the service refuses or fails, what is said does not hold the token."""
    secret.faults({"fault": fault})
    arguments = ("--json", "--limit", 1, "--set", "limits.request_timeout_seconds=1", "--set", "retry.abort_share=0.1")
    check_nowhere(secret, secret.wai("run", "job.yaml", *arguments, code=None))


def test_when_nobody_listens(secret):
    """When no connection can be made, what is said does not hold the token."""
    with socket.socket() as closed:
        closed.bind(("127.0.0.1", 0))
        secret.env["CLOUDFLARE_BASE_URL"] = f"http://127.0.0.1:{closed.getsockname()[1]}/client/v4"
        ran = [secret.wai("run", "job.yaml", code=3), secret.wai("check", code=12)]
    check_nowhere(secret, *ran)


def test_in_a_crash(secret):
    """Not even a crash with a traceback, as a defect of ours would give, shows the token."""
    (secret.folder / "sitecustomize.py").write_text(
        "import pipeline.engine\n"
        "def broken(self, *args, **kwargs):\n"
        "    raise ZeroDivisionError(repr(self._p.endpoint) + repr(vars(self._p.endpoint)))\n"
        "pipeline.engine.Engine._answered = broken\n"
    )
    with secret.start("run", "job.yaml", env={"PYTHONPATH": str(secret.folder)}) as running:
        ran = running.ended()
    assert ran.code == 1
    assert "ZeroDivisionError" in ran.err
    check_nowhere(secret, ran)


def test_plain_http(secret):
    """An address with plain http to another machine is refused before anything is sent."""
    ran = secret.wai("run", "job.yaml", env={"CLOUDFLARE_BASE_URL": "http://192.0.2.1/client/v4"}, code=2)
    assert "https" in ran.err
    check_nowhere(secret, ran)


def test_from_the_file_alone(secret):
    """The token may come from .env, which others must not be able to read; the warning does not show it."""
    secret.env["CLOUDFLARE_API_TOKEN"] = ""
    (secret.folder / ".env").chmod(0o644)
    ran = secret.wai("check")
    assert "chmod 600" in ran.out
    check_nowhere(secret, ran)
    assert secret.run()["records"]["done"] == 60
    check_nowhere(secret)

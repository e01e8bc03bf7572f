"""The token is never printed, logged, stored, or sent to anybody else (promise P10)."""

import json
import socket
from pathlib import Path

import pytest
from aiohttp import web

from pipeline.client import HttpClient
from pipeline.clock import SystemClock
from pipeline.resolve import resolve
from pipeline.settings import load_settings
from pipeline.spec import load_spec
from tests.support.cli import ROOT, sentences
from tests.support.servers import wild
from tests.support.sounds import recordings
from tests.support.workers import stranger

TOKEN = "zq7Xv-VerySecretToken_0123456789-kP4w"


@pytest.fixture
def secret(world):
    """A world whose token would be recognised anywhere, in the environment and in .env."""
    world.env["CLOUDFLARE_API_TOKEN"] = TOKEN
    (world.folder / ".env").write_text(f"CLOUDFLARE_API_TOKEN={TOKEN}\n")
    (world.folder / ".env").chmod(0o600)
    world.records(sentences()[:60])
    world.spec(limits={"batch_size": 20}, retry={"attempts": 1, "max_delay_seconds": 0.1})
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
        ran = [secret.wai("run", "job.yaml", code=3), secret.wai("check", code=1)]
    check_nowhere(secret, *ran)


def test_in_a_crash(secret):
    """Not even a crash with a traceback, as a defect of ours would give, shows the token."""
    (secret.folder / "sitecustomize.py").write_text(
        "import pipeline.engine\n"
        "def broken(self, *args, **kwargs):\n"
        "    endpoint = self._p.lanes[0].endpoint\n"
        "    raise ZeroDivisionError(repr(self._p.lanes) + repr(endpoint) + repr(endpoint.client.__dict__))\n"
        "pipeline.engine.Engine._send = broken\n"
    )
    with secret.start("run", "job.yaml", env={"PYTHONPATH": f"{secret.folder}:{ROOT}"}) as running:
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


# -- a server that gives it back ---------------------------------------------------------------------------------


def echoed(status, make, **how):
    """An answer made of the Authorization header of the request."""

    def answer(wire):
        (sent,) = [line for line in wire.head.decode().splitlines() if line.lower().startswith("authorization: ")]
        token = sent.split(" ", 1)[1]
        assert TOKEN in token or not wire.body
        headers = f"x-echo: {token}\r\nretry-after: {token}\r\ncf-ai-neurons: {token}\r\nconnection: close\r\n"
        wire.reply(make(token, wire).encode(), status=status, headers=headers, **{k: v(token) for k, v in how.items()})

    return answer


def refusal(token, _):
    return json.dumps({"success": False, "errors": [{"code": 5006, "message": f"AiError: bad header {token}"}]})


def wrapped(token, wire):
    return json.dumps({"success": False, "errors": [{"code": 8002, "message": refusal(token, wire)}]})


def page(token, _):
    return f"<html>You sent: {token}</html>"


def reply(token, _):
    return json.dumps({"success": True, "result": {"response": f"I saw {token}", "usage": {"neurons": 1}}})


def not_the_schema(token, _):
    return json.dumps({"success": True, "result": {"response": {"answer": token}}})


ECHOES = {
    "refused": (echoed("400 X", refusal), 4),
    "refused, wrapped": (echoed("400 X", wrapped), 4),
    "a page": (echoed("400 X", page, kind="text/html; {}".format), 4),
    "the token as content type": (echoed("400 X", page, kind=str), 4),
    "server fault": (echoed("500 X", refusal), 4),
    "page of a fault": (echoed("502 X", page), 4),
    "not allowed": (echoed("401 X", page), 12),
    "not found": (echoed("404 X", page), 12),
    "moved": (echoed("302 X", page), 12),
    "not JSON": (echoed("200 OK", page), 4),
    "reason": (lambda wire: wire.reply(b"", status=f"500 {wire.head.decode().replace(chr(10), ' ')[:300]}"), 4),
    "an answer": (echoed("200 OK", reply), 0),
    "an answer of another form": (echoed("200 OK", not_the_schema), 4),
}


@pytest.mark.parametrize("how", ECHOES)
def test_when_the_server_echoes_it(secret, how):
    """What a server gives back of a request gets neither into rows and logs nor onto the terminal."""
    answer, code = ECHOES[how]
    schema = {"type": "object", "properties": {"answer": {"type": "integer"}}}
    params = {"json_schema": schema} if how == "an answer of another form" else {}
    secret.spec(task="generate", params=params, retry={"attempts": 1, "max_delay_seconds": 0.1, "abort_share": 1})
    with wild(secret.emulator, lambda wire: answer(wire) is not None) as url:
        secret.env["CLOUDFLARE_BASE_URL"] = url
        ran = [secret.wai("run", "job.yaml", "--limit", 3, code=code)]
        ran += [secret.wai("status", "job.yaml"), secret.wai("check", code=None)]
    check_nowhere(secret, *ran)
    if how == "refused":
        assert {row["message"] for row in secret.table("failures").to_pylist()} == {"bad header Bearer ***"}
    if how == "an answer":
        assert {row["response"] for row in secret.table().to_pylist()} == {"I saw Bearer ***"}


# -- other places where it might be seen -------------------------------------------------------------------------


@pytest.mark.parametrize("fault", [None, "10000", "reset"])
def test_in_development_mode(secret, fault):
    """Asyncio's debug mode and Python's development mode say more, but not that."""
    secret.faults(*([{"fault": fault}] if fault else []))
    env = {"PYTHONDEVMODE": "1", "PYTHONASYNCIODEBUG": "1"}
    ran = secret.wai("run", "job.yaml", env=env, code=None)
    assert ran.code == {None: 0, "10000": 12, "reset": 3}[fault]
    check_nowhere(secret, ran)


@pytest.mark.parametrize("fault", [None, "10000", "reset", "html502"])
def test_with_every_library_telling_all_it_does(secret, fault):
    """This program has no log of its own to turn up; those of the libraries below it do not hold the token either."""
    (secret.folder / "sitecustomize.py").write_text("import logging\nlogging.basicConfig(level=1)\n")
    secret.faults(*([{"fault": fault}] if fault else []))
    env = {"PYTHONPATH": f"{secret.folder}:{ROOT}", "PYTHONASYNCIODEBUG": "1"}
    ran = secret.wai("run", "job.yaml", env=env, code=None)
    assert "DEBUG:asyncio:" in ran.err
    check_nowhere(secret, ran)


@pytest.mark.skipif(not Path("/proc/self/environ").exists(), reason="reads /proc")
def test_in_the_process_list(secret):
    """No command line holds the token, and a rehearsal's emulator does not inherit it."""
    secret.spec(limits={"batch_size": 1, "concurrency": 1})
    arguments = ("run", "job.yaml", "--rehearse", "--emulator-args", "--latency-ms 200")
    with secret.start(*arguments, fresh=True) as running:
        children = []

        def emulators():
            found = Path(f"/proc/{running.pid}/task/{running.pid}/children").read_text().split()
            tasks = Path(f"/proc/{running.pid}/task").iterdir()
            found += [child for task in tasks for child in (task / "children").read_text().split()]
            children[:] = [Path(f"/proc/{child}") for child in found]
            return any(b"pipeline.emulator" in (child / "cmdline").read_bytes() for child in children)

        secret.wait_for(emulators, what="the emulator")
        own = Path(f"/proc/{running.pid}")
        assert TOKEN.encode() in (own / "environ").read_bytes()
        for process in (own, *children):
            assert TOKEN.encode() not in (process / "cmdline").read_bytes()
        for child in children:
            assert TOKEN.encode() not in (child / "environ").read_bytes()
        running.send(2)
        ran = running.ended()
    check_nowhere(secret, ran)


def test_in_what_objects_say_of_themselves(secret):
    """Neither settings, job nor client show it."""
    settings = load_settings({**secret.env, "CLOUDFLARE_API_TOKEN": TOKEN}, secret.folder, need_credentials=True)
    assert settings.api_token.reveal() == TOKEN
    job = resolve(load_spec(secret.folder / "job.yaml"), settings)
    client = HttpClient(token=settings.api_token, concurrency=1, timeout_s=1.0, clock=SystemClock())
    said = [f"{thing!r} {thing!s} {thing:}" for thing in (settings, settings.api_token, job, client)]
    said.append(repr(vars(client)))
    assert [text for text in said if TOKEN in text] == []


@pytest.mark.parametrize(
    "token", [f"{TOKEN}\n", f"{TOKEN}\r\nx-more: 1", f"{TOKEN}\u00e9", f"{TOKEN}\u20ac", f"{TOKEN} x"]
)
def test_a_token_that_is_none(secret, token):
    """A line break or a sign that no token has is named, with the variable, without showing any of it."""
    secret.env["CLOUDFLARE_API_TOKEN"] = token
    ran = secret.wai("run", "job.yaml", code=2)
    assert ran.err.startswith("CLOUDFLARE_API_TOKEN: ")
    assert len(ran.err.splitlines()) == 1
    assert "x-more" not in ran.err
    check_nowhere(secret, ran)


def test_the_warning_comes_once(secret):
    """A .env that others can read is told once a run."""
    secret.env["CLOUDFLARE_API_TOKEN"] = ""
    (secret.folder / ".env").chmod(0o644)
    ran = secret.wai("run", "job.yaml")
    assert ran.said.count("chmod 600") == 1
    check_nowhere(secret, ran)


# -- keys of other servers ---------------------------------------------------------------------------------------

OTHER = {
    "openai": {"task": "generate", "model": "m", "path": "/v1"},
    "deeplx": {"task": "translate", "params": {"source_lang": "en", "target_lang": "de"}},
    "whisper-worker": {"task": "transcribe", "input": {"path": "sound"}},
    "image-worker": {"task": "image", "model": "m"},
}


def echoing(status):
    """Give address and headers back as an answer of every form at once, under any status."""

    def answer(asked, _):
        said = f"{asked.path} {asked.headers}"
        body = {"error": {"message": said, "code": said}, "message": said, "detail": said, "code": said}
        if status == 200:
            body = {"choices": [{"message": {"content": said}}], "data": said, "text": said}
        return web.json_response(body, status=status, headers={"x-echo": said.replace("\n", " "), "retry-after": "0"})

    return answer


@pytest.mark.parametrize(
    ("kind", "status"),
    [("openai", 200), ("openai", 400), ("openai", 500), *((kind, 401) for kind in OTHER)],
)
def test_keys_of_other_servers(secret, kind, status):
    """Wherever a key travels, and whatever comes back: it stays between us and its server, and so does Cloudflare's."""
    cloudflares = "zq7Xv-CloudflaresOwnToken-0123456789"
    secret.env.update(MY_KEY=TOKEN, CLOUDFLARE_API_TOKEN=cloudflares)
    (secret.folder / ".env").write_text(f"MY_KEY={TOKEN}\n")
    more = dict(OTHER[kind])
    recordings(secret.folder / "sound", 2)
    with stranger(echoing(status)) as other:
        endpoint = {"kind": kind, "base_url": other.url + more.pop("path", ""), "api_key_env": "MY_KEY"}
        retry = {"attempts": 1, "max_delay_seconds": 0.1, "abort_share": 1}
        secret.spec(endpoint=endpoint, retry=retry, **more)
        commands = (
            ("run", "job.yaml", "--limit", 2),
            ("check", "job.yaml"),
            ("plan", "job.yaml"),
            ("status", "job.yaml"),
        )
        ran = [secret.wai(*each, code=None) for each in commands]
    assert any(TOKEN in str(asked) for asked in other.asked)
    assert not any(cloudflares in str(asked) for asked in other.asked)
    check_nowhere(secret, *ran)


def test_a_rehearsal_does_not_hand_the_key_on(secret):
    """The emulator's environment holds no key of a server it stands in for."""
    secret.env["MY_KEY"] = TOKEN
    endpoint = {"kind": "openai", "base_url": "https://api.example.com/v1", "api_key_env": "MY_KEY"}
    secret.spec(model="m", endpoint=endpoint, limits={"batch_size": 1, "concurrency": 1})
    with secret.start("run", "job.yaml", "--rehearse", "--emulator-args", "--latency-ms 200") as running:
        found = []

        def emulator():
            tasks = Path(f"/proc/{running.pid}/task").iterdir()
            children = [Path(f"/proc/{child}") for task in tasks for child in (task / "children").read_text().split()]
            found[:] = [child for child in children if b"pipeline.emulator" in (child / "cmdline").read_bytes()]
            return bool(found)

        secret.wait_for(emulator, what="the emulator")
        assert TOKEN.encode() not in (found[0] / "environ").read_bytes()
        running.send(2)
        ran = running.ended()
    check_nowhere(secret, ran)

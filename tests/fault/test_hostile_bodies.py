"""Answers no service should give, byte by byte over real sockets (promises P1, P3, P6): typed, and bounded in cost."""

import gzip
import json
import re
import subprocess
import sys
import time
import zlib

import pytest

from tests.support.cli import ROOT, ended_with_peak, sentences
from tests.support.servers import wild

SIZE = 5
MEGABYTE = 10**6
TIMEOUT_S = 4.0
DIM = 1024
CLOSE = "connection: close\r\n"


# -- what a server may do ----------------------------------------------------------------------------------------


def flood_with_length(wire):
    """100 MB, announced."""
    wire.send(b"HTTP/1.1 200 OK\r\ncontent-length: 100000000\r\n\r\n")
    for _ in range(100):
        wire.send(b" " * MEGABYTE)


def flood_in_chunks(wire):
    """400 MB, not announced."""
    wire.send(b"HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n")
    chunk = b"%x\r\n" % MEGABYTE + b"1" * MEGABYTE + b"\r\n"
    for _ in range(400):
        wire.send(chunk)
    wire.send(b"0\r\n\r\n")


def gzip_bomb(wire):
    """1 MB that is 1 GB."""
    packed = _bomb()
    assert 0.9 * MEGABYTE < len(packed) < 1.3 * MEGABYTE
    wire.reply(packed, headers=f"content-encoding: gzip\r\n{CLOSE}")


def gzip_members(wire):
    """10,000 gzip members of a few bytes each."""
    wire.reply(gzip.compress(b"[1,") * 10_000, headers=f"content-encoding: gzip\r\n{CLOSE}")


def swarm(wire):
    """30 MB that are a gigabyte of empty lists once they are parsed."""
    wire.reply(b'{"success":true,"result":{"data":[' + b"[]," * 10_000_000 + b"1]}}")


def many_numbers(wire):
    """28 MB of numbers in one vector."""
    wire.reply(b'{"success":true,"result":{"data":[[' + b"1," * 14_000_000 + b"1]]}}")


def slow_body(wire):
    """A byte each 0.2 s, for ever."""
    wire.send(b"HTTP/1.1 200 OK\r\ncontent-length: 100000\r\n\r\n{")
    for _ in range(150):
        time.sleep(0.2)
        wire.send(b" ")


def slow_headers(wire):
    """The same before the body begins."""
    wire.send(b"HTTP/1.1 200 OK\r\nx: ")
    for _ in range(150):
        time.sleep(0.2)
        wire.send(b"y")


def _bomb():
    """Blocks of a megabyte each, which a full flush makes independent of each other: made once, unpacked one by one."""
    packer = zlib.compressobj(9, zlib.DEFLATED, 31)
    block = b" " * MEGABYTE
    first, other = (packer.compress(block) + packer.flush(zlib.Z_FULL_FLUSH) for _ in range(2))
    return first + other * 999


# what the failure row is called
FLOODS = {
    flood_with_length: "truncated",
    flood_in_chunks: "truncated",
    gzip_bomb: "truncated",
    gzip_members: "truncated",
    swarm: "unreadable_answer",
    many_numbers: "unreadable_answer",
    slow_body: "timed_out",
    slow_headers: "timed_out",
}


def changed(change, *, headers="", **how):
    """The honest answer with its parsed body changed; `change` works on it or returns another one."""

    def answer(wire):
        body = json.loads(wire.honest()[2])
        other = change(body)
        raw = other if isinstance(other, bytes) else json.dumps(body if other is None else other).encode()
        wire.reply(raw, headers=headers + CLOSE, **how)

    return answer


def result(change):
    """The same for what stands in `result`."""
    return changed(lambda body: change(body["result"]))


def first_number(raw):
    """The honest answer with other bytes in place of the first number of a vector."""
    return changed(lambda body: re.sub(rb"\[\[\s*-?[\d.e-]+", b"[[" + raw, json.dumps(body).encode(), count=1))


def as_it_is(_):
    return None


def vectors(answer):
    return answer["data"] if "data" in answer else answer["response"]


def raw(body, status="200 OK", headers=""):
    return lambda wire: wire.reply(body, status=status, headers=headers + CLOSE)


def bytes_only(*parts):
    return lambda wire: [wire.send(part) for part in parts]


UNREADABLE, DONE, CUT = "unreadable_answer", "done", "truncated"
GARBLED = [
    (first_number(b"NaN"), UNREADABLE),
    (first_number(b"Infinity"), UNREADABLE),
    (first_number(b"1e999"), UNREADABLE),
    (first_number(b"1e300"), UNREADABLE),
    (first_number(b"null"), UNREADABLE),
    (first_number(b"true"), UNREADABLE),
    (first_number(b'"0.5"'), UNREADABLE),
    (first_number(b'"' + b"x" * MEGABYTE + b'"'), UNREADABLE),
    (first_number(b"[0.5]"), UNREADABLE),
    (result(lambda it: vectors(it).pop()), UNREADABLE),
    (result(lambda it: vectors(it).append([0.5] * DIM)), UNREADABLE),
    (result(lambda it: [vector.pop() for vector in vectors(it)] and None), UNREADABLE),
    (result(lambda it: vectors(it)[0].append(0.5)), UNREADABLE),
    (result(lambda it: vectors(it).__setitem__(0, None)), UNREADABLE),
    (changed(lambda it: it.pop("result") and None), UNREADABLE),
    (changed(lambda it: {**it, "result": None}), UNREADABLE),
    (changed(lambda it: {**it, "result": []}), UNREADABLE),
    (changed(lambda it: {**it, "result": "text"}), UNREADABLE),
    (changed(lambda it: it.clear()), UNREADABLE),
    (changed(lambda it: json.dumps(it).encode()[:-1] + b',"success":false}'), UNREADABLE),
    (changed(lambda it: json.dumps(it).encode()[:-1] + b',"result":{"data":[]}}'), UNREADABLE),
    (changed(lambda it: b'{"note":"\xff\xfe",' + json.dumps(it).encode()[1:]), UNREADABLE),
    (raw(b"<html><body>Welcome to the hotel</body></html>", headers="x: y\r\n"), UNREADABLE),
    (raw(b"[" * 2_000 + b"]" * 2_000), UNREADABLE),
    (raw(b'{"success":true,"result":' + b"[" * 1_000 + b"]" * 1_000 + b"}"), UNREADABLE),
    (raw(b""), CUT),
    (raw(b"", status="204 No Content"), CUT),
    (raw(b"", status="101 Switching Protocols", headers="upgrade: x\r\nconnection: upgrade\r\n"), CUT),
    (raw(b"x", status="500 X"), "http_500"),
    (raw(b'{"errors":[{"code":1,"message":' + b"[" * 1_015 + b"]" * 1_015 + b"}]}", status="400 X"), "1"),
    (raw(b'{"errors":[{"code":5006,"message":"\x1b[2J"}]}', status="400 X"), "http_400"),
    (raw(b'{"errors":[{"code":5006,"message":"\\u001b[2J\\u202e"}]}', status="400 X"), "5006"),
    (raw(b"", status="503 X", headers="retry-after: Mon, 01 Jan 99999999999999999999 00:00:00 GMT\r\n"), "http_503"),
    (raw(b"{}", headers="x: " + "y" * 100_000 + "\r\n"), CUT),
    (raw(b"{}", headers="x: \x00\x01\r\n"), CUT),
    (bytes_only(b"hello\r\n\r\n"), CUT),
    (bytes_only(b"HTTP/9.9 999999 X\r\n\r\n"), CUT),
    (bytes_only(b"HTTP/1.1 200 OK\r\ncontent-length: -5\r\n\r\n"), CUT),
    (bytes_only(b"HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\nzz\r\n"), CUT),
    (bytes_only(b"\x16\x03\x01" * 100), CUT),
    (bytes_only(), CUT),
    # odd, but the answer is there
    (changed(as_it_is, kind="text/html"), DONE),
    (changed(as_it_is, headers="content-encoding: identity\r\n"), DONE),
    (lambda wire: (wire.send(b"HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 103 X\r\n\r\n"), changed(as_it_is)(wire)), DONE),
    *(
        (changed(lambda it, usage=usage: {**it, "usage": usage}, headers=f"cf-ai-neurons: {header}\r\n"), DONE)
        for usage, header in [
            ({"neurons": 1e308, "prompt_tokens": 10**18}, "1e308"),
            ({"neurons": -5, "prompt_tokens": -5}, "-5"),
            ({"neurons": "nan", "prompt_tokens": "many"}, "nan"),
            ({"neurons": [], "prompt_tokens": 2**64 - 1}, "inf"),
            ([], "\xa0garbage\xff"),
        ]
    ),
]  # fmt: skip


def against(world, kinds, spec="job.yaml", code=4, *, fresh=True):
    """Run a job in which every fifth text meets one of `kinds`; return report, peak memory and seconds."""

    def answer(wire):
        found = re.search(rb" BAD-(\d\d)", wire.body)
        if found is None:
            return True
        kinds[int(found[1])](wire)
        return False

    with (
        wild(world.emulator, answer) as url,
        world.start("run", spec, "--json", "-q", env={"CLOUDFLARE_BASE_URL": url}, fresh=fresh) as running,
    ):
        ran, peak = ended_with_peak(running)
    assert ran.code == code, ran.said
    return ran, peak


def prepared(world, n_kinds):
    """A record in five meets a kind; returns the ids of those, in the order of the kinds."""
    texts = [*sentences()[: SIZE * n_kinds]]
    bad = [SIZE * number + 2 for number in range(n_kinds)]
    for number, place in enumerate(bad):
        texts[place] += f" BAD-{number:02}"
    world.records(texts)
    return [f"r{place:05}" for place in bad]


def check_rows(world, report, bad, expected, n):
    """Every bad record has the failure that is expected of it, or its own answer; all others have theirs."""
    codes = {row["id"]: row["code"] for row in world.table("failures").to_pylist()}
    assert {name: codes.get(name, DONE) for name in bad} == dict(zip(bad, expected, strict=True))
    assert set(codes) <= set(bad)
    world.check_once([f"r{place:05}" for place in range(n)])
    assert report["records"]["pending"] == 0

    world.spec("good.yaml", output={"path": "good"}, limits={"batch_size": SIZE})
    world.run("good.yaml")
    right = {row["id"]: row["embedding"] for row in world.table(output="good").to_pylist()}
    rows = world.table().to_pylist()
    assert rows
    assert [row["id"] for row in rows if row["embedding"] != right[row["id"]]] == []


@pytest.mark.slow
def test_garbled_answers(world):
    """No garbled answer becomes a row, spoils a neighbour, ends the run or breaks the book; all can be had again."""
    bad = prepared(world, len(GARBLED))
    world.spec(
        limits={"batch_size": SIZE, "concurrency": 4, "request_timeout_seconds": 20},
        retry={"attempts": 1, "max_delay_seconds": 0.1, "abort_share": 1},
    )
    ran, peak = against(world, [kind for kind, _ in GARBLED])
    assert peak < 400 * MEGABYTE
    assert ran.seconds < 60
    assert 0.995 * world.metered <= ran.json["neurons"]["spent"] < 10_000
    assert "\x1b" not in ran.said
    assert "\u202e" not in ran.said
    check_rows(world, ran.json, bad, [code for _, code in GARBLED], SIZE * len(GARBLED))
    mended = world.run("job.yaml", "--retry-failed")
    assert mended["records"]["done"] == SIZE * len(GARBLED)
    (row,) = [row for row in world.wai("budget", "--json").json["rows"] if row["job"] == "job"]
    assert 0 < row["neurons"] < 10_000


@pytest.mark.slow
def test_floods(world):
    """Answers without end in bytes or in time cost what one answer may cost, and fail alone."""
    bad = prepared(world, len(FLOODS))
    world.spec(
        limits={"batch_size": 2, "concurrency": 4, "request_timeout_seconds": TIMEOUT_S},
        retry={"attempts": 1, "max_delay_seconds": 0.1, "abort_share": 1},
    )
    ran, peak = against(world, [*FLOODS])
    check_rows(world, ran.json, bad, [*FLOODS.values()], SIZE * len(FLOODS))
    assert peak < 450 * MEGABYTE  # 160 without them, and twice 32 MiB for each of four answers at a time
    assert ran.seconds < 60


# Reads one answer after the other and says what that took: the longest turn of the loop in seconds of CPU, and memory.
READING = """
import asyncio, json, sys, time
from pipeline.client import HttpClient
from pipeline.clock import SystemClock
from pipeline.errors import TransportError
from pipeline.settings import Secret
from pipeline.wire import HttpRequest

def held(name):
    return next(int(line.split()[1]) * 1024 for line in open("/proc/self/status") if line.startswith(name))

async def beat(turns):
    while True:
        began = time.thread_time()
        await asyncio.sleep(0)
        turns.append(time.thread_time() - began)

async def main(url, n):
    token = Secret("a-token-that-is-looked-for")
    async with HttpClient(token=token, concurrency=1, timeout_s=60, clock=SystemClock()) as client:
        before, found = held("VmRSS"), []
        for number in range(n):
            turns = []
            beating = asyncio.create_task(beat(turns))
            try:
                said = len((await client.send(HttpRequest(url=url, body=b" BAD-%02d" % number))).body)
            except TransportError as error:
                said = str(error)
            await asyncio.sleep(0.01)  # what was done last is the end of a turn too
            beating.cancel()
            found.append([said, max(turns)])
        print(json.dumps({"found": found, "growth": held("VmHWM") - before}))

asyncio.run(main(sys.argv[1], int(sys.argv[2])))
"""
CAP = 32 * 2**20
LARGE = b'{"success":true,"result":{"response":"%s"}}' % (b"x" * 10 * MEGABYTE)


@pytest.mark.slow
def test_a_flood_holds_up_nobody(figures):
    """While an answer is read, others have their turn, and memory grows by twice the cap at most."""
    kinds = {
        "10 MB": (lambda wire: wire.reply(LARGE), len(LARGE)),
        "with a length": (flood_with_length, "the answer is larger than 32 MiB"),
        "in chunks": (flood_in_chunks, "the answer is larger than 32 MiB"),
        "bomb": (gzip_bomb, "the answer is larger than 32 MiB"),
        "members": (gzip_members, "the answer broke off (ClientPayloadError)"),
    }
    with wild(None, lambda wire: [*kinds.values()][int(wire.body[-2:])][0](wire)) as url:
        asked = [sys.executable, "-c", READING, url, str(len(kinds))]
        told = json.loads(subprocess.run(asked, cwd=ROOT, capture_output=True, check=True, timeout=120).stdout)
    assert [said for said, _ in told["found"]] == [said for _, said in kinds.values()]
    turns = dict(zip(kinds, (turn for _, turn in told["found"]), strict=True))
    figures({"longest_turn_s": turns, "growth": told["growth"]})
    assert max(turns.values()) < 0.1, turns  # half of it on a machine that has nothing else to do
    assert told["growth"] < 2 * CAP


def test_vectors_of_another_length(world):
    """Where the catalogue names no length, the first answer tells; others are refused, also in a later run."""
    world.records(sentences()[:12])
    job = {"model": "@cf/pfnet/plamo-embedding-1b", "retry": {"attempts": 1, "abort_share": 1}}
    world.spec(limits={"batch_size": 3, "concurrency": 1}, **job)
    world.faults({"fault": "wrong_dim", "after": 2, "times": 1})
    assert world.run()["records"]["done"] == 12
    dims = {len(row["embedding"]) for row in world.table().to_pylist()}
    assert len(dims) == 1

    world.records(sentences()[:24])
    world.faults({"fault": "wrong_dim"})
    report = world.run(code=4)
    assert report["records"] == {"total": 24, "done": 12, "failed": 12, "pending": 0}
    assert {row["code"] for row in world.table("failures").to_pylist()} == {"unreadable_answer"}
    assert {len(row["embedding"]) for row in world.table().to_pylist()} == dims
    world.emulator.set_faults([])
    assert world.run("job.yaml", "--retry-failed")["records"]["done"] == 24
    assert {len(row["embedding"]) for row in world.table().to_pylist()} == dims


CHAT_GARBLED = [
    {"choices": []},
    {"choices": None},
    {"choices": [None]},
    {"choices": [{"message": {"content": None}}]},
    {"choices": [{"message": None}]},
    {"response": None},
    {"response": ""},
    {"output": [{"type": "message", "content": [{"type": "output_text", "text": {"a": 1}}]}], "x": 1},
    {"output": [5, None, {"type": "message", "content": None}]},
    None,
    "text",
    [],
    {},
]


def test_garbled_replies(world):
    """A generated answer of no known shape is a failure row; counts that no model has do not reach a column."""
    n = len(CHAT_GARBLED)
    kinds = [changed(lambda body, it=it: {**body, "result": it}) for it in CHAT_GARBLED]
    kinds.append(raw(b'{"success":true,"result":{"response":' + b"[" * 300 + b"]" * 300 + b"}}"))
    usage = {"prompt_tokens": 2**64 - 1, "completion_tokens": 2**63, "neurons": 1e300}
    kinds.append(changed(lambda body: {**body, "result": {"response": "fine", "usage": usage}}))
    world.records([f"{text} BAD-{number:02}" for number, text in enumerate(sentences()[: n + 2])])
    world.spec(task="generate", limits={"concurrency": 4}, retry={"attempts": 1, "abort_share": 1})
    ran, _ = against(world, kinds, fresh=False)
    assert ran.json["records"] == {"total": n + 2, "done": 1, "failed": n + 1, "pending": 0}
    assert {row["code"] for row in world.table("failures").to_pylist()} == {UNREADABLE}
    (row,) = world.table().to_pylist()
    assert (row["id"], row["response"]) == (f"r{n + 1:05}", "fine")
    assert (row["prompt_tokens"], row["completion_tokens"]) == (None, None)
    assert ran.json["neurons"]["spent"] < 1_000


@pytest.mark.parametrize(
    "body",
    [
        b'{"success":true,"result":' + b"[" * 1_000 + b"]" * 1_000 + b"}",
        b'{"success":true,"result":null}',
        b"<html>",
        b"",
    ],
    ids=["deep", "null", "page", "empty"],
)
def test_the_check_of_access(world, body):
    """`wai check` says in a line what came, whatever that is."""
    world.spec()
    with wild(world.emulator, raw(body)) as url:
        ran = world.wai("check", "job.yaml", code=None, env={"CLOUDFLARE_BASE_URL": url})
    assert ran.code in {0, 1, 12}  # 1: nobody that could be understood
    assert len(ran.out.splitlines()) <= 2

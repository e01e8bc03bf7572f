"""A server light enough not to be the limit: Workers AI's native answers, made beforehand, over asyncio.Protocol.

In a process of its own, on the last core. It can be slow, short of capacity, limited per minute, or faulty; nothing
else of the service is imitated here, that is the emulator's task.
"""

from __future__ import annotations

import asyncio
import contextlib
import itertools
import json
import os
import random
import subprocess
import sys
import time
import urllib.request
from collections import Counter, deque
from dataclasses import asdict, dataclass, field
from pathlib import Path

import numpy as np
import orjson

ROOT = Path(__file__).parents[1]
CHAT_NEURONS = 0.34
EMBED_NEURONS = 0.001  # of one text
REFUSALS = {
    3040: (429, "AiError: Capacity temporarily exceeded, please try again."),
    3021: (429, "AiError: rate limiting: inference request per min rate reached"),
    500: (500, "AiError: AiError: Internal server error"),
}


@dataclass
class Behaviour:
    """How the server behaves.

    Attributes:
        latency_s: Of every answer.
        dims: Length of an embedding.
        capacity: Steps of (seconds, requests at once), repeated from the first request on; none: no limit.
        slowdown: Factor on the latency of a request that arrives when the capacity is in use.
        room: Requests beyond `room` times the capacity are refused with 3040. With a room of 1 none is slowed down.
        per_minute: Requests in any 60 s; more are refused with 3021.
        share_3040, share_500: Of the requests that are answered so instead.
    """

    latency_s: float = 0.0
    dims: int = 768
    capacity: list[tuple[float, int]] = field(default_factory=list)
    slowdown: float = 1.0
    room: float = 1.0
    per_minute: int | None = None
    share_3040: float = 0.0
    share_500: float = 0.0


def packet(status, body, headers=""):
    head = f"HTTP/1.1 {status} X\r\nContent-Type: application/json\r\nContent-Length: {len(body)}\r\n{headers}\r\n"
    return head.encode() + body


def chat_answer():
    usage = {"prompt_tokens": 20, "completion_tokens": 16, "total_tokens": 36, "neurons": CHAT_NEURONS}
    result = {"response": "The quick brown fox jumps over the lazy dog, as it has always done.", "usage": usage}
    return packet(200, orjson.dumps({"result": result, "success": True, "errors": [], "messages": []}))


def embed_answer(n, dims):
    """Numbers as the service writes them: half precision, in full."""
    vectors = np.random.default_rng(n).normal(0, dims**-0.5, (n, dims)).astype(np.float16).astype(float)
    result = {"shape": [n, dims], "data": vectors.tolist(), "pooling": "mean"}
    body = orjson.dumps({"result": result, "success": True, "errors": [], "messages": []})
    return packet(200, body, f"cf-ai-neurons: {n * EMBED_NEURONS:.2f}\r\n")


def refusal(code):
    status, message = REFUSALS[code]
    errors = [{"code": 3043 if code == 500 else code, "message": message}]
    return packet(status, orjson.dumps({"result": None, "success": False, "errors": errors, "messages": []}))


class Service:
    """Decides about requests; counts them."""

    def __init__(self, behaviour):
        self.b = behaviour
        self.rng = random.Random(7)
        self.chat = chat_answer()
        self.embeddings = {}
        self.refusals = {code: refusal(code) for code in REFUSALS}
        self.period = sum(seconds for seconds, _ in behaviour.capacity)
        self.window = deque()
        self.running = self.most = self.answered = 0
        self.refused = Counter()
        self.first_at = self.last_at = None
        self.by_second = Counter()

    def capacity_at(self, now):
        into = (now - self.first_at) % self.period
        for seconds, capacity in self.b.capacity:
            if into < seconds:
                return capacity
            into -= seconds
        return self.b.capacity[-1][1]

    def offered(self):
        """Answers that could have been given between the first request and the last answer."""
        if not self.b.capacity or self.first_at is None or not self.b.latency_s:
            return None
        slots, at, span = 0.0, 0.0, (self.last_at or self.first_at) - self.first_at
        for seconds, capacity in itertools.cycle(self.b.capacity):
            slots += capacity * min(seconds, span - at)
            at += seconds
            if at >= span:
                return slots / self.b.latency_s
        return None

    def take(self, body, send):
        now = time.monotonic()
        if self.first_at is None:
            self.first_at = now
        code, latency = self.judge(now)
        if code in {3040, 3021}:
            self.refused[code] += 1
            send(self.refusals[code])
            return
        self.running += 1
        self.most = max(self.most, self.running)
        answer = self.refusals[code] if code else self.answer(body)
        if latency:
            asyncio.get_running_loop().call_later(latency, self.finish, code, answer, send)
        else:
            self.finish(code, answer, send)

    def judge(self, now):
        b, latency = self.b, self.b.latency_s
        if b.share_3040 and self.rng.random() < b.share_3040:
            return 3040, 0.0
        if b.per_minute:
            while self.window and self.window[0] <= now - 60.0:
                self.window.popleft()
            if len(self.window) >= b.per_minute:
                return 3021, 0.0
            self.window.append(now)
        if b.capacity:
            capacity = self.capacity_at(now)
            if self.running >= capacity * b.room:
                return 3040, 0.0
            if self.running >= capacity:
                latency *= b.slowdown
        if b.share_500 and self.rng.random() < b.share_500:
            return 500, latency
        return None, latency

    def answer(self, body):
        if b'"messages"' in body:
            return self.chat
        texts = orjson.loads(body)["text"]
        n = len(texts) if isinstance(texts, list) else 1
        if n not in self.embeddings:
            self.embeddings[n] = embed_answer(n, self.b.dims)
        return self.embeddings[n]

    def finish(self, code, answer, send):
        self.running -= 1
        if code:
            self.refused[code] += 1
        else:
            self.answered += 1
        send(answer)
        self.last_at = time.monotonic()
        self.by_second[int(self.last_at - self.first_at)] += not code

    def tail_s(self):
        """Seconds in which the last hundredth was answered: requests that waited for another attempt."""
        late = 0
        for second in sorted(self.by_second, reverse=True):
            late += self.by_second[second]
            if late > self.answered / 100:
                return max(self.by_second) - second
        return 0

    def stats(self):
        return {
            "answered": self.answered,
            "tail_s": self.tail_s(),
            "refused": {str(code): n for code, n in self.refused.items()},
            "most": self.most,
            "first_at": self.first_at,
            "last_at": self.last_at,
            "offered": self.offered(),
            "cpu_s": time.process_time(),
        }


class Connection(asyncio.Protocol):
    """HTTP/1.1 with Content-Length and keep-alive; one request at a time."""

    def __init__(self, service):
        self.service = service
        self.buffer = b""

    def connection_made(self, transport):
        self.transport = transport

    def send(self, data):
        if not self.transport.is_closing():
            self.transport.write(data)

    def data_received(self, data):
        self.buffer = self.buffer + data if self.buffer else data
        while (end := self.buffer.find(b"\r\n\r\n")) >= 0:
            head = self.buffer[:end].lower()
            at = head.find(b"content-length:")
            size = int(head[at + 15 :].split(b"\r\n", 1)[0]) if at >= 0 else 0
            if len(self.buffer) < end + 4 + size:
                return
            body = self.buffer[end + 4 : end + 4 + size]
            self.buffer = self.buffer[end + 4 + size :]
            if head.startswith(b"post "):
                self.service.take(body, self.send)
            elif head.startswith(b"get /stats"):
                self.send(packet(200, orjson.dumps(self.service.stats())))
            else:
                self.send(packet(404, b"{}"))


async def serve(behaviour):
    service = Service(behaviour)
    service.embeddings[100] = embed_answer(100, behaviour.dims)
    loop = asyncio.get_running_loop()
    server = await loop.create_server(lambda: Connection(service), "127.0.0.1", 0, backlog=1024)
    print(server.sockets[0].getsockname()[1], flush=True)
    gone = asyncio.Event()
    loop.add_reader(sys.stdin.fileno(), gone.set)  # whoever started us has ended
    await gone.wait()


class Server:
    """The server as a child process, pinned to the last core; a context manager."""

    def __init__(self, **behaviour):
        self.behaviour = Behaviour(**behaviour)

    def __enter__(self):
        command = [sys.executable, "-m", "benchmarks.server", json.dumps(asdict(self.behaviour))]
        self.child = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, cwd=ROOT)
        self.origin = f"http://127.0.0.1:{int(self.child.stdout.readline())}"
        self.url = f"{self.origin}/client/v4"
        return self

    def __exit__(self, *_):
        self.child.stdin.close()
        with contextlib.suppress(subprocess.TimeoutExpired):
            self.child.wait(5)
        self.child.kill()
        self.child.wait()
        self.child.stdout.close()

    def stats(self):
        with urllib.request.urlopen(f"{self.origin}/stats", timeout=30) as response:
            return json.load(response)


def cores():
    """The core for the client, and the one for the server; the same where there is one only."""
    allowed = sorted(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else [0]
    return allowed[0], allowed[-1]


def pin(core):
    if hasattr(os, "sched_setaffinity"):
        os.sched_setaffinity(0, {core})


if __name__ == "__main__":
    pin(cores()[1])
    asyncio.run(serve(Behaviour(**json.loads(sys.argv[1]))))

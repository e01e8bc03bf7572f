"""A small server on this machine that speaks as other servers do: OpenAI's interface, DeepLX, a Worker that draws.

It shares nothing with the dialects. Each test says what it answers; it keeps what it was asked.
"""

import asyncio
import contextlib
import struct
import threading
import zlib
from dataclasses import dataclass, field

from aiohttp import web

ENOUGH_S = 5.0


def png(width=2, height=3):
    """A real, small picture."""

    def chunk(kind, content):
        body = kind + content
        return struct.pack(">I", len(content)) + body + struct.pack(">I", zlib.crc32(body))

    head = struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0)
    pixels = b"".join(b"\0" + b"\x80\x40\x20" * width for _ in range(height))
    return b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", head) + chunk(b"IDAT", zlib.compress(pixels)) + chunk(b"IEND", b"")


@dataclass
class Asked:
    """One request: path with query, headers in lower case, and the JSON or form that was sent."""

    method: str
    path: str
    headers: dict
    body: object


@dataclass
class Stranger:
    """The server while it runs.

    `before` is asked first, with each request and its number (from 0): a response of it is sent instead.
    """

    url: str = ""
    asked: list = field(default_factory=list)
    before: object = None

    def always(self, answer):
        """Send `answer()` to every request."""
        self.before = lambda *_: answer()

    def paths(self):
        return [each.path.partition("?")[0] for each in self.asked]


@contextlib.contextmanager
def stranger(before=None):
    """Serve in a thread; yields a `Stranger`."""
    it = Stranger(before=before)
    ready, over = threading.Event(), asyncio.Event()
    loops = []

    async def serve(request):
        return await _serve(it, request)

    async def main():
        app = web.Application(client_max_size=1 << 26)
        app.router.add_route("*", "/{rest:.*}", serve)
        runner = web.AppRunner(app)
        await runner.setup()
        site = web.TCPSite(runner, "127.0.0.1", 0)
        await site.start()
        it.url = f"http://127.0.0.1:{runner.addresses[0][1]}"
        loops.append(asyncio.get_running_loop())
        ready.set()
        await over.wait()
        await runner.cleanup()

    thread = threading.Thread(target=lambda: asyncio.run(main()), daemon=True)
    thread.start()
    assert ready.wait(ENOUGH_S)
    try:
        yield it
    finally:
        loops[0].call_soon_threadsafe(over.set)
        thread.join(ENOUGH_S)


async def _serve(it, request):
    n = len(it.asked)
    headers = {name.lower(): value for name, value in request.headers.items()}
    body = await _body(request)
    it.asked.append(Asked(request.method, request.path_qs, headers, body))
    if it.before is not None and (said := it.before(it.asked[-1], n)) is not None:
        return said
    answers = {
        "/translate": _translated,
        "/v1/chat/completions": _chat,
        "/v1/embeddings": _embedded,
        "/v1/audio/transcriptions": _heard,
        "/v1/models": _models,
    }
    if request.path.startswith("/image/"):
        return web.Response(body=png(), content_type="image/png")
    answer = answers.get(request.path)
    return web.json_response(answer(it, body)) if answer is not None else web.Response(status=404, text="Not Found")


async def _body(request):
    if request.content_type != "multipart/form-data":
        return await request.json() if request.can_read_body else None
    fields = {}
    for name, value in (await request.post()).items():
        fields[name] = (value.filename, value.file.read()) if isinstance(value, web.FileField) else value
    return fields


def _translated(it, body):
    text = f"[{body['target_lang']}] {body['text']}"
    return {"code": 200, "data": text, "alternatives": [], "source_lang": "EN", "target_lang": "DE"}


def _chat(it, body):
    said = body["messages"][-1]["content"]
    content = f"Here it is:\n\n![Generated Image]({it.url}/image/{len(it.asked)})" if "draw" in said else f"You: {said}"
    return {
        "id": "chatcmpl-1",
        "object": "chat.completion",
        "model": body["model"],
        "choices": [{"index": 0, "message": {"role": "assistant", "content": content}, "finish_reason": "stop"}],
        "usage": {"prompt_tokens": 5, "completion_tokens": 2, "total_tokens": 7, "neurons": 5000},
    }


def _embedded(it, body):
    """One vector a text, the last text first; each tells the length of its text."""
    items = [
        {"object": "embedding", "index": index, "embedding": [float(len(text)), 1.0]}
        for index, text in enumerate(body["input"])
    ]
    return {"object": "list", "model": body["model"], "data": items[::-1], "usage": {"prompt_tokens": 3}}


def _heard(it, body):
    name, content = body["file"]
    return {
        "task": "transcribe",
        "language": body.get("language", "en"),
        "duration": 1.5,
        "text": f"{name} of {len(content)} bytes",
        "segments": [{"start": 0.0, "end": 1.5, "text": f"{name} of {len(content)} bytes"}],
    }


def _models(it, body):
    return {"object": "list", "data": [{"id": "small-model", "object": "model"}]}

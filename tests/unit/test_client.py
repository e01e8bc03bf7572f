"""The client: one exchange, bounded in time and size, that tells what happened and never the token."""

import asyncio
import contextlib
import gzip
import re
import socket
import struct
import time
import traceback

import aiohttp
import pytest
from aiohttp import web
from yarl import URL

from pipeline import client as client_module
from pipeline.client import HttpClient, environment_proxy
from pipeline.clock import SystemClock
from pipeline.errors import ConnectFailed, RequestTimedOut, ResponseTruncated, SettingsError, TransportError
from pipeline.settings import Secret
from pipeline.wire import HttpRequest
from tests.support.figures import figure

TOKEN = "cfut_TOPSECRET0123456789"
PATH = "/accounts/abc/ai/run/@cf/baai/bge-m3"


def http_client(timeout_s=5.0, concurrency=4):
    return HttpClient(token=Secret(TOKEN), concurrency=concurrency, timeout_s=timeout_s, clock=SystemClock())


def request(base, body=b'{"text":["a"]}'):
    return HttpRequest(url=f"{base}{PATH}", body=body, headers={"content-type": "application/json", "x-more": "1"})


@contextlib.asynccontextmanager
async def raw_server(talk):
    """A TCP server that reads a request and then does as `talk(writer)` says."""

    serving = []

    async def serve(reader, writer):
        serving.append(asyncio.current_task())
        try:
            head = await reader.readuntil(b"\r\n\r\n")
            await reader.readexactly(int(re.search(rb"content-length: (\d+)", head, re.IGNORECASE)[1]))
            await talk(writer)
        except (ConnectionError, asyncio.CancelledError):
            pass
        finally:
            writer.close()
            with contextlib.suppress(ConnectionError):
                await writer.wait_closed()

    server = await asyncio.start_server(serve, "127.0.0.1", 0)
    try:
        yield f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}"
    finally:
        server.close()
        for task in serving:
            task.cancel()
        if serving:
            await asyncio.wait(serving)


@contextlib.asynccontextmanager
async def web_server(handler):
    """A real aiohttp server that answers every POST with `handler`."""
    app = web.Application(client_max_size=10**8)
    app.router.add_route("*", "/{tail:.*}", handler)
    runner = web.AppRunner(app, shutdown_timeout=0.1)
    await runner.setup()
    site = web.TCPSite(runner, "127.0.0.1", 0)
    await site.start()
    try:
        yield f"http://127.0.0.1:{runner.addresses[0][1]}"
    finally:
        await runner.cleanup()


def assert_no_token(error):
    """Nothing that can be printed of an error holds the token."""
    seen, queue = set(), [error]
    while queue:
        exc = queue.pop()
        if exc is None or id(exc) in seen:
            continue
        seen.add(id(exc))
        text = f"{exc!r} {exc!s} {exc.args!r} {vars(exc)!r}"
        assert "TOPSECRET" not in text
        assert not type(exc).__module__.startswith("aiohttp")
        queue += [exc.__cause__, exc.__context__]
    assert "TOPSECRET" not in "".join(traceback.format_exception(error))


async def failure(base, kind, **how):
    async with http_client(**how) as client:
        with pytest.raises(TransportError) as caught:
            await client.send(request(base))
    assert type(caught.value) is kind, caught.value
    assert_no_token(caught.value)
    return caught.value


# -- shape and status, without a network ------------------------------------------------------------------------


async def test_a_request_leaves_as_it_was_made(mocked_http):
    """Address and body byte for byte, the token in its header, no redirects."""
    mocked_http.post(f"https://api.example{PATH}", status=200, body=b"{}", headers={"CF-AI-Neurons": "1.50"})
    async with http_client() as client:
        response = await client.send(request("https://api.example"))
        assert client._session.headers["Authorization"] == f"Bearer {TOKEN}"
        assert client._session.headers["User-Agent"] == client_module.USER_AGENT
    ((method, url), (call,)) = next(iter(mocked_http.requests.items()))
    assert (method, str(url)) == ("POST", f"https://api.example{PATH}")
    assert call.kwargs["data"] == b'{"text":["a"]}'
    assert {"content-type": "application/json", "x-more": "1"}.items() <= dict(call.kwargs["headers"]).items()
    assert call.kwargs["allow_redirects"] is False
    assert response.headers["cf-ai-neurons"] == "1.50"


@pytest.mark.parametrize("status", [200, 204, 302, 400, 404, 408, 413, 429, 500, 502, 524])
async def test_every_status_is_an_answer(mocked_http, status):
    """What a status means is for the dialect to say; the client raises for none."""
    mocked_http.post(f"https://api.example{PATH}", status=status, body=b"words", content_type="text/html")
    async with http_client() as client:
        response = await client.send(request("https://api.example"))
    assert (response.status, response.body) == (status, b"words")
    assert response.latency_ms >= 0


async def test_a_get_is_the_same_exchange(mocked_http):
    """For the check of token and account."""
    mocked_http.get("https://api.example/x?search=a", status=403, body=b"no")
    async with http_client() as client:
        assert (await client.get("https://api.example/x?search=a")).status == 403


# -- a real network ---------------------------------------------------------------------------------------------


async def test_the_wire_carries_literal_slashes_and_the_token():
    """Seen from the other side."""
    seen = {}

    async def handler(req):
        seen.update(path=req.raw_path, auth=req.headers["Authorization"], body=await req.read(), type=req.content_type)
        return web.json_response({"ok": True})

    async with web_server(handler) as base, http_client() as client:
        response = await client.send(request(base))
    assert response.body == b'{"ok": true}'
    assert seen == {"path": PATH, "auth": f"Bearer {TOKEN}", "body": b'{"text":["a"]}', "type": "application/json"}


async def test_a_redirect_is_not_followed():
    """The token goes to one host only."""
    paths = []

    async def handler(req):
        paths.append(req.path)
        raise web.HTTPFound("/elsewhere")

    async with web_server(handler) as base, http_client() as client:
        assert (await client.send(request(base))).status == 302
    assert paths == [PATH]


async def test_no_connection_is_told_as_such():
    """Refused: nothing was sent, nothing can have been billed."""
    with socket.socket() as unused:
        unused.bind(("127.0.0.1", 0))
        port = unused.getsockname()[1]
    error = await failure(f"http://127.0.0.1:{port}", ConnectFailed)
    assert str(port) in str(error)
    assert not error.maybe_billed


async def test_an_answer_that_does_not_come_is_a_time_out():
    """Bounded by the whole attempt."""

    async def handler(_):
        await asyncio.sleep(5)

    async with web_server(handler) as base:
        error = await failure(base, RequestTimedOut, timeout_s=0.2)
    assert "0.2 s" in str(error)
    assert error.maybe_billed


async def trickling_body(writer):
    writer.write(b"HTTP/1.1 200 OK\r\ncontent-length: 1000\r\ncf-ai-neurons: 2.50\r\n\r\n")
    for _ in range(1_000):
        writer.write(b"x")
        await writer.drain()
        await asyncio.sleep(0.02)


async def trickling_headers(writer):
    for letter in b"HTTP/1.1 200 OK\r\nx: " + b"y" * 1000:
        writer.write(bytes([letter]))
        await writer.drain()
        await asyncio.sleep(0.02)


async def early_hints(writer):
    for _ in range(1_000):
        writer.write(b"HTTP/1.1 103 Early Hints\r\n\r\n")
        await writer.drain()
        await asyncio.sleep(0.02)


@pytest.mark.parametrize(("talk", "neurons"), [(trickling_body, 2.5), (trickling_headers, None), (early_hints, None)])
async def test_an_answer_that_trickles_is_a_time_out(talk, neurons):
    """A byte now and then keeps no attempt alive beyond its time; a charge that the headers named is known."""
    async with raw_server(talk) as base:
        began = time.monotonic()
        error = await failure(base, RequestTimedOut, timeout_s=0.5)
        took_s = time.monotonic() - began
    assert error.neurons == neurons
    assert 0.45 <= took_s < 10  # all of it takes 20 s
    figure("trickle", talk=talk.__name__, timeout_s=0.5, took_s=round(took_s, 3))


async def test_a_body_cut_short_is_truncated():
    """Fewer bytes than were announced."""

    async def talk(writer):
        writer.write(b'HTTP/1.1 200 OK\r\ncontent-length: 1000\r\ncf-ai-neurons: 2.50\r\n\r\n{"result":')
        await writer.drain()

    async with raw_server(talk) as base:
        error = await failure(base, ResponseTruncated)
    assert error.neurons == 2.5
    assert error.maybe_billed


async def test_a_reset_is_truncated():
    """The connection breaks after the request was sent."""

    async def talk(writer):
        linger = struct.pack("ii", 1, 0)
        writer.get_extra_info("socket").setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, linger)

    async with raw_server(talk) as base:
        assert (await failure(base, ResponseTruncated)).neurons is None


@pytest.mark.parametrize("garbage", [b"", b"hello\r\n\r\n", b"HTTP/1.1 200 OK\r\nx: " + b"y" * 20_000 + b"\r\n\r\n"])
def test_what_is_not_http_is_no_bad_request(garbage):
    """aiohttp raises a 400 of its own for it, which is not one of the service's."""

    async def talk(writer):
        writer.write(garbage)
        await writer.drain()

    async def main():
        async with raw_server(talk) as base:
            await failure(base, ResponseTruncated)

    asyncio.run(main())


@pytest.mark.parametrize("encoding", ["identity", "gzip", "chunked"])
async def test_an_answer_that_is_too_large_is_not_read_to_the_end(monkeypatch, encoding):
    """The cap counts decompressed bytes: a bomb stops there."""
    monkeypatch.setattr(client_module, "MAX_BODY_BYTES", 2 * 1024 * 1024)
    body = b"0" * (40 * 1024 * 1024 if encoding == "gzip" else 3 * 1024 * 1024)

    async def handler(req):
        if encoding == "chunked":
            response = web.StreamResponse()
            await response.prepare(req)
            with contextlib.suppress(ConnectionError):
                for at in range(0, len(body), 1 << 16):
                    await response.write(body[at : at + (1 << 16)])
            return response
        if encoding == "gzip":
            return web.Response(body=gzip.compress(body, 1), headers={"content-encoding": "gzip"})
        return web.Response(body=body)

    async with web_server(handler) as base:
        error = await failure(base, ResponseTruncated)
    assert "larger than 2 MiB" in str(error)


async def test_a_compressed_answer_is_opened():
    """What the dialect gets is the text."""

    async def handler(_):
        return web.Response(body=gzip.compress(b'{"a":1}'), headers={"content-encoding": "gzip"})

    async with web_server(handler) as base, http_client() as client:
        assert (await client.send(request(base))).body == b'{"a":1}'


async def test_broken_compression_is_truncated():
    """Garbled on the way."""

    async def handler(_):
        return web.Response(body=b"not gzip at all", headers={"content-encoding": "gzip"})

    async with web_server(handler) as base:
        await failure(base, ResponseTruncated)


async def test_a_cancelled_exchange_leaves_a_client_that_works():
    """A kill of one request does not disturb the next."""
    slow = True

    async def handler(_):
        if slow:
            await asyncio.sleep(5)
        return web.Response(body=b"ok")

    async with web_server(handler) as base, http_client(concurrency=1) as client:
        with pytest.raises(TimeoutError):
            async with asyncio.timeout(0.1):
                await client.send(request(base))
        slow = False
        assert (await client.send(request(base))).body == b"ok"


async def test_no_error_of_aiohttp_gets_out(mocked_http):
    """Their repr holds the request with its Authorization header."""
    for error in (
        aiohttp.ServerDisconnectedError(),
        aiohttp.ClientPayloadError("cut"),
        aiohttp.ClientOSError(104, "reset"),
        aiohttp.ServerTimeoutError(),
        aiohttp.InvalidURL("x"),
        OSError(f"with {'words'}"),
        TimeoutError(),
    ):
        mocked_http.post(f"https://api.example{PATH}", exception=error)
        async with http_client() as client:
            with pytest.raises(TransportError) as caught:
                await client.send(request("https://api.example"))
        assert_no_token(caught.value)


@pytest.mark.parametrize(
    ("url", "proxy"),
    [
        ("https://api.cloudflare.com/client/v4", "http://proxy.test:3128"),
        ("https://inside.test/", None),
        ("http://127.0.0.1:8787/client/v4", None),
        ("http://localhost/", None),
    ],
)
def test_the_environments_proxy_is_used_but_not_for_this_machine(monkeypatch, url, proxy):
    """HTTPS_PROXY and NO_PROXY count; what goes to this machine goes there directly."""
    for name in ("http_proxy", "https_proxy", "HTTP_PROXY", "HTTPS_PROXY"):
        monkeypatch.setenv(name, "http://proxy.test:3128")
    monkeypatch.setenv("no_proxy", "inside.test")
    assert environment_proxy(URL(url)) == proxy


@pytest.mark.parametrize("named", ["proxy.test:3128", "me:secret@proxy.test:3128"])
def test_a_proxy_without_a_scheme_is_one(monkeypatch, named):
    """As for curl; it was taken for an answer that broke off, and each attempt for one that may be charged."""
    monkeypatch.setenv("https_proxy", named)
    assert environment_proxy(URL("https://api.example/")) == f"http://{named}"


@pytest.mark.parametrize(
    "named", ["socks5://u:hush@proxy.test:1", "not a hush url", "http://[::1", "http://x:99999", "ftp://x"]
)
def test_a_proxy_that_is_none_is_told_before_anything_is_sent(monkeypatch, named):
    monkeypatch.setenv("https_proxy", named)
    with pytest.raises(SettingsError, match="HTTPS_PROXY: names no proxy") as caught:
        environment_proxy(URL("https://api.example/"))
    assert "hush" not in str(caught.value)


async def test_what_a_proxy_refuses_was_never_sent(monkeypatch):
    """So it is booked as nothing."""

    async def refuse(reader, writer):
        await reader.readuntil(b"\r\n\r\n")
        writer.write(b"HTTP/1.1 407 X\r\ncontent-length: 0\r\n\r\n")
        await writer.drain()
        writer.close()

    server = await asyncio.start_server(refuse, "127.0.0.1", 0)
    monkeypatch.setenv("https_proxy", f"127.0.0.1:{server.sockets[0].getsockname()[1]}")
    async with server, http_client() as client:
        with pytest.raises(ConnectFailed, match="HTTP 407") as caught:
            await client.send(request("https://api.example"))
    assert not caught.value.maybe_billed


# -- the token that comes back -----------------------------------------------------------------------------------


async def test_a_token_that_is_echoed_is_taken_out():
    """In one place, for all that is made of an answer: headers, bodies of refusals, and results."""

    async def handler(req):
        auth = req.headers["Authorization"]
        headers = {"x-echo": auth, "content-encoding": "gzip"}
        return web.Response(status=400, body=gzip.compress(f"you sent {auth}, {auth}".encode()), headers=headers)

    async with web_server(handler) as base, http_client() as client:
        response = await client.send(request(base))
    assert response.body == b"you sent Bearer ***, Bearer ***"
    assert response.headers["x-echo"] == "Bearer ***"


@pytest.mark.parametrize("token", ["", "a", "simple"])
async def test_a_short_token_does_not_spoil_answers(mocked_http, token):
    """No token of the service is that short; a common word would be found everywhere."""
    mocked_http.post(f"https://api.example{PATH}", status=200, body=b"a simple answer")
    client = HttpClient(token=Secret(token), concurrency=1, timeout_s=5.0, clock=SystemClock())
    async with client:
        assert (await client.send(request("https://api.example"))).body == b"a simple answer"


async def test_a_charge_that_is_garbage_is_no_charge():
    """The header of an answer that broke off is read with the same care as that of a whole one."""

    async def talk(writer):
        writer.write(b"HTTP/1.1 200 OK\r\ncontent-length: 1000\r\ncf-ai-neurons: 1e308\r\n\r\nx")
        await writer.drain()

    async with raw_server(talk) as base:
        assert (await failure(base, ResponseTruncated)).neurons is None


async def test_what_follows_an_answer_is_no_answer():
    """Bytes beyond Content-Length are not taken for the answer to the next request."""
    n = 0

    async def talk(writer):
        nonlocal n
        n += 1
        answer = b"HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\n"
        writer.write(answer + b"%02d" % n + (answer + b"XX") * 3)
        await writer.drain()
        await asyncio.sleep(0.05)

    async with raw_server(talk) as base, http_client(concurrency=1) as client:
        bodies = [(await client.send(request(base))).body for _ in range(3)]
    assert bodies == [b"01", b"02", b"03"]


# -- other places for a secret ------------------------------------------------------------------------------------


@contextlib.asynccontextmanager
async def echo_server():
    """Answers with the address and the headers it was asked with."""

    async def echo(request):
        return web.json_response({"url": str(request.rel_url), "headers": dict(request.headers)})

    app = web.Application()
    app.router.add_route("*", "/{rest:.*}", echo)
    runner = web.AppRunner(app)
    await runner.setup()
    site = web.TCPSite(runner, "127.0.0.1", 0)
    await site.start()
    try:
        yield f"http://127.0.0.1:{runner.addresses[0][1]}"
    finally:
        await runner.cleanup()


def other_client(token=TOKEN, **options):
    return HttpClient(token=Secret(token), concurrency=2, timeout_s=5.0, clock=SystemClock(), **options)


@pytest.mark.parametrize(("path", "sign"), [("/translate", "?"), ("/translate?x=1", "&")])
async def test_a_token_may_travel_as_a_query_parameter(path, sign):
    """It is escaped, not in a header as well, and hidden in what comes back in either spelling."""
    seen = []

    async def look(request):
        seen.append((request.path_qs, request.headers.get("authorization")))
        return web.Response(text=f"{request.path_qs} {request.query['password']}")

    app = web.Application()
    app.router.add_post("/translate", look)
    runner = web.AppRunner(app)
    await runner.setup()
    site = web.TCPSite(runner, "127.0.0.1", 0)
    await site.start()
    try:
        async with other_client("top&secret/1234", query="password") as client:
            base = f"http://127.0.0.1:{runner.addresses[0][1]}"
            response = await client.send(HttpRequest(f"{base}{path}", b"{}"))
    finally:
        await runner.cleanup()
    assert seen == [(f"{path}{sign}password=top%26secret%2F1234", None)]
    assert response.body.decode() == f"{path}{sign}password=*** ***"


async def test_an_empty_token_is_not_sent():
    async with echo_server() as base, other_client("", query="password") as client:
        response = await client.send(HttpRequest(f"{base}/x", b"{}"))
    assert b"uthorization" not in response.body
    assert b"password" not in response.body


async def test_a_gateways_own_token_goes_beside_the_other_and_comes_back_hidden():
    async with echo_server() as base, other_client(gateway_token=Secret("gateway-secret-1")) as client:
        body = (await client.get(f"{base}/x")).body
    assert b'"cf-aig-authorization": "Bearer ***"' in body
    assert b'"Authorization": "Bearer ***"' in body


@pytest.mark.parametrize("query", [None, "password"])
async def test_what_is_fetched_from_a_stranger_carries_no_secret(query):
    """Nobody but the server itself learns a token, wherever its answers point."""
    client = other_client(query=query, gateway_token=Secret("gateway-secret-1"))
    async with echo_server() as base, client:
        body = (await client.fetch(f"{base}/picture")).body
    assert b'"url": "/picture"' in body
    for name in (b"uthorization", b"***", b"password", TOKEN.encode()):
        assert name not in body


async def test_redirects_of_a_stranger_are_not_followed():
    async with echo_server() as other:
        app = web.Application()

        async def move(request):
            raise web.HTTPFound(f"{other}/x")

        app.router.add_get("/picture", move)
        runner = web.AppRunner(app)
        await runner.setup()
        site = web.TCPSite(runner, "127.0.0.1", 0)
        await site.start()
        try:
            async with other_client() as client:
                response = await client.fetch(f"http://127.0.0.1:{runner.addresses[0][1]}/picture")
        finally:
            await runner.cleanup()
    assert response.status == 302


@pytest.mark.parametrize("url", ["https://a..b/x", f"https://{'a' * 70}.example/"])
async def test_a_host_that_cannot_be_is_no_connection(url):
    """An answer names what to fetch, and a job spec where to send: neither ends the run with an error of a library."""
    async with http_client() as client:
        with pytest.raises(ConnectFailed, match="no host can have this name") as caught:
            await client.fetch(url)
    assert caught.value.__context__ is None

"""One attempt = one HTTP exchange over aiohttp. Knows the token, and nothing of models, budgets or retries.

Takes an `HttpRequest`, hands on an `HttpResponse` or a `TransportError`. aiohttp's own exceptions never leave this
room: their `repr` carries the Authorization header.

Facts measured with aiohttp 3.14.5 on 2026-11-22: a body cut short raises ClientPayloadError; a garbled status line is
*raised* as ClientResponseError(400), unlike a real 400, which is returned; a trickling body never trips `sock_read`,
only `total`; redirects are followed unless told otherwise.
"""

from __future__ import annotations

from types import TracebackType
from typing import Final, Self
from urllib.request import getproxies, proxy_bypass

import aiohttp
from yarl import URL

from pipeline.clock import Clock
from pipeline.errors import ConnectFailed, RequestTimedOut, ResponseTruncated, TransportError
from pipeline.settings import Secret, is_loopback_url
from pipeline.version import __version__
from pipeline.wire import HttpRequest, HttpResponse, amount

USER_AGENT: Final = f"workers-ai-batch/{__version__}"
"""Names the program to the service."""

MAX_BODY_BYTES: Final = 32 * 1024 * 1024
_CHUNK: Final = 256 * 1024
_CONNECT_SECONDS: Final = 20.0
_NEURONS: Final = "cf-ai-neurons"
_SHORTEST_TOKEN: Final = 8  # a shorter one is none of the service's, and would be found in answers that do not hold it
_HIDDEN: Final = "***"


class HttpClient:
    """One session per run. Use as an async context manager.

    Args:
        token: Sent as ``Authorization: Bearer``; never logged, never part of an error.
        concurrency: Connections at most (HTTP/1.1: one per request in flight).
        timeout_s: Bound on a whole attempt, connection to last byte.
        clock: For latencies.
    """

    def __init__(self, *, token: Secret, concurrency: int, timeout_s: float, clock: Clock) -> None:
        self._token = token
        self._concurrency = concurrency
        self._timeout = aiohttp.ClientTimeout(total=timeout_s, sock_connect=min(_CONNECT_SECONDS, timeout_s))
        self._clock = clock
        self._session: aiohttp.ClientSession | None = None
        self._proxies: dict[str | None, str | None] = {}

    async def __aenter__(self) -> Self:
        self._session = aiohttp.ClientSession(
            connector=aiohttp.TCPConnector(limit=self._concurrency, ttl_dns_cache=300),
            cookie_jar=aiohttp.DummyCookieJar(),
            timeout=self._timeout,
            headers={"Authorization": f"Bearer {self._token.reveal()}", "User-Agent": USER_AGENT},
        )
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._session is not None:
            await self._session.close()

    async def send(self, request: HttpRequest) -> HttpResponse:
        """POST once and read the whole answer.

        Raises:
            ConnectFailed: Nothing was sent.
            RequestTimedOut: No complete answer within `timeout_s`.
            ResponseTruncated: The answer broke off, was garbled, or is larger than 32 MiB.
        """
        return await self._exchange("POST", request)

    async def get(self, url: str) -> HttpResponse:
        """GET once; the same errors as `send`."""
        return await self._exchange("GET", HttpRequest(url=url, body=b""))

    async def _exchange(self, method: str, request: HttpRequest) -> HttpResponse:
        assert self._session is not None, "use HttpClient as a context manager"
        started = self._clock.monotonic()
        headers: dict[str, str] = {}
        # encoded=True: the model's slashes must reach the service as they are, and nothing else needs escaping
        url = URL(request.url, encoded=True)
        if url.host not in self._proxies:
            self._proxies[url.host] = environment_proxy(url)
        try:
            async with self._session.request(
                method,
                url,
                proxy=self._proxies[url.host],
                data=request.body or None,
                headers=request.headers,
                allow_redirects=False,
            ) as response:
                headers = {name.lower(): self._without_token(value) for name, value in response.headers.items()}
                body = await _read_capped(response)
                return HttpResponse(
                    status=response.status,
                    headers=headers,
                    body=self._body_without_token(body),
                    latency_ms=(self._clock.monotonic() - started) * 1000.0,
                )
        except (aiohttp.ClientError, TimeoutError, OSError) as exc:
            error = _translated(exc, self._timeout.total or 0.0)
        # raised outside the handler: a chained aiohttp error would carry the token in its repr
        error.neurons = amount(headers.get(_NEURONS))
        raise error

    def _without_token(self, text: str) -> str:
        """Take the token out of what came back: a server that echoes the request must not get it into rows or logs."""
        token = self._token.reveal()
        return text.replace(token, _HIDDEN) if len(token) >= _SHORTEST_TOKEN else text

    def _body_without_token(self, body: bytes) -> bytes:
        token = self._token.reveal().encode()
        return body.replace(token, _HIDDEN.encode()) if len(token) >= _SHORTEST_TOKEN and token in body else body


def environment_proxy(url: URL) -> str | None:
    """Return the proxy that the environment names for a URL (HTTPS_PROXY, NO_PROXY …); none for this machine itself.

    Asked once per host: aiohttp's `trust_env` looks it up for every request, and reads ~/.netrc in a thread each time,
    which cost more CPU than the request (half of 2 ms, measured with aiohttp 3.14.5, 2026-11-22).
    """
    if url.host is None or is_loopback_url(str(url)) or proxy_bypass(url.host):
        return None
    return getproxies().get(url.scheme)


def _translated(exc: Exception, timeout_s: float) -> TransportError:
    """Map what aiohttp raises to what it means for us."""
    if isinstance(exc, aiohttp.ClientConnectorError | aiohttp.ConnectionTimeoutError):
        cause = exc.strerror if isinstance(exc, aiohttp.ClientConnectorError) else "no connection in time"
        host = f"{exc.host}:{exc.port}" if isinstance(exc, aiohttp.ClientConnectorError) else "the endpoint"
        return ConnectFailed(f"cannot connect to {host}: {cause or type(exc).__name__}")
    if isinstance(exc, TimeoutError):
        return RequestTimedOut(f"no complete answer within {timeout_s:g} s")
    if isinstance(exc, _TooLargeError):
        return ResponseTruncated(f"the answer is larger than {MAX_BODY_BYTES // 2**20} MiB")
    return ResponseTruncated(f"the answer broke off ({type(exc).__name__})")


class _TooLargeError(OSError):
    """The body passed the cap."""


async def _read_capped(response: aiohttp.ClientResponse) -> bytes:
    """Read the body, decompressed, up to the cap; a gzip bomb stops here, not in memory."""
    size_told = response.content_length
    if size_told is not None and size_told <= _CHUNK and "content-encoding" not in response.headers:
        return await response.read()  # the common case, at a third of the cost
    chunks: list[bytes] = []
    size = 0
    async for chunk in response.content.iter_chunked(_CHUNK):
        size += len(chunk)
        if size > MAX_BODY_BYTES:
            response.close()
            raise _TooLargeError
        chunks.append(chunk)
    return chunks[0] if len(chunks) == 1 else b"".join(chunks)

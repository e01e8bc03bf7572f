"""One attempt = one HTTP exchange over aiohttp. Knows the secrets, and nothing of models, budgets or retries.

Takes an `HttpRequest`, hands on an `HttpResponse` or a `TransportError`. aiohttp's own exceptions never leave this
room: their `repr` carries the Authorization header.

Facts measured with aiohttp 3.14.5 on 2026-11-22: a body cut short raises ClientPayloadError; a garbled status line is
*raised* as ClientResponseError(400), unlike a real 400, which is returned; a trickling body never trips `sock_read`,
only `total`; redirects are followed unless told otherwise.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from types import TracebackType
from typing import Final, Self
from urllib.parse import quote
from urllib.request import getproxies, proxy_bypass

import aiohttp
from yarl import URL

from pipeline.addresses import is_loopback_url
from pipeline.clock import Clock
from pipeline.errors import ConnectFailed, RequestTimedOut, ResponseTruncated, SettingsError, TransportError
from pipeline.settings import Secret
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
_SHOWN: Final = 80
_NONE: Final = Secret()


class HttpClient:
    """One session per run. Use as an async context manager.

    Args:
        token: Sent as ``Authorization: Bearer``; never logged, never part of an error. An empty one is not sent.
        concurrency: Connections at most (HTTP/1.1: one per request in flight).
        timeout_s: Bound on a whole attempt, connection to last byte.
        clock: For latencies.
        query: Send the token as this query parameter instead.
        gateway_token: Sent as ``cf-aig-authorization: Bearer`` beside it, unless it is empty.
    """

    def __init__(
        self,
        *,
        token: Secret,
        concurrency: int,
        timeout_s: float,
        clock: Clock,
        query: str | None = None,
        gateway_token: Secret = _NONE,
    ) -> None:
        self._token = token
        self._gateway_token = gateway_token
        self._query = query if token else None
        self._hidden = tuple(map(Secret, self._secrets()))
        self._concurrency = concurrency
        self._timeout = aiohttp.ClientTimeout(total=timeout_s, sock_connect=min(_CONNECT_SECONDS, timeout_s))
        self._clock = clock
        self._session: aiohttp.ClientSession | None = None
        self._stranger: aiohttp.ClientSession | None = None
        self._proxies: dict[str | None, str | None] = {}

    async def __aenter__(self) -> Self:
        headers: dict[str, str] = {}
        if self._token and self._query is None:
            headers["Authorization"] = f"Bearer {self._token.reveal()}"
        if self._gateway_token:
            headers["cf-aig-authorization"] = f"Bearer {self._gateway_token.reveal()}"
        self._session = self._new_session(headers)
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        for session in (self._session, self._stranger):
            if session is not None:
                await session.close()

    def _new_session(self, headers: dict[str, str]) -> aiohttp.ClientSession:
        return aiohttp.ClientSession(
            connector=aiohttp.TCPConnector(limit=self._concurrency, ttl_dns_cache=300),
            cookie_jar=aiohttp.DummyCookieJar(),
            timeout=self._timeout,
            headers={**headers, "User-Agent": USER_AGENT},
        )

    async def send(self, request: HttpRequest) -> HttpResponse:
        """POST once and read the whole answer.

        Raises:
            ConnectFailed: Nothing was sent.
            RequestTimedOut: No complete answer within `timeout_s`.
            ResponseTruncated: The answer broke off, was garbled, or is larger than 32 MiB.
            SettingsError: The environment names a proxy that is none.
        """
        assert self._session is not None, "use HttpClient as a context manager"
        return await self._exchange(self._session, "POST", self._addressed(request))

    async def get(self, url: str) -> HttpResponse:
        """GET once; the same errors as `send`."""
        assert self._session is not None, "use HttpClient as a context manager"
        return await self._exchange(self._session, "GET", self._addressed(HttpRequest(url=url, body=b"")))

    async def fetch(self, url: str) -> HttpResponse:
        """GET once from whomever, without any secret: from a session that never knew one. The same errors as `send`."""
        if self._stranger is None:
            self._stranger = self._new_session({})
        return await self._exchange(self._stranger, "GET", HttpRequest(url=url, body=b""))

    def _addressed(self, request: HttpRequest) -> HttpRequest:
        if self._query is None:
            return request
        sign = "&" if "?" in request.url else "?"
        return replace(request, url=f"{request.url}{sign}{self._query}={quote(self._token.reveal(), safe='')}")

    async def _exchange(self, session: aiohttp.ClientSession, method: str, request: HttpRequest) -> HttpResponse:
        started = self._clock.monotonic()
        headers: dict[str, str] = {}
        # encoded=True: the model's slashes must reach the service as they are, and nothing else needs escaping
        url = URL(request.url, encoded=True)
        if url.host not in self._proxies:
            self._proxies[url.host] = environment_proxy(url)
        try:
            async with session.request(
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
        except UnicodeError:
            error: TransportError = ConnectFailed(
                f"cannot connect to {(url.host or '')[:_SHOWN]}: no host can have this name"
            )
        except (aiohttp.ClientError, TimeoutError, OSError) as exc:
            error = _translated(exc, self._timeout.total or 0.0)
        # raised outside the handler: a chained aiohttp error would carry the token in its repr
        error.neurons = amount(headers.get(_NEURONS))
        raise error

    def _secrets(self) -> Iterator[str]:
        """What must not come back: the secrets, also as they stand in an address."""
        for secret in (self._token, self._gateway_token):
            text = secret.reveal()
            if len(text) >= _SHORTEST_TOKEN:
                yield text
                if self._query is not None and (escaped := quote(text, safe="")) != text:
                    yield escaped

    def _without_token(self, text: str) -> str:
        """Take secrets out of what came back: a server that echoes the request must not get them into rows or logs."""
        for secret in self._hidden:
            text = text.replace(secret.reveal(), _HIDDEN)
        return text

    def _body_without_token(self, body: bytes) -> bytes:
        for secret in self._hidden:
            body = body.replace(secret.reveal().encode(), _HIDDEN.encode())
        return body


def environment_proxy(url: URL) -> str | None:
    """Return the proxy that the environment names for a URL (HTTPS_PROXY, NO_PROXY …); none for this machine itself.

    Asked once per host: aiohttp's `trust_env` looks it up for every request, and reads ~/.netrc in a thread each time,
    which cost more CPU than the request (half of 2 ms, measured with aiohttp 3.14.5, 2026-11-22).

    Raises:
        SettingsError: It names none that can be used. Its value is not shown: it may hold a password.
    """
    if url.host is None or is_loopback_url(str(url)) or proxy_bypass(url.host):
        return None
    named = getproxies().get(url.scheme)
    if not named:
        return None
    address = named if "://" in named else f"http://{named}"  # as curl reads it
    if not _is_proxy(address):
        problem = "names no proxy that can be used; write it as http://proxy.example:3128 (SOCKS is not spoken)"
        raise SettingsError(f"{url.scheme.upper()}_PROXY", problem)
    return address


def _is_proxy(address: str) -> bool:
    try:
        parts = URL(address)
        return parts.scheme in ("http", "https") and bool(parts.host) and address.isprintable() and " " not in address
    except ValueError:
        return False


def _translated(exc: Exception, timeout_s: float) -> TransportError:
    """Map what aiohttp raises to what it means for us."""
    if isinstance(exc, aiohttp.ClientConnectorError | aiohttp.ConnectionTimeoutError):
        cause = exc.strerror if isinstance(exc, aiohttp.ClientConnectorError) else "no connection in time"
        host = f"{exc.host}:{exc.port}" if isinstance(exc, aiohttp.ClientConnectorError) else "the endpoint"
        return ConnectFailed(f"cannot connect to {host}: {cause or type(exc).__name__}")
    if isinstance(exc, aiohttp.ClientHttpProxyError):
        return ConnectFailed(f"the proxy of the environment let nothing through (HTTP {exc.status})")
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

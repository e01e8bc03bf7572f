"""Addresses a token may be sent to: https, or http to this machine itself."""

from __future__ import annotations

import ipaddress
import re
from typing import Final
from urllib.parse import urlsplit

GATEWAY_HOST: Final = "gateway.ai.cloudflare.com"
_CLOUDFLARE: Final = frozenset({"api.cloudflare.com", GATEWAY_HOST})
_OPENAI_PATH: Final = re.compile(r"/accounts/([0-9a-fA-F]{32})/ai/v1$")
_GATEWAY_PATH: Final = re.compile(r"/v1/([0-9a-fA-F]{32})/([A-Za-z0-9_-]+)(?:/workers-ai)?$")


def address_problem(value: str, *, example: str) -> str | None:
    """Say what is wrong with a base address, without showing it; None where nothing is.

    Args:
        value: As the user wrote it.
        example: A right one.
    """
    try:
        parts = urlsplit(value)
        host, _ = parts.hostname or "", parts.port
    except ValueError:
        return "is not a valid address"
    problem = None
    if not value.isascii() or not value.isprintable() or " " in value or "\\" in value:
        problem = "holds spaces or characters that no address has"
    elif parts.username is not None or parts.password is not None:
        problem = "holds a user name or password; the token has its own variable"
    elif parts.scheme not in ("https", "http") or not host:
        problem = f"is not an address such as {example}"
    elif "?" in value or "#" in value:
        problem = "holds a query or fragment (? or #); give only the address"
    elif parts.scheme == "http" and not is_loopback_host(host):
        problem = "http would send the token in the clear; use https (http only to 127.0.0.1, ::1 or localhost)"
    return problem


def is_loopback_url(url: str) -> bool:
    """Whether a URL names this machine itself."""
    return is_loopback_host(urlsplit(url).hostname or "")


def is_loopback_host(host: str) -> bool:
    """Whether a host is this machine itself."""
    if host == "localhost":
        return True
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False


def is_public_host(host: str) -> bool:
    """Whether a host may be asked for a file that somebody else named: no address of a private network."""
    if not host or host == "localhost" or host.endswith((".localhost", ".local", ".internal")):
        return False
    try:
        return ipaddress.ip_address(host).is_global
    except ValueError:
        return "." in host and not host.rsplit(".", 1)[-1].isdigit()


def origin_of(url: str) -> str:
    """Scheme, host and port of a URL, as they are written."""
    parts = urlsplit(url)
    return f"{parts.scheme}://{parts.netloc}"


def account_in(url: str) -> str:
    """The account whose OpenAI-compatible address or gateway address of Cloudflare a URL is; "" for any other."""
    path = urlsplit(url).path
    found = _OPENAI_PATH.search(path) or _GATEWAY_PATH.search(path)
    return found[1].lower() if found is not None else ""


def is_cloudflare(url: str) -> bool:
    """Whether neurons are counted there: Cloudflare's hosts, or the path of its OpenAI-compatible interface."""
    parts = urlsplit(url)
    return parts.hostname in _CLOUDFLARE or _OPENAI_PATH.search(parts.path) is not None


def may_have_cloudflares_token(url: str) -> bool:
    """Whether a job spec may send Cloudflare's token there: to Cloudflare, or to a stand-in on this machine.

    A spec may come from somebody else; only the environment, which is the user's own, can name another host.
    """
    return urlsplit(url).hostname in _CLOUDFLARE or is_loopback_url(url)


def gateway_url(base_url: str, account_id: str, gateway: str | None) -> str | None:
    """The address before the model's name, where `base_url` is an AI Gateway by its older host form.

    ``https://gateway.ai.cloudflare.com/v1/{account}/{gateway}/workers-ai``: npm workers-ai-provider 4.0.0 (2026-08-22)
    still uses it. Any host may stand before that path (a stand-in on this machine); Cloudflare's host alone is enough
    where account and gateway are known otherwise.

    Returns:
        None for the ordinary interface.

    Raises:
        ValueError: It is Cloudflare's gateway host, and neither the address nor `gateway` names the gateway.
    """
    parts = urlsplit(base_url)
    found = _GATEWAY_PATH.search(parts.path)
    if found is not None:
        return base_url.removesuffix("/workers-ai") + "/workers-ai"
    if parts.hostname != GATEWAY_HOST:
        return None
    if not gateway or parts.path not in ("", "/", "/v1"):
        raise ValueError(
            f"should be https://{GATEWAY_HOST}/v1/<account>/<gateway>/workers-ai,"
            f" or https://{GATEWAY_HOST} with endpoint.gateway"
        )
    return f"{origin_of(base_url)}/v1/{account_id}/{gateway}/workers-ai"


def api_url(base_url: str, default: str) -> str:
    """Where the rest of Cloudflare's API is, for an address that may be a gateway's."""
    parts = urlsplit(base_url)
    if parts.hostname == GATEWAY_HOST:
        return default
    return f"{origin_of(base_url)}/client/v4" if _GATEWAY_PATH.search(parts.path) else base_url

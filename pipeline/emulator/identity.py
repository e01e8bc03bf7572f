"""Who calls: routes, account ids and tokens, judged as the live service does.

Observed statuses: 404 / 7003 malformed account id, 401 / 10000 no or wrong token, 400 / 9106 junk token, 403 / 10000 an
account the token may not use, 400 / 7000 an encoded slash. Any token is good here unless its form says otherwise.
"""

from __future__ import annotations

import re
from typing import Final

from aiohttp import web

from pipeline.emulator.refusals import Refusal

FORBIDDEN_ACCOUNT: Final = "f" * 32
SHORTEST_TOKEN: Final = 8

TOLERANT: Final = web.AppKey("tolerant", bool)
"""Where an application says that encoded slashes pass: for clients of others, which send them."""

_ACCOUNT: Final = re.compile(r"[0-9a-fA-F]{32}")


def check_token(request: web.Request) -> str:
    """Return the bearer token.

    Raises:
        Refusal: It is missing, malformed or (beginning with ``bad``) wrong.
    """
    scheme, _, token = request.headers.get("authorization", "").partition(" ")
    token = token.strip()
    if scheme.lower() != "bearer" or not token:
        raise Refusal(10000)
    if len(token) < SHORTEST_TOKEN or " " in token:
        raise Refusal(9106)
    if token.startswith("bad"):
        raise Refusal(10000)
    return token


def check_account(request: web.Request) -> str:
    """Return the account id of the path, after the route and the token have been judged.

    Raises:
        Refusal: Route, account or token are not acceptable.
    """
    if "%2f" in request.rel_url.raw_path.lower() and not request.app.get(TOLERANT, False):
        raise Refusal(7000)
    account = request.match_info["account"]
    if _ACCOUNT.fullmatch(account) is None:
        raise Refusal(7003, f"Could not route to /accounts/{account}, perhaps your object identifier is invalid?")
    check_token(request)
    if account.lower() == FORBIDDEN_ACCOUNT:
        raise Refusal(10000, status=403)
    return account.lower()

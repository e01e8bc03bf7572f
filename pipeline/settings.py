"""Account, token, address and state folder, from the environment or a ``.env`` file.

Takes the environment, hands on `Settings`. The environment wins over ``.env`` in the working directory. Never prints a
value it refuses: people paste tokens into the wrong place. Imports neither the spec nor the catalogue.
"""

from __future__ import annotations

import hmac
import os
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final, NoReturn

from pipeline.addresses import address_problem
from pipeline.errors import SettingsError

DEFAULT_BASE_URL: Final = "https://api.cloudflare.com/client/v4"

ACCOUNT_ID: Final = "CLOUDFLARE_ACCOUNT_ID"
API_TOKEN: Final = "CLOUDFLARE_API_TOKEN"  # noqa: S105 - the name of the variable
BASE_URL: Final = "CLOUDFLARE_BASE_URL"
STATE_DIR: Final = "WAI_STATE_DIR"
LEDGER_NAME: Final = "ledger.sqlite3"
GATEWAY_TOKEN: Final = "CLOUDFLARE_AIG_TOKEN"  # noqa: S105 - the name of the variable

_MAX_ENV_BYTES: Final = 1 << 20
_HEX_32: Final = re.compile(r"[0-9a-fA-F]{32}")
_MISTAKEN: Final = tuple(
    (re.compile(pattern), words)
    for pattern, words in (
        (r"/", "looks like an address; give only the account id in it"),
        (r"^[0-9a-fA-F]{8}(-[0-9a-fA-F]{4}){3}-[0-9a-fA-F]{12}$", "is written with dashes"),
        (r"^[A-Za-z0-9_-]{36,}$", f"looks like an API token, which belongs in {API_TOKEN}"),
        (r"@", "looks like an e-mail address"),
        (r"^[A-Za-z0-9-]+(\.[A-Za-z0-9-]+)+$", "looks like the name of a zone (a domain)"),
    )
)
_FIND_ID: Final = "it is the 32 characters after dash.cloudflare.com/ in the address bar of the dashboard"
_NO_KEY: Final = "not set; endpoint.api_key_env names it as the variable that holds the server's key"
_FIND_TOKEN: Final = (
    "create one with the permission Workers AI: Read at dash.cloudflare.com/profile/api-tokens "  # noqa: S105 - help
    "and put it into the environment or a .env file"
)


class Secret:
    """A text that does not print, log, format or pickle itself."""

    __slots__ = ("_value",)
    _value: str

    def __init__(self, value: str = "") -> None:
        object.__setattr__(self, "_value", value)

    def reveal(self) -> str:
        """Return the text, for the one place that sends it."""
        return self._value

    def __repr__(self) -> str:
        return "***"

    __str__ = __repr__

    def __format__(self, format_spec: str) -> str:
        return "***"

    def __eq__(self, other: object) -> bool:
        if not isinstance(other, Secret):
            return NotImplemented
        return hmac.compare_digest(self.reveal().encode(), other.reveal().encode())

    def __hash__(self) -> int:
        return hash((Secret, self.reveal()))

    def __bool__(self) -> bool:
        return bool(self.reveal())

    def __setattr__(self, name: str, value: object) -> NoReturn:
        raise AttributeError("a secret does not change")

    def __copy__(self) -> Secret:
        return self

    def __deepcopy__(self, memo: object) -> Secret:
        return self

    def __reduce__(self) -> NoReturn:
        raise TypeError("a secret is not pickled")


@dataclass(frozen=True, slots=True, kw_only=True)
class Settings:
    """Who asks, and where.

    Attributes:
        account_id: 32 lower-case hexadecimal digits; empty where credentials were not needed.
        api_token: Empty where credentials were not needed.
        base_url: Without a trailing slash; https, or http to this machine.
        state_dir: Absolute folder of the ledger; may not exist yet.
        warnings: One sentence each, for the user.
        gateway_token: For an AI Gateway that asks for one of its own, empty where none is set.
        keys: Keys of other servers, by the name of their variable.
    """

    account_id: str
    api_token: Secret
    base_url: str
    state_dir: Path
    warnings: tuple[str, ...] = ()
    gateway_token: Secret = field(default_factory=Secret)
    keys: Mapping[str, Secret] = field(default_factory=dict)

    def key(self, name: str) -> Secret:
        """Return the key in a variable that a job names.

        Raises:
            SettingsError: It is not set.
        """
        if not self.keys.get(name):
            raise SettingsError(name, _NO_KEY)
        return self.keys[name]

    @property
    def ledger(self) -> Path:
        """File of the book."""
        return self.state_dir / LEDGER_NAME

    def cache(self, *, simulated: bool) -> Path:
        """File of the answers that may serve again; simulated ones have their own."""
        return self.state_dir / ("cache-simulated.sqlite3" if simulated else "cache.sqlite3")


def load_settings(
    environ: Mapping[str, str] | None = None,
    cwd: Path | None = None,
    *,
    need_credentials: bool,
    keys: Sequence[str] = (),
) -> Settings:
    """Read and check the settings.

    Args:
        environ: Default: the environment of the process. An empty variable counts as absent.
        cwd: Where ``.env`` is looked for and relative folders begin. Default: the working directory.
        need_credentials: False leaves account and token empty, whatever the environment says: a rehearsal must not be
            able to spend.
        keys: Names of further variables that hold keys; they are needed.

    Raises:
        SettingsError: A variable is missing or unusable; the message never holds its value.
    """
    environ = os.environ if environ is None else environ
    cwd = Path.cwd() if cwd is None else cwd
    values, warnings = _values(environ, cwd, keys)
    account_id, token = "", Secret()
    if need_credentials:
        account_id = _account_id(values.get(ACCOUNT_ID, ""))
        token = _token(values.get(API_TOKEN, ""), account_id)
    return Settings(
        account_id=account_id,
        api_token=token,
        base_url=_base_url(values.get(BASE_URL, "")),
        state_dir=_state_dir(values.get(STATE_DIR, ""), cwd),
        warnings=warnings,
        gateway_token=_header_text(GATEWAY_TOKEN, values[GATEWAY_TOKEN]) if need_credentials else Secret(),
        keys={name: _key(name, values[name]) for name in keys},
    )


def known_account(environ: Mapping[str, str] | None = None, cwd: Path | None = None) -> str:
    """Return the account id if one is set and well formed, else an empty text: for reading the ledger only."""
    values, _ = _values(os.environ if environ is None else environ, Path.cwd() if cwd is None else cwd)
    value = values.get(ACCOUNT_ID, "")
    return value.lower() if _HEX_32.fullmatch(value) else ""


def other_account(account_id_env: str | None, api_key_env: str | None, settings: Settings) -> tuple[str, Secret]:
    """Return account id and token from the variables that an endpoint names; what it does not name is the usual one.

    Raises:
        SettingsError: A variable is missing or unusable; the message never holds its value.
    """
    names = tuple(name for name in (account_id_env, api_key_env) if name)
    values, _ = _values(os.environ, Path.cwd(), names)
    account_id = settings.account_id
    if account_id_env:
        account_id = _account_id(values[account_id_env], account_id_env)
    if not api_key_env:
        return account_id, settings.api_token
    return account_id, _token(values[api_key_env], account_id, api_key_env)


def _values(environ: Mapping[str, str], cwd: Path, keys: Sequence[str] = ()) -> tuple[dict[str, str], tuple[str, ...]]:
    """Merge environment and ``.env``; only the names that are ours are kept."""
    names = (ACCOUNT_ID, API_TOKEN, BASE_URL, STATE_DIR, GATEWAY_TOKEN, *keys)
    from_file, warnings = _dotenv(cwd / ".env")
    merged = {name: environ.get(name) or from_file.get(name) or "" for name in names}
    return merged, warnings if any(from_file.get(name) for name in (API_TOKEN, GATEWAY_TOKEN, *keys)) else ()


def _dotenv(path: Path) -> tuple[Mapping[str, str | None], tuple[str, ...]]:
    # A folder named .env is usually a virtual environment: not ours, no error.
    if not path.is_file():
        return {}, ()
    from dotenv import dotenv_values  # noqa: PLC0415 - only where there is such a file

    try:
        status = path.stat()
        if status.st_size > _MAX_ENV_BYTES:
            raise SettingsError(".env", "larger than 1 MiB; this is not a list of variables")
        values = dotenv_values(path, interpolate=False, encoding="utf-8-sig")
    except OSError as exc:
        raise SettingsError(".env", f"cannot be read: {exc.strerror}") from exc
    except UnicodeDecodeError as exc:
        raise SettingsError(".env", "is not UTF-8 text") from exc
    warnings: tuple[str, ...] = ()
    if os.name == "posix" and status.st_mode & 0o077:
        warnings = (f"{path} holds the token and others can read it; chmod 600 .env",)
    return values, warnings


def _account_id(value: str, name: str = ACCOUNT_ID) -> str:
    """Check an account id; say what a wrong one looks like without showing it."""
    if not value:
        raise SettingsError(name, f"not set; {_FIND_ID}")
    if _HEX_32.fullmatch(value):
        return value.lower()
    raise SettingsError(name, f"{_what_instead_of_id(value)}; an account id is 32 hexadecimal digits: {_FIND_ID}")


def _what_instead_of_id(value: str) -> str:
    bare = value.strip().strip("'\"").strip()
    if _HEX_32.fullmatch(bare):
        return "has quotes or spaces around it"
    for pattern, words in _MISTAKEN:
        if pattern.search(bare):
            return words
    return f"is not an account id ({len(value)} characters)"


def _token(value: str, account_id: str, name: str = API_TOKEN) -> Secret:
    """Check what would break a header or certainly be refused; never show it."""
    if not value:
        raise SettingsError(name, f"not set; {_FIND_TOKEN}")
    problem = None
    if value.lower() == account_id:
        problem = "is the account id; the token is another value"
    elif re.fullmatch(r"[0-9a-f]{37}", value):
        problem = f"looks like the Global API Key, which cannot be used; {_FIND_TOKEN}"
    if problem:
        raise SettingsError(API_TOKEN, problem)
    return _header_text(API_TOKEN, value)


def _key(name: str, value: str) -> Secret:
    """Check the key of another server."""
    if not value:
        raise SettingsError(name, _NO_KEY)
    return _header_text(name, value)


def _header_text(name: str, value: str) -> Secret:
    """Check what would break a header; never show it. An empty text is none."""
    if not value:
        return Secret()
    problem = None
    if re.match(r"bearer\s", value, re.IGNORECASE):
        problem = 'begins with "Bearer "; give only what comes after it'
    elif value != value.strip():
        problem = "has spaces or a line break around it"
    elif value[0] in "'\"" or value[-1] in "'\"":
        problem = "has quotes around it; the quotes are not part of it"
    elif not value.isascii() or not value.isprintable() or " " in value:
        problem = "holds spaces or characters that no token has; copy it again"
    if problem:
        raise SettingsError(name, problem)
    return Secret(value)


def _base_url(value: str) -> str:
    """Check the address the token will be sent to."""
    if not value:
        return DEFAULT_BASE_URL
    problem = address_problem(value, example=DEFAULT_BASE_URL)
    if problem is None and "/accounts" in value:
        problem = "leave out /accounts/…; it is added"
    if problem:
        raise SettingsError(BASE_URL, problem)
    return value.rstrip("/")


def _state_dir(value: str, cwd: Path) -> Path:
    if value:
        try:
            folder = cwd / Path(value).expanduser()
        except RuntimeError:
            raise SettingsError(STATE_DIR, "names a home folder (~) that is not known") from None
    else:
        import platformdirs  # noqa: PLC0415 - only where the default is asked for

        folder = platformdirs.user_state_path("wai", appauthor=False)
    if folder.exists() and not folder.is_dir():
        raise SettingsError(STATE_DIR, f"{folder} is a file; name a folder")
    return folder.absolute()

"""Secrets that got into a job spec or onto the command line by mistake: told as that, and never repeated."""

from __future__ import annotations

import re
from typing import Final

WHERE_INSTEAD: Final = (
    "secrets do not belong into a job spec: put this one into an environment variable, CLOUDFLARE_API_TOKEN for"
    " Cloudflare's, any other name for another server's, and give that name in endpoint.api_key_env"
)

NO_VARIABLE: Final = (
    "should be the name of an environment variable such as OTHER_KEY; what the variable holds is never written here"
)

_KEYS: Final = re.compile(r"key|token|passw|secret|auth|base_url|_env$", re.IGNORECASE)
_KEY: Final = re.compile(r"(?:api_?)?(?:key|token)|password|secret|authorization|bearer", re.IGNORECASE)
_LONGEST_WORD: Final = 20


def is_secrets_key(key: str) -> bool:
    """Whether somebody who writes this key means the secret itself."""
    return _KEY.fullmatch(key.replace("-", "_")) is not None


def looks_secret(text: str) -> bool:
    """Whether a name is more likely a secret: a word in it is long and holds digits, as no name does."""
    return any(len(word) >= _LONGEST_WORD and any(map(str.isdigit, word)) for word in text.split("_"))


def shown_override(text: str) -> str:
    """A ``--set`` as messages may repeat it: without the value where that may be a secret."""
    key = text.partition("=")[0].strip().partition(" ")[0]
    return f"--set {key}=…" if _KEYS.search(key) else f"--set {text}"

"""The kinds of endpoint: what each serves, and what a job spec must say of it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from types import MappingProxyType
from typing import Final

from pipeline.addresses import api_url, gateway_url, is_cloudflare, is_loopback_url, may_have_cloudflares_token
from pipeline.errors import PlanError
from pipeline.settings import API_TOKEN, DEFAULT_BASE_URL, GATEWAY_TOKEN, Settings
from pipeline.spec import EndpointSpec

_CLOUDFLARES: Final = frozenset({API_TOKEN, GATEWAY_TOKEN})


@dataclass(frozen=True, slots=True, kw_only=True)
class EndpointKind:
    """What is true of all endpoints of a kind.

    Attributes:
        tasks: Tasks of the job spec it can do; None for all.
        needs_url: There is no address to fall back on.
        model: What its model is called where the job names none; None where the job must name one.
        key_in: Where its key travels: ``header``, or the name of a query parameter.
    """

    tasks: frozenset[str] | None = None
    needs_url: bool = True
    model: str | None = None
    key_in: str = "header"


KINDS: Final[Mapping[str, EndpointKind]] = MappingProxyType(
    {
        "workers-ai": EndpointKind(needs_url=False),
        "emulator": EndpointKind(needs_url=False),
        "openai": EndpointKind(
            tasks=frozenset({"generate", "summarize", "classify", "embed", "transcribe"}), needs_url=False
        ),
        "deeplx": EndpointKind(tasks=frozenset({"translate"}), model="deeplx", key_in="password"),
        "whisper-worker": EndpointKind(tasks=frozenset({"transcribe"}), model="@cf/openai/whisper-large-v3-turbo"),
        "image-worker": EndpointKind(tasks=frozenset({"image"})),
    }
)
"""By name."""


def base_url_of(endpoint: EndpointSpec, settings: Settings) -> str:
    """Where the requests of an endpoint go.

    Cloudflare's own OpenAI-compatible interface where ``openai`` names no address
    (developers.cloudflare.com/workers-ai/configuration/open-ai-compatibility/, 2026-09-17).
    """
    if endpoint.base_url is not None:
        return endpoint.base_url
    if endpoint.kind == "openai":
        account = settings.account_id or "<account>"
        return f"{api_url(settings.base_url, DEFAULT_BASE_URL)}/accounts/{account}/ai/v1"
    return settings.base_url


def needs_account(endpoint: EndpointSpec) -> bool:
    """Whether Cloudflare's account and token are needed."""
    return endpoint.kind == "workers-ai" or (endpoint.kind == "openai" and endpoint.base_url is None)


def counts_neurons(endpoint: EndpointSpec) -> bool:
    """Whether Cloudflare answers there itself, and neurons are charged."""
    if endpoint.kind == "openai" and endpoint.base_url is not None:
        return is_cloudflare(endpoint.base_url)
    return endpoint.kind in {"workers-ai", "emulator", "openai"}


def check_endpoint(endpoint: EndpointSpec, task: str, settings: Settings, *, reconciles: bool = False) -> None:
    """Refuse what an endpoint of its kind cannot do.

    Args:
        endpoint: As the spec has it.
        task: Of the job spec.
        settings: Base URL.
        reconciles: Whether Cloudflare is to be asked what the account used.

    Raises:
        PlanError: Says which key is at fault.
    """
    kind = KINDS[endpoint.kind]
    if kind.tasks is not None and task not in kind.tasks:
        others = ", ".join(name for name, other in KINDS.items() if other.tasks is None or task in other.tasks)
        raise PlanError(
            f"{endpoint.kind} serves {_listed(kind.tasks)}, not {task}; kinds that do: {others}", key="endpoint.kind"
        )
    if endpoint.mode == "queue" and endpoint.kind not in {"workers-ai", "emulator"}:
        raise PlanError("the queue is Cloudflare's own; this server has none", key="endpoint.mode")
    _check_address(endpoint, kind, settings)
    _check_key(endpoint)
    if reconciles and not counts_neurons(endpoint):
        raise PlanError("this server is not Cloudflare's, and has no count of neurons to ask", key="budget.reconcile")
    is_keeping = endpoint.cache_ttl_seconds is not None or endpoint.skip_cache
    if endpoint.gateway and not counts_neurons(endpoint):
        raise PlanError("an AI Gateway stands before Cloudflare only, not before this server", key="endpoint.gateway")
    if is_keeping and not goes_through_gateway(endpoint, settings):
        key = "cache_ttl_seconds" if endpoint.cache_ttl_seconds is not None else "skip_cache"
        raise PlanError("the cache is the AI Gateway's; name one with endpoint.gateway", key=f"endpoint.{key}")


def goes_through_gateway(endpoint: EndpointSpec, settings: Settings) -> bool:
    """Whether answers come through an AI Gateway, by either form."""
    if not counts_neurons(endpoint):
        return False
    if endpoint.gateway or endpoint.kind != "workers-ai":
        return endpoint.gateway is not None
    return gateway_url(base_url_of(endpoint, settings), "", endpoint.gateway) is not None


def _check_address(endpoint: EndpointSpec, kind: EndpointKind, settings: Settings) -> None:
    if endpoint.base_url is None and kind.needs_url:
        raise PlanError(f"missing; {endpoint.kind} needs the address of the server", key="endpoint.base_url")
    if endpoint.base_url is not None and endpoint.kind == "emulator":
        raise PlanError("the emulator is started by the run and has no address to name", key="endpoint.base_url")
    if endpoint.kind != "workers-ai":
        return
    if endpoint.base_url is not None and not may_have_cloudflares_token(endpoint.base_url):
        raise PlanError(
            "a job spec sends Cloudflare's token to Cloudflare only; set CLOUDFLARE_BASE_URL for another host,"
            " or choose another endpoint.kind",
            key="endpoint.base_url",
        )
    if endpoint.base_url is not None and "/accounts" in endpoint.base_url:
        raise PlanError("leave out /accounts/…; it is added", key="endpoint.base_url")
    try:
        gateway_url(base_url_of(endpoint, settings), "", endpoint.gateway)
    except ValueError as exc:
        where = "" if endpoint.base_url is not None else "CLOUDFLARE_BASE_URL "
        raise PlanError(f"{where}{exc}", key="endpoint.base_url") from None


def _check_key(endpoint: EndpointSpec) -> None:
    if endpoint.api_key_in is not None and endpoint.kind in {"workers-ai", "emulator"}:
        raise PlanError("is for other servers; Cloudflare takes its token in a header", key="endpoint.api_key_in")
    if endpoint.account_id_env is not None and not needs_account(endpoint):
        raise PlanError("is for Cloudflare's accounts; this server has none", key="endpoint.account_id_env")
    if endpoint.api_key_in is not None and endpoint.api_key_env is None:
        raise PlanError("says where a key goes, and endpoint.api_key_env names none", key="endpoint.api_key_in")
    url = endpoint.base_url
    if endpoint.api_key_env in _CLOUDFLARES and url is not None and not may_have_cloudflares_token(url):
        raise PlanError("Cloudflare's token goes to Cloudflare only, not to this server", key="endpoint.api_key_env")
    if endpoint.kind == "openai" and url is not None and endpoint.api_key_env is None and not is_loopback_url(url):
        raise PlanError(
            "missing; name the environment variable that holds the key of the server", key="endpoint.api_key_env"
        )


def _listed(names: frozenset[str]) -> str:
    return ", ".join(sorted(names))

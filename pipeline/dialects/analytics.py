"""Cloudflare's own count of what an account used: the query, and what its answers mean. Pure.

Source: GraphQL Analytics API, dataset ``aiInferenceAdaptiveGroups``, in the form ten public clients use (2026-11-22).
The token needs the permission "Account Analytics: Read"; figures lag by minutes and are sampled.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Mapping
from datetime import UTC, date, datetime, time
from typing import Final

import orjson

from pipeline.dialects.body import unwrap
from pipeline.errors import AnalyticsRefused, AnalyticsUnavailable
from pipeline.wire import HttpRequest, HttpResponse

DATASET: Final = "aiInferenceAdaptiveGroups"
PERMISSION: Final = "Account Analytics: Read"
_QUERY: Final = (
    "query($account:String!,$since:Time,$until:Time){viewer{accounts(filter:{accountTag:$account}){"
    f"{DATASET}(limit:1000,filter:{{datetime_geq:$since,datetime_leq:$until}},orderBy:[sum_totalNeurons_DESC])"
    "{dimensions{modelId date} sum{totalNeurons}}}}}"
)
_REFUSED: Final = 401
_FORBIDDEN: Final = 403
_MOST: Final = 1e9
"""Neurons of a model and day beyond which a figure is no count; 1e9 would cost $11,000."""


def usage_request(base_url: str, account_id: str, day: date) -> HttpRequest:
    """Ask what an account used on a UTC day."""
    midnight = datetime.combine(day, time(), tzinfo=UTC)
    variables = {
        "account": account_id,
        "since": f"{midnight:%Y-%m-%dT%H:%M:%SZ}",
        "until": f"{midnight:%Y-%m-%dT}23:59:59Z",
    }
    return HttpRequest(
        url=f"{base_url}/graphql",
        body=orjson.dumps({"query": _QUERY, "variables": variables}),
        headers={"Content-Type": "application/json"},
    )


def read_usage_by_model(response: HttpResponse, day: date) -> Mapping[str, float]:
    """Return neurons by model.

    Raises:
        AnalyticsRefused: The token may not ask.
        AnalyticsUnavailable: The answer is not what the dataset gives.
    """
    try:
        body = orjson.loads(response.body)
    except orjson.JSONDecodeError:
        body = None
    said = _complaint(body)
    if response.status == _REFUSED:
        raise AnalyticsRefused("Cloudflare refused the token (HTTP 401); look into it with: wai check")
    if response.status == _FORBIDDEN or "authoriz" in said.lower():
        raise AnalyticsRefused(
            "the token may not read what the account used; give it the permission "
            f'"{PERMISSION}", or leave reconciling out'
        )
    if response.status != 200 or said or not isinstance(body, dict):
        raise AnalyticsUnavailable(
            f"Cloudflare's analytics did not answer (HTTP {response.status}): {said or 'no JSON'}"
        )
    try:
        found: dict[str, float] = defaultdict(float)
        (account,) = body["data"]["viewer"]["accounts"]
        for group in account[DATASET]:
            neurons = float(group["sum"]["totalNeurons"])
            if not 0.0 <= neurons <= _MOST:
                raise ValueError(neurons)
            if str(group["dimensions"].get("date") or day)[:10] == day.isoformat():
                found[str(group["dimensions"]["modelId"])] += neurons
    except (KeyError, TypeError, ValueError, AttributeError):
        raise AnalyticsUnavailable("Cloudflare's analytics answered in a form that is not known here") from None
    return dict(found)


def _complaint(body: object) -> str:
    errors = body.get("errors") if isinstance(body, dict) else None
    if isinstance(errors, list) and errors:
        message = errors[0].get("message") if isinstance(errors[0], dict) else None
        return unwrap(message) if isinstance(message, str) else "refused"
    return ""

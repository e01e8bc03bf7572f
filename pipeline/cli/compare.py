"""`wai budget --reconcile`: what Cloudflare says the account used today, beside the local book."""

from __future__ import annotations

import asyncio

from pipeline.addresses import api_url
from pipeline.budget import Ledger
from pipeline.client import HttpClient
from pipeline.clock import SystemClock
from pipeline.reconcile import Comparison, reconcile
from pipeline.settings import DEFAULT_BASE_URL, load_settings


def compare_with_cloudflare() -> Comparison:
    """Ask once, and book what the account used elsewhere.

    Raises:
        AnalyticsUnavailable: The token may not ask, or no count came.
        SettingsError: Account or token are missing.
    """
    return asyncio.run(_compare())


async def _compare() -> Comparison:
    settings, clock = load_settings(need_credentials=True), SystemClock()
    base_url = api_url(settings.base_url, DEFAULT_BASE_URL)
    client = HttpClient(
        token=settings.api_token,
        concurrency=1,
        timeout_s=30.0,
        clock=clock,
    )
    with Ledger(settings.ledger, clock) as ledger:
        async with client:
            return await reconcile(client, ledger, base_url=base_url, account_id=settings.account_id)

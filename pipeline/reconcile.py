"""Compares the local book with what Cloudflare says the account used today, and takes the higher as spent.

The local book knows the runs of this machine. Production traffic, another laptop, the dashboard: only Cloudflare knows.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from datetime import date
from typing import Final

from pipeline.budget import Ledger, Reconciled
from pipeline.client import HttpClient
from pipeline.clock import Clock
from pipeline.dialects.analytics import read_usage_by_model, usage_request
from pipeline.errors import AnalyticsUnavailable, AttemptError
from pipeline.threads import in_thread
from pipeline.words import neurons

_PATIENCE_S: Final = 10.0
_EVERY_S: Final = 600.0


@dataclass(frozen=True, slots=True)
class Comparison:
    """Both counts of one account and day. Neurons.

    Attributes:
        account: Who was asked about, as the book names it.
        day: UTC day.
        totals: Of the account; what counts as spent elsewhere is booked.
        theirs: By model, as Cloudflare counts.
    """

    account: str
    day: date
    totals: Reconciled
    theirs: Mapping[str, float]


async def reconcile(
    client: HttpClient, ledger: Ledger, *, base_url: str, account_id: str, book: str | None = None
) -> Comparison:
    """Ask, compare and book.

    Args:
        client: With the account's token.
        ledger: The book.
        base_url: Of the API.
        account_id: Whom to ask for.
        book: Name of the account in the book where that differs (a rehearsal has a book of its own).

    Raises:
        AnalyticsUnavailable: No count could be had; the book is as it was.
    """
    account = book or account_id
    day = await in_thread(lambda: ledger.day(account))
    try:
        async with asyncio.timeout(_PATIENCE_S):
            response = await client.send(usage_request(base_url, account_id, day))
    except TimeoutError:
        raise AnalyticsUnavailable(f"Cloudflare's analytics did not answer within {_PATIENCE_S:g} s") from None
    except AttemptError as error:
        raise AnalyticsUnavailable(f"Cloudflare's analytics could not be asked: {error}") from None
    theirs = read_usage_by_model(response, day)
    total = sum(theirs.values())
    return Comparison(account, day, await in_thread(lambda: ledger.reconcile(account, day, total)), theirs)


class Reconciler:
    """Keeps one account's book in step with Cloudflare's count while a run goes on; says each thing once.

    Args:
        client, ledger, base_url, account_id, book: As for `reconcile`.
        tell: Takes one line for a person.
    """

    def __init__(
        self,
        client: HttpClient,
        ledger: Ledger,
        *,
        base_url: str,
        account_id: str,
        book: str,
        tell: Callable[[str], None],
    ) -> None:
        self._client, self._ledger = client, ledger
        self._base_url, self._account_id, self._book = base_url, account_id, book
        self._tell = tell
        self._said = ""

    async def once(self) -> None:
        """Book what the account used elsewhere; where that cannot be had, say so."""
        try:
            seen = await reconcile(
                self._client, self._ledger, base_url=self._base_url, account_id=self._account_id, book=self._book
            )
        except AnalyticsUnavailable as error:
            message = f"{error}. The run goes on with the local book"
        else:
            if not seen.totals.elsewhere:
                return
            elsewhere = neurons(seen.totals.elsewhere)
            message = f"Cloudflare says {elsewhere} neurons of today were used elsewhere: they count as spent"
        if message != self._said:
            self._said = message
            self._tell(message)

    async def keep_on(self, clock: Clock) -> None:
        """Do so every ten minutes, until cancelled."""
        while True:
            await clock.sleep(_EVERY_S)
            await self.once()

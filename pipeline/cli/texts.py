"""Plain text for the commands that only show things."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from datetime import timedelta

from pipeline.budget import Ledger
from pipeline.catalog import Catalog
from pipeline.cli.buys import what_it_buys
from pipeline.cli.terminal import shown
from pipeline.clock import SystemClock
from pipeline.planning import PlanReport
from pipeline.reconcile import Comparison
from pipeline.resolve import Job, Resolved, flatten
from pipeline.routes import LanePlan
from pipeline.schemas import takes_images
from pipeline.settings import load_settings
from pipeline.spec.model import InputSpec, JobSpec
from pipeline.storage import AnswerFile
from pipeline.words import counted, neurons

_SHOWN_FILES = 3


def plan_lines(report: PlanReport) -> list[str]:
    """What ``wai plan`` prints."""
    job, spec = report.job, report.job.spec
    more = f" and {len(report.files) - _SHOWN_FILES:,} more" if len(report.files) > _SHOWN_FILES else ""
    lines = [
        f"{spec.name}: {spec.task} with {job.model.name}" + (" on the emulator" if job.embeds_emulator else ""),
        f"  input     {', '.join(report.files[:_SHOWN_FILES])}{more}",
        f"  records   {report.total:,}: {report.done:,} done, {report.failed:,} failed, {report.pending:,} pending"
        + (f" ({report.duplicates:,} equal to another one: sent once)" if report.duplicates else ""),
    ]
    if report.unsent:
        lines.append(f"  unsent    {report.unsent:,} need no request: their rows are made at no cost")
    if report.changed:
        lines.append(f"  changed   {report.changed:,} since they were answered: run with --replace-changed")
    if report.unusable:
        become = "will be a failure row" if report.unusable == 1 else "will be failure rows"
        lines.append(f"  unusable  {counted(report.unusable, 'record')} cannot be sent and {become}")
        lines.extend(f"            {place}" for place in report.first_unusable)
    seconds = report.seconds_at_rate_limit
    takes = str(timedelta(seconds=round(seconds))) if seconds >= 1 else "under a second"
    where = job.base_url.replace("<account>", "…")
    if where:
        lines.append(
            f"  server    {where}" + (f" ({spec.endpoint.kind})" if spec.endpoint.kind != "workers-ai" else "")
        )
    if len(job.lanes) > 1:
        lines.append(f"  endpoints {', '.join(map(_share, job.lanes))}")
    each = f" of up to {job.adapter.max_pieces:,} records" if job.adapter.max_pieces > 1 else ""
    lines.append(f"  requests  {report.requests:,}{each}, at {job.requests_per_minute:,} a minute: {takes}")
    if job.is_rate_guessed:
        lines.append(
            "            (a cautious pace: nobody has documented one for it; limits.requests_per_minute sets another)"
        )
    none = (
        " (the server counts none; model_info can give it prices)" if not (job.counts_neurons or report.at_most) else ""
    )
    lines.append(
        f"  neurons   about {neurons(report.expected)}, at most {neurons(report.at_most)} (one attempt each){none}"
    )
    if job.model.assumed_price:
        lines.append(
            "            (no price is published: reckoned at the dearest of the task; the service's meter decides)"
        )
    seen = report.forecast
    if seen.days:
        others = (
            f" ({neurons(spec.budget.reserve_for_others)} are left to others)" if spec.budget.reserve_for_others else ""
        )
        days = "today" if seen.days == 1 else f"in {seen.days:,} days, on {seen.finish_date}"
        again = (
            ""
            if spec.budget.when_spent == "wait" or seen.days == 1
            else " (run it each day, or budget.when_spent: wait)"
        )
        done = f": done {days}{again}"
        total, left = spec.budget.neurons_total, report.job_left
        if total is not None and left is not None and left < report.expected:
            done = f"; {neurons(left)} of neurons_total ({neurons(total)}) are left: not enough to finish, raise it"
        lines.append(
            f"  budget    {neurons(spec.budget.day)} a day{others}, {neurons(report.spent_today)} spent today{done}"
        )
        cost = (
            "nothing beyond the free allocation"
            if seen.usd_beyond_free < 0.005
            else f"about ${seen.usd_beyond_free:,.2f} beyond the free allocation"
        )
        lines.append(f"  costs     {cost}")
    lines.append(f"  output    {job.output}")
    lines.append("  values that are not defaults, and where they come from:")
    chosen = _chosen(job)
    width = max((len(key) for key in chosen), default=0)
    lines.extend(f"    {key:<{width}}  {_short(value.value)}  ({value.origin})" for key, value in chosen.items())
    return [shown(line).replace("\n", " ") for line in lines]


def _share(lane: LanePlan) -> str:
    part = f"weight {lane.weight:g}" if lane.weight else "stands in"
    return f"{lane.name} ({part}, {neurons(lane.neurons_per_day)} neurons a day)"


def _chosen(job: Job) -> dict[str, Resolved]:
    """Values that differ from the defaults; a spec from `wai init` spells many of these out."""
    plain = JobSpec(task=job.spec.task, input=InputSpec(path="-"))
    defaults = flatten(plain.model_dump(exclude_none=True, exclude={"task": True, "input": {"path"}, "name": True}))
    return {
        key: value
        for key, value in job.resolved.items()
        if value.origin != "default"
        and (value.origin not in {"spec", "command line"} or key not in defaults or defaults[key] != value.value)
    }


def _short(value: object) -> str:
    """As in YAML, on one line."""
    text = " ".join((value if isinstance(value, str) else json.dumps(value, ensure_ascii=False, default=str)).split())
    return text if len(text) <= 72 else f"{text[:69]}…"


def budget_rows(*, every: bool) -> list[dict[str, object]]:
    """What ``wai budget`` knows: one mapping per account, day, job and model."""
    settings = load_settings(need_credentials=False)
    path = settings.ledger
    if not path.exists():
        return []
    clock = SystemClock()
    with Ledger(path, clock) as ledger:
        rows = ledger.report(day=None if every else clock.now().date())
        return [
            {
                "account": row.account,
                "day": row.day.isoformat(),
                "job": row.job_name,
                "model": row.model,
                "neurons": round(row.settled, 6),
                "reserved": round(row.reserved, 6),
                "leased": round(row.leased, 6),
                "assumed": round(row.assumed, 6),
                "requests": row.requests,
                "simulated": row.account.startswith("simulated-"),
            }
            for row in rows
        ]


def budget_lines(rows: Sequence[Mapping[str, object]], *, every: bool) -> list[str]:
    """The same as a table, with a total for each account and day."""
    if not rows:
        path = load_settings(need_credentials=False).ledger
        if not path.exists():
            return [f"nothing was spent: there is no ledger at {path} (WAI_STATE_DIR names its folder)"]
        return [f"nothing {'' if every else 'of today '}is in {path}" + ("" if every else "; --all shows earlier days")]
    header = ["day", "account", "job", "model", "neurons", "reserved", "assumed", "requests"]
    body: list[list[str]] = []
    totals: dict[tuple[str, str], float] = {}
    for row in rows:
        account = "simulated" if row["simulated"] else str(row["account"])
        day = str(row["day"])
        used = sum(float(str(row[name])) for name in ("neurons", "reserved", "assumed"))
        totals[day, account] = totals.get((day, account), 0.0) + used
        figures = [neurons(float(str(row[name]))) for name in ("neurons", "reserved", "assumed")]
        body.append([day, account, str(row["job"]), str(row["model"]), *figures, f"{row['requests']:,}"])
    lines = table(header, body, right=4)
    lines.extend(f"{day}  {account}: {neurons(used)} neurons" for (day, account), used in totals.items())
    if any(float(str(row["assumed"])) for row in rows):
        lines.append("assumed: reserved by runs that died; counts as spent")
    return lines


def comparison_json(seen: Comparison) -> dict[str, object]:
    """What Cloudflare counts beside what the book counts, for ``--json``. Neurons."""
    return {
        "account": seen.account,
        "day": seen.day.isoformat(),
        "ours": round(seen.totals.ours, 6),
        "theirs": round(seen.totals.theirs, 6),
        "elsewhere": round(seen.totals.elsewhere, 6),
        "theirs_by_model": {model: round(neurons, 6) for model, neurons in seen.theirs.items()},
    }


def comparison_lines(seen: Comparison, rows: Sequence[Mapping[str, object]]) -> list[str]:
    """The same as a table by model."""
    ours: dict[str, float] = {}
    for row in rows:
        if row["account"] == seen.account and row["day"] == seen.day.isoformat() and row["model"]:
            used = sum(float(str(row[name])) for name in ("neurons", "reserved", "leased", "assumed"))
            ours[str(row["model"])] = ours.get(str(row["model"]), 0.0) + used
    models = sorted({*ours, *seen.theirs}, key=lambda model: -seen.theirs.get(model, 0.0))
    body = [[model, neurons(ours.get(model, 0.0)), neurons(seen.theirs.get(model, 0.0))] for model in models]
    body.append(["all", neurons(seen.totals.ours), neurons(seen.totals.theirs)])
    verdict = (
        f"{neurons(seen.totals.elsewhere)} neurons were used elsewhere: they count as spent today"
        if seen.totals.elsewhere
        else "the book has all that Cloudflare knows of (it lags by minutes)"
    )
    return ["", f"account {seen.account}:", *table(["model", "this book", "Cloudflare"], body, right=2), verdict]


def model_rows(task: str | None, *, every: bool) -> list[dict[str, object]]:
    """What ``wai models`` knows of each model."""
    catalog = Catalog.load()
    return [
        {
            "model": model.name,
            "task": model.task,
            "neurons": dict(model.prices),
            "requests_per_minute": model.requests_per_minute,
            "max_batch": model.max_batch,
            "context_window": model.context_window,
            "dimensions": model.dimensions,
            "takes_images": takes_images(model),
            "requires_paid": model.requires_paid,
            "deprecated": str(model.deprecated) if model.deprecated else None,
            "buys": what_it_buys(model),
            "source": model.source,
        }
        for model in catalog.models(task, include_retired=every)
    ]


def model_lines(rows: Sequence[Mapping[str, object]]) -> list[str]:
    """The same as a table."""
    body = []
    for row in rows:
        notes = [
            text
            for flag, text in (
                ("takes_images", "sees"),
                ("requires_paid", "paid plan"),
                ("deprecated", f"retired {row['deprecated']}"),
            )
            if row[flag]
        ]
        body.append(
            [
                str(row["model"]),
                str(row["task"]),
                f"{row['requests_per_minute']:,}" if row["requests_per_minute"] else "-",
                f"{row['max_batch'] or '-'}",
                str(row["buys"]),
                ", ".join(notes),
            ]
        )
    lines = table(["model", "task", "per minute", "batch", "10,000 neurons buy", ""], body)
    return [
        *lines,
        "prices: developers.cloudflare.com/workers-ai/platform/pricing/, read 2026-11-22; --json has them all",
    ]


def table(header: Sequence[str], body: Sequence[Sequence[str]], *, right: int | None = None) -> list[str]:
    """Align columns; those from index `right` on to the right."""
    widths = [max(len(row[index]) for row in [header, *body]) for index in range(len(header))]
    lines = []
    for row in [header, *body]:
        cells = [
            cell.rjust(width) if right is not None and index >= right else cell.ljust(width)
            for index, (cell, width) in enumerate(zip(row, widths, strict=True))
        ]
        lines.append("  ".join(cells).rstrip())
    return lines


def cache_rows(*, clear: bool = False) -> list[dict[str, object]]:
    """Answers that may serve again, by file and model; removed afterwards where `clear` says so."""
    settings = load_settings(need_credentials=False)
    rows: list[dict[str, object]] = []
    for simulated in (False, True):
        path = settings.cache(simulated=simulated)
        size = path.stat().st_size if path.exists() else 0
        file = AnswerFile(path, advice="remove it with: wai cache --clear")
        try:
            counts = {} if clear else file.summary()
            rows.append({"path": str(path), "simulated": simulated, "bytes": size, "answers": counts})
        finally:
            file.remove() if clear else file.close()
    return rows


def cache_lines(rows: Sequence[Mapping[str, object]], *, clear: bool) -> list[str]:
    """The same for people."""
    lines = []
    for row in rows:
        if clear:
            lines.append(f"removed {row['path']}" if row["bytes"] else f"{row['path']} was empty")
            continue
        counts = row["answers"]
        assert isinstance(counts, dict)
        mark = " (simulated)" if row["simulated"] else ""
        lines.append(f"{row['path']}{mark}: {counted(sum(counts.values()), 'answer')}, {row['bytes']:,} bytes")
        lines += [f"  {n:>10,}  {model}" for model, n in counts.items()]
    return lines

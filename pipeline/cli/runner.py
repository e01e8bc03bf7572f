"""`wai run`: one event loop per spec, signals, progress, and the exit code."""

from __future__ import annotations

import asyncio
import os
import signal
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Final

import click

from pipeline.cli.progress import Display
from pipeline.cli.terminal import shown
from pipeline.control import Control, Options
from pipeline.events import EXIT_CODES, StopReason
from pipeline.report import RunReport
from pipeline.run import run_job
from pipeline.spec import LoadedSpec, load_spec

_SIGNALS: Final = {
    signal.SIGINT: StopReason.INTERRUPTED,
    signal.SIGTERM: StopReason.TERMINATED,
    signal.SIGHUP: StopReason.TERMINATED,
}
_GO_ON: Final = frozenset({StopReason.COMPLETED, StopReason.COMPLETED_WITH_FAILURES})


def run_specs(
    paths: Sequence[Path], overrides: Sequence[str], options: Options, *, quiet: bool, lines: bool
) -> tuple[list[RunReport], int]:
    """Run specs one after the other; all are read before the first begins.

    A job that stops with work left ends the sequence: what stopped it would stop the next one too.

    Returns:
        The reports so far, and the exit code: the first that is not 0.
    """
    loaded = [load_spec(path, overrides) for path in paths]
    reports: list[RunReport] = []
    code = 0
    for spec in loaded:
        report = asyncio.run(_run(spec, options, quiet=quiet))
        reports.append(report)
        if lines:
            click.echo(shown("\n".join(report.lines())))
        code = code or EXIT_CODES[report.stop_reason]
        if report.stop_reason not in _GO_ON:
            break
    return reports, code


async def _run(spec: LoadedSpec, options: Options, *, quiet: bool) -> RunReport:
    control = Control()
    loop = asyncio.get_running_loop()
    is_simulated = options.rehearse or spec.spec.endpoint.kind == "emulator"
    with Display(spec.spec.name, quiet=quiet, simulated=is_simulated) as display:

        def on_signal(reason: StopReason) -> None:
            if control.reason is None:
                grace = spec.spec.limits.grace_seconds
                waits = f": finishing what is in flight (up to {grace:g} s); once more to stop at once"
                display.line(f"stopping{waits if display.in_flight else ''}")
            elif not control.is_sending:  # it reads, perhaps from a pipe that says nothing; there is nothing to save
                display.__exit__(None, None, None)
                os._exit(EXIT_CODES[control.reason])
            control.stop(reason)

        signals = {number: reason for number, reason in _SIGNALS.items() if not _is_nohup(number)}
        for number, reason in signals.items():
            loop.add_signal_handler(number, on_signal, reason)
        try:
            return await run_job(spec, options=options, observer=display.tell, progress=display.show, control=control)
        except asyncio.CancelledError:
            sys.exit(EXIT_CODES[control.reason or StopReason.INTERRUPTED])
        finally:
            for number in signals:
                loop.remove_signal_handler(number)


def _is_nohup(number: signal.Signals) -> bool:
    """Whether this is SIGHUP and whoever started us had it ignored: the run is to outlive its terminal."""
    return number is signal.SIGHUP and signal.getsignal(number) is signal.SIG_IGN

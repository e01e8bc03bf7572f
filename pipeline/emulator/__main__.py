"""``python -m pipeline.emulator``: options into an `EmulatorConfig`, then `serve`."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Final, TypeVar

from pipeline.emulator import EmulatorConfig, load_faults, serve
from pipeline.emulator.config import FREE_NEURONS
from pipeline.emulator.faults import FaultPlan

_N = TypeVar("_N", int, float)
_USAGE: Final = 2


def parser(prog: str) -> argparse.ArgumentParser:
    """Return the command line of the emulator."""
    it = argparse.ArgumentParser(prog=prog, description="A local Workers AI on loopback: same wire, simulated answers.")
    it.add_argument("--host", default="127.0.0.1", help="loopback address to listen on")
    it.add_argument("--port", type=int, default=0, help="0 picks a free one")
    it.add_argument("--exit-with-stdin", action="store_true", help="end when stdin reaches its end")
    plan = it.add_mutually_exclusive_group()
    plan.add_argument("--daily-neurons", type=float, metavar="N", help="refuse with 4006 once N neurons are metered")
    plan.add_argument("--free-plan", action="store_true", help="10,000 neurons a day, no paid-only models")
    it.add_argument("--no-rate-limit", action="store_true", help="no requests-per-minute limits")
    it.add_argument("--rpm", type=int, metavar="N", help="N requests per minute for every task")
    it.add_argument("--retry-after-seconds", type=float, metavar="N", help="Retry-After on 3021")
    it.add_argument("--capacity", type=int, metavar="N", help="3040 beyond N inferences at once")
    it.add_argument("--latency-ms", default="0", metavar="A[,B]", help="milliseconds an inference takes")
    it.add_argument("--answer-tokens", default="8,60", metavar="MIN,MAX", help="length of chat answers")
    it.add_argument("--translation-words", type=int, metavar="N", help="cut translations after N words")
    it.add_argument("--mangle-one-in", type=int, metavar="N", help="damage one mark or placeholder in N in translation")
    it.add_argument("--wrong-language-one-in", type=int, metavar="N", help="answer one text in N in another language")
    it.add_argument("--faults", metavar="FILE_OR_JSON", help="fault plan")
    it.add_argument("--tolerate-encoded-slashes", action="store_true", help="take %%2F, for clients that send it")
    it.add_argument("--request-log", type=Path, metavar="FILE", help="append one JSON line per inference request")
    return it


def config_from(arguments: Sequence[str] | None = None, *, prog: str = "python -m pipeline.emulator") -> EmulatorConfig:
    """Turn a command line into a configuration.

    Raises:
        ValueError: An option makes no sense.
    """
    told = parser(prog).parse_args(arguments)
    latency = _numbers("--latency-ms", told.latency_ms, float)
    tokens = _numbers("--answer-tokens", told.answer_tokens, int)
    return EmulatorConfig(
        host=told.host,
        port=told.port,
        exit_with_stdin=told.exit_with_stdin,
        daily_neurons=FREE_NEURONS if told.free_plan else told.daily_neurons,
        paid_plan=not told.free_plan,
        rate_limit=not told.no_rate_limit,
        rpm=told.rpm,
        retry_after_s=told.retry_after_seconds,
        capacity=told.capacity,
        latency_ms=(latency[0], latency[-1]),
        answer_tokens=(tokens[0], tokens[-1]),
        translation_words=told.translation_words,
        mangle_one_in=told.mangle_one_in,
        wrong_language_one_in=told.wrong_language_one_in,
        faults=load_faults(told.faults) if told.faults else None,
        tolerates_encoded_slashes=told.tolerate_encoded_slashes,
        request_log=told.request_log,
    )


def _numbers(option: str, text: str, kind: Callable[[str], _N]) -> list[_N]:
    try:
        return [kind(part) for part in text.split(",")]
    except ValueError:
        raise ValueError(f"{option}: {text} is not a number, or two with a comma between") from None


def main(arguments: Sequence[str] | None = None, *, prog: str = "python -m pipeline.emulator") -> None:
    """Run until told to stop."""
    try:
        config = config_from(arguments, prog=prog)
        FaultPlan(config.faults)
    except ValueError as exc:
        sys.stderr.write(f"error: {exc}\n")
        sys.exit(_USAGE)
    try:
        serve(config)
    except OSError as exc:
        sys.exit(f"error: cannot listen on {config.host}:{config.port}: {exc.strerror}")


if __name__ == "__main__":
    main()

"""The whole street with everything on, as `wai run` does it: ledger, limiter, retries, journal, parts, manifest."""

from __future__ import annotations

import asyncio

from benchmarks.client import main
from pipeline.cli.memory import forgo_pandas, made_for_good, use_one_heap

use_one_heap()  # as the program does, before pyarrow is imported
with made_for_good():
    forgo_pandas()
    from pipeline.control import Control
    from pipeline.events import StopReason
    from pipeline.run import run_job
    from pipeline.spec import load_spec


def work(task):
    control = Control()

    def progress(snapshot):
        if task.get("stop_when_sending") and snapshot.counters.sent:
            control.stop(StopReason.INTERRUPTED)

    report = asyncio.run(run_job(load_spec(task["spec"]), control=control, progress=progress))
    if not task.get("stop_when_sending"):
        assert report.done == task["rows"], "\n".join(report.lines())
    return {
        "stop_reason": str(report.stop_reason),
        "done": report.done,
        "failed": report.failed,
        "sent": report.sent,
        "retried": report.retried,
        "codes": dict(report.codes),
    }


if __name__ == "__main__":
    main(work)

"""Push a whole dataset through Cloudflare Workers AI, unattended, on a daily budget of neurons.

The Python API does what the commands do:

    from pipeline import load_spec, plan_job, run_job
    spec = load_spec("jobs/embed-corpus.yaml")
    print(plan_job(spec).to_json())
    report = asyncio.run(run_job(spec))
    frame = read_results(report.output)

Names are imported when they are first used: ``wai --help`` must not wait for pyarrow.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Final

from pipeline.version import __version__

if TYPE_CHECKING:
    from pipeline.control import Options
    from pipeline.events import StopReason
    from pipeline.planning import PlanReport, plan_job
    from pipeline.report import RunReport
    from pipeline.results import read_failures, read_results
    from pipeline.run import run_job
    from pipeline.spec import JobSpec, LoadedSpec, load_spec, parse_spec

__all__ = [
    "JobSpec",
    "LoadedSpec",
    "Options",
    "PlanReport",
    "RunReport",
    "StopReason",
    "__version__",
    "load_spec",
    "parse_spec",
    "plan_job",
    "read_failures",
    "read_results",
    "run_job",
]

_HOMES: Final = {
    "JobSpec": "pipeline.spec",
    "LoadedSpec": "pipeline.spec",
    "Options": "pipeline.control",
    "PlanReport": "pipeline.planning",
    "RunReport": "pipeline.report",
    "StopReason": "pipeline.events",
    "load_spec": "pipeline.spec",
    "parse_spec": "pipeline.spec",
    "plan_job": "pipeline.planning",
    "read_failures": "pipeline.results",
    "read_results": "pipeline.results",
    "run_job": "pipeline.run",
}


def __getattr__(name: str) -> object:
    if name not in _HOMES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(import_module(_HOMES[name]), name)

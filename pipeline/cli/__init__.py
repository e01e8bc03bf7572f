"""The command line: parse, call, print, exit code. Rooms are imported by the command that needs them."""

from __future__ import annotations

import json
import sys
from collections.abc import Callable
from functools import wraps
from pathlib import Path
from typing import Final, ParamSpec, TypeVar

import click

from pipeline.cli.terminal import shown
from pipeline.errors import PipelineError
from pipeline.version import __version__

_P = ParamSpec("_P")
_R = TypeVar("_R")
UNEXPECTED = 1


def fail(error: PipelineError) -> None:
    """Print an error, one line a problem, and exit with its code."""
    click.echo(shown(str(error)), err=True)
    sys.exit(error.exit_code)


def reports_errors(command: Callable[_P, _R]) -> Callable[_P, _R]:
    """Turn the errors this package raises on purpose into a line and an exit code."""

    @wraps(command)
    def wrapper(*args: _P.args, **kwargs: _P.kwargs) -> _R:
        try:
            return command(*args, **kwargs)
        except PipelineError as error:
            fail(error)
            raise AssertionError from error  # pragma: no cover - fail() does not return
        except BrokenPipeError:
            sys.stderr.close()
            sys.exit(UNEXPECTED)

    return wrapper


def print_json(value: object) -> None:
    """Print one JSON object on stdout."""
    click.echo(json.dumps(value, indent=2, default=str))


_overrides = click.option(
    "--set", "overrides", multiple=True, metavar="K=V", help="Override a key of the spec, e.g. limits.concurrency=8."
)

_HELP: Final = """Push a whole dataset through Cloudflare Workers AI on a daily budget of neurons.

\b
wai init embed -o job.yaml     write a commented job spec
wai plan job.yaml              what it would do and cost; no network
wai run job.yaml --rehearse    the same job on a local simulation
wai run job.yaml               the job; run it again to resume

Account and token come from CLOUDFLARE_ACCOUNT_ID and CLOUDFLARE_API_TOKEN, in the environment or in ./.env. The ledger
is kept in ~/.local/state/wai; WAI_STATE_DIR names another folder.
"""
_RUN_HELP: Final = """Run jobs; each resumes where it stopped.

\b
Exit codes:
    0  completed
    2  spec, settings or usage
    3  stopped with work left (budget_spent, allocation_refused, deadline, failing)
    4  completed with failed records
   10  output damaged
   11  output locked by another run
   12  token, account or model refused
   14  disk full or not writable
  130  interrupted (Ctrl-C); 143 terminated
    1  anything else
"""  # \b keeps click from wrapping the paragraph that follows


@click.group(context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 100}, help=_HELP)
@click.version_option(__version__, prog_name="wai")
def main() -> None:
    """Take a command."""


@main.command(short_help="Write a commented job spec for a task.")
@click.argument("task")
@click.option("-o", "--output", type=click.Path(dir_okay=False, path_type=Path), help="File to write. Default: stdout.")
@reports_errors
def init(task: str, output: Path | None) -> None:
    """Write a commented job spec for TASK (embed, generate, translate …; any wrong name lists them all)."""
    from pipeline.errors import PlanError
    from pipeline.spec.templates import render_template
    from pipeline.tasks import TASKS

    kind = TASKS.get(task)
    if kind is None:
        raise PlanError(f'no task "{task}"; there are: {", ".join(TASKS)}')
    text = render_template(kind.head, kind.input)
    if output is None:
        click.echo(text, nl=False)
        return
    try:
        with output.open("x", encoding="utf-8") as file:
            file.write(text)
    except FileExistsError:
        raise PlanError(f"{output}: exists already; choose another name") from None
    except OSError as exc:
        raise PlanError(f"{output}: {exc.strerror}") from None
    click.echo(f"wrote {output}; set input.path, then: wai plan {output}", err=True)


@main.command(short_help="Check job specs and name every mistake.")
@click.argument("specs", nargs=-1, type=click.Path(path_type=Path))
@click.option("--schema", is_flag=True, help="Print the JSON Schema of the job spec and exit.")
@_overrides
@reports_errors
def validate(specs: tuple[Path, ...], schema: bool, overrides: tuple[str, ...]) -> None:
    """Check job specs; every mistake is one line `file:line: key: message`. Does not read the input."""
    from pipeline.planning import check_spec
    from pipeline.settings import load_settings
    from pipeline.spec import json_schema, load_spec

    if schema:
        print_json(json_schema())
        return
    if not specs:
        raise click.UsageError("name at least one job spec, or --schema")
    settings = load_settings(need_credentials=False)
    codes = []
    for spec in specs:
        try:
            check_spec(load_spec(spec, overrides), settings)
            click.echo(f"{spec}: ok")
        except PipelineError as error:
            click.echo(shown(str(error)), err=True)
            codes.append(error.exit_code)
    sys.exit(max(codes, default=0))


@main.command()
@click.argument("spec", type=click.Path(path_type=Path))
@click.option("--json", "as_json", is_flag=True, help="Print one JSON object.")
@_overrides
@click.option("--limit", type=click.IntRange(min=1), help="Only the first N records.")
@click.option("--rehearse", is_flag=True, help="Plan the rehearsal instead of the real run.")
@reports_errors
def plan(spec: Path, as_json: bool, overrides: tuple[str, ...], limit: int | None, rehearse: bool) -> None:
    """Say what a run would do and cost. No network."""
    from pipeline.cli.texts import plan_lines
    from pipeline.planning import plan_job
    from pipeline.spec import load_spec

    report = plan_job(load_spec(spec, _with_limit(overrides, limit)), rehearse=rehearse)
    if as_json:
        print_json(report.to_json())
    else:
        click.echo("\n".join(plan_lines(report)))


def _with_limit(overrides: tuple[str, ...], limit: int | None) -> tuple[str, ...]:
    return (*overrides, f"input.limit={limit}") if limit is not None else overrides


@main.command(help=_RUN_HELP)
@click.argument("specs", nargs=-1, required=True, type=click.Path(path_type=Path))
@click.option(
    "--rehearse", is_flag=True, help="Run against the embedded emulator; spends nothing, writes to <output>.rehearsal."
)
@_overrides
@click.option("--limit", type=click.IntRange(min=1), help="Only the first N records.")
@click.option("--retry-failed", is_flag=True, help="Send records again that failed in an earlier run.")
@click.option(
    "--replace-changed", is_flag=True, help="Answer records again whose text changed since, and drop their old rows."
)
@click.option("--force-new", is_flag=True, help="Move an existing output aside and begin anew.")
@click.option("--emulator-args", default="", help='For rehearsals: options of "wai emulator", e.g. "--latency-ms 50".')
@click.option("--json", "as_json", is_flag=True, help="Print one JSON object at the end; logs go to stderr.")
@click.option("-q", "--quiet", is_flag=True, help="No progress.")
@reports_errors
def run(
    specs: tuple[Path, ...],
    rehearse: bool,
    overrides: tuple[str, ...],
    limit: int | None,
    retry_failed: bool,
    replace_changed: bool,
    force_new: bool,
    emulator_args: str,
    as_json: bool,
    quiet: bool,
) -> None:
    """Run jobs one after the other."""
    from pipeline.cli.memory import forgo_pandas, made_for_good, use_one_heap

    use_one_heap()  # before pyarrow is imported below
    with made_for_good():
        forgo_pandas()
        from pipeline.cli.runner import run_specs
        from pipeline.cli.streams import outlive_readers
        from pipeline.control import Options

    outlive_readers()

    options = Options(
        rehearse=rehearse,
        retry_failed=retry_failed,
        replace_changed=replace_changed,
        force_new=force_new,
        emulator_args=_words(emulator_args),
    )
    reports, code = run_specs(specs, _with_limit(overrides, limit), options, quiet=quiet, lines=not as_json)
    if as_json:
        values = [report.to_json() for report in reports]
        print_json(values[0] if len(specs) == 1 else {"jobs": values})
    sys.exit(code)


def _words(options: str) -> tuple[str, ...]:
    import shlex

    try:
        return tuple(shlex.split(options))
    except ValueError as exc:
        raise click.UsageError(f"--emulator-args {options}: {exc}; quote it as for a shell") from None


@main.command()
@click.argument("target", type=click.Path(path_type=Path))
@click.option("--json", "as_json", is_flag=True, help="Print one JSON object.")
@click.option("--rehearse", is_flag=True, help="The rehearsal's output instead of the real one.")
@_overrides
@click.option("--verify", is_flag=True, help="Read every part and compare it with the manifest's checksums.")
@reports_errors
def status(target: Path, as_json: bool, rehearse: bool, overrides: tuple[str, ...], verify: bool) -> None:
    """Say what is done, failed and spent. TARGET is a job spec or an output folder; works during a run."""
    from pipeline.cli.status import read_status

    report = read_status(target, overrides, rehearse=rehearse, verify=verify)
    if as_json:
        print_json(report.to_json())
    else:
        click.echo("\n".join(report.lines()))
    sys.exit(10 if report.problems else 0)


@main.command(short_help="Tell the story of one record.")
@click.argument("spec", type=click.Path(path_type=Path))
@click.argument("record_id")
@click.option("--json", "as_json", is_flag=True, help="Print one JSON object.")
@click.option("--rehearse", is_flag=True, help="The rehearsal's output instead of the real one.")
@_overrides
@reports_errors
def explain(spec: Path, record_id: str, as_json: bool, rehearse: bool, overrides: tuple[str, ...]) -> None:
    """Tell the story of one record: input, state, attempts, row, what to do next. No network; works during a run."""
    from pipeline.explain import explain_record
    from pipeline.spec import load_spec

    told = explain_record(load_spec(spec, overrides), record_id, rehearse=rehearse)
    if as_json:
        print_json(told.to_json())
    else:
        click.echo("\n".join(told.lines()))


@main.command()
@click.option("--json", "as_json", is_flag=True, help="Print one JSON object.")
@click.option("--all", "every", is_flag=True, help="All days in the book, not only today.")
@click.option(
    "--reconcile", "asks", is_flag=True, help="Ask Cloudflare what the account used today; the higher figure counts."
)
@reports_errors
def budget(as_json: bool, every: bool, asks: bool) -> None:
    """Show the ledger: neurons by account, day, job and model."""
    from pipeline.cli.texts import budget_lines, budget_rows, comparison_json, comparison_lines

    seen = None
    if asks:
        from pipeline.cli.compare import compare_with_cloudflare

        seen = compare_with_cloudflare()
    rows = budget_rows(every=every)
    if as_json:
        print_json({"rows": rows, **({"cloudflare": comparison_json(seen)} if seen else {})})
    else:
        click.echo("\n".join([*budget_lines(rows, every=every), *(comparison_lines(seen, rows) if seen else [])]))


@main.command()
@click.option("--task", help="Only models for this task: embed, generate, or one of the service's own names.")
@click.option("--all", "every", is_flag=True, help="Retired models too.")
@click.option("--json", "as_json", is_flag=True, help="Print one JSON object.")
@reports_errors
def models(task: str | None, every: bool, as_json: bool) -> None:
    """List models with prices, limits, and what 10,000 neurons buy."""
    from pipeline.cli.texts import model_lines, model_rows
    from pipeline.errors import PlanError

    rows = model_rows(task, every=every)
    if not rows:
        raise PlanError(f'no model for a task "{task}"; wai models lists all with their tasks')
    if as_json:
        print_json({"models": rows})
    else:
        click.echo("\n".join(model_lines(rows)))


@main.command(short_help="Show the answers that may serve again.")
@click.option("--clear", is_flag=True, help="Forget them all.")
@click.option("--json", "as_json", is_flag=True, help="Print one JSON object.")
@reports_errors
def cache(clear: bool, as_json: bool) -> None:
    """Show the answers that may serve again, so that a grown dataset pays only for what is new."""
    from pipeline.cli.texts import cache_lines, cache_rows

    rows = cache_rows(clear=clear)
    if as_json:
        print_json({"cache": rows})
    else:
        click.echo("\n".join(cache_lines(rows, clear=clear)))


@main.command(short_help="Test token, account and access to a model; costs nothing.")
@click.argument("spec", required=False, type=click.Path(path_type=Path))
@click.option("--json", "as_json", is_flag=True, help="Print one JSON object.")
@_overrides
@reports_errors
def check(spec: Path | None, as_json: bool, overrides: tuple[str, ...]) -> None:
    """Test token, account and, with SPEC, access to its model. Costs nothing."""
    from pipeline.cli.check import check_access

    if overrides and spec is None:
        raise click.UsageError("--set overrides a key of a job spec: name one")
    result = check_access(spec, overrides)
    if as_json:
        print_json(result.to_json())
    else:
        click.echo("\n".join(result.lines()))
    sys.exit(result.exit_code)


@main.command(
    short_help="Serve a local Workers AI for rehearsals and tests.",
    context_settings={"ignore_unknown_options": True, "help_option_names": []},
    add_help_option=False,
)
@click.argument("arguments", nargs=-1, type=click.UNPROCESSED)
@reports_errors
def emulator(arguments: tuple[str, ...]) -> None:
    """Serve a local Workers AI for rehearsals and tests; see: wai emulator --help."""
    from pipeline.emulator.__main__ import main as serve

    serve(list(arguments), prog="wai emulator")

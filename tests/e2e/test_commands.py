"""Every command (design, section 4): what it prints, in words and as JSON, and its exit code."""

import json
import subprocess

import pytest

from pipeline.version import __version__
from tests.support.cli import WAI, sentences

COMMANDS = ("init", "validate", "check", "plan", "run", "status", "explain", "budget", "models", "emulator")


@pytest.fixture
def ready(world):
    """A world with 30 records and a spec."""
    world.records(sentences()[:30])
    world.spec()
    return world


def test_help_and_version(world):
    """--help names every command and comes at once; --version says which it is."""
    ran = world.wai("--help", fresh=True)
    assert all(command in ran.out for command in COMMANDS)
    assert ran.seconds < 2.5
    assert __version__ in world.wai("--version", fresh=True).out
    for command in COMMANDS:
        assert "Usage" in world.wai(command, "--help").out or command == "emulator"


def test_each_command_imports_what_it_needs(ready):
    """In an interpreter of its own, where nothing was imported before: other tests start theirs with all there is."""
    for arguments in (
        ("init", "embed"),
        ("validate", "job.yaml"),
        ("check", "job.yaml"),
        ("plan", "job.yaml"),
        ("run", "job.yaml"),
        ("run", "job.yaml", "--rehearse"),
        ("status", "job.yaml", "--verify"),
        ("explain", "job.yaml", "r00007"),
        ("budget", "--all"),
        ("models",),
        ("cache",),
    ):
        assert ready.wai(*arguments, fresh=True).out
    assert len(ready.ids()) == 30


def test_help_keeps_its_lines(world):
    """Examples and exit codes stand one a line, and no summary of a command is cut off."""
    said = world.wai("--help").out
    assert "\n  wai plan job.yaml              what it would do and cost; no network\n" in said
    assert "..." not in said.partition("Commands:")[2]
    assert "WAI_STATE_DIR" in said
    assert "  0  completed\n" in world.wai("run", "--help").out


def test_usage_errors(world):
    """What cannot be understood is exit code 2 with a hint, on stderr."""
    for arguments in (
        ("rnu",),
        ("run",),
        ("run", "--limit", "0", "x.yaml"),
        ("validate",),
        ("plan", "--nonsense", "x"),
        ("run", "job.yaml", "--emulator-args", "--latency-ms '5"),
    ):
        ran = world.wai(*arguments, code=2)
        assert ran.out == ""
        assert ran.err
        assert "Traceback" not in ran.err


def test_an_emulator_that_does_not_start_is_told_in_a_line(world):
    """Its options came from the command line, so it is exit code 2, and no traceback."""
    world.records(["one text"])
    world.spec()
    ran = world.wai("run", "job.yaml", "--rehearse", "--emulator-args", "--faults [{}]", code=2)
    assert "--emulator-args --faults '[{}]': the emulator did not start; what it said is above" in ran.err
    assert "Traceback" not in ran.err


@pytest.mark.parametrize("task", ["embed", "generate"])
def test_init_gives_a_job_that_runs(world, task):
    """init writes a commented spec that validates, and that runs once the input is there; it overwrites nothing."""
    world.wai("init", task, "-o", "new.yaml")
    text = (world.folder / "new.yaml").read_text()
    assert text.count("#") > 5
    assert world.wai("init", task).out == text
    assert world.wai("validate", "new.yaml").out.endswith("ok\n")
    assert "new.yaml" in world.wai("init", task, "-o", "new.yaml", code=2).err
    assert (world.folder / "new.yaml").read_text() == text


def test_init_of_an_unknown_task(world):
    """An unknown task is named together with those there are."""
    said = world.wai("init", "transmogrify", code=2).err
    assert "embed" in said
    assert "generate" in said


def test_validate(ready):
    """validate says ok for each good spec and prints the JSON Schema on demand."""
    ready.spec("other.yaml", task="generate")
    assert ready.wai("validate", "job.yaml", "other.yaml").out.splitlines() == ["job.yaml: ok", "other.yaml: ok"]
    (ready.folder / "bad.yaml").write_text("task: embed\n")
    ran = ready.wai("validate", "job.yaml", "bad.yaml", code=2)
    assert ran.out == "job.yaml: ok\n"
    assert ran.err.startswith("bad.yaml:")
    schema = ready.wai("validate", "--schema").json
    assert {"task", "input", "budget", "limits", "output"} <= schema["properties"].keys()


def test_check(ready):
    """check says whether token, account and model are good, without spending."""
    assert ready.wai("check").out
    value = ready.wai("check", "job.yaml", "--json").json
    assert value["ok"] is True
    assert value["model_found"] is True
    assert ready.metered == 0
    wrong = ready.wai("check", "--json", env={"CLOUDFLARE_ACCOUNT_ID": "f" * 31 + "0"}, code=None)
    assert wrong.json["ok"] is (wrong.code == 0)
    refused = ready.wai("check", env={"CLOUDFLARE_API_TOKEN": "bad-token-not-real"}, code=12).out
    assert refused.startswith("refused: ")
    assert "wai check" not in refused, "that is what was just tried"
    nobody = ready.wai("check", env={"CLOUDFLARE_BASE_URL": "http://127.0.0.1:9/client/v4"}, code=1).out
    assert nobody.startswith("no answer: cannot connect")


def test_plan(ready):
    """plan needs no network and no token, writes nothing, and prints exactly the figures agreed on."""
    offline = {"CLOUDFLARE_BASE_URL": "https://wai.invalid", "CLOUDFLARE_API_TOKEN": "", "CLOUDFLARE_ACCOUNT_ID": ""}
    ready.records([*sentences()[:30], sentences()[0]])
    value = ready.wai("plan", "job.yaml", "--json", env=offline).json
    assert value["records"].items() >= {"total": 31, "done": 0, "pending": 31, "duplicates": 1}.items()
    assert value["requests"] == 1
    assert value["neurons"].keys() == {"expected", "at_most"}
    assert 0 < value["neurons"]["expected"] <= value["neurons"]["at_most"]
    assert value["usd_beyond_free"] == 0
    assert value["days"] == 1
    assert len(value["finish_date"]) == len("2026-11-22")
    assert value["seconds_at_rate_limit"] >= 0
    assert value["resolved"]["task"] == {"value": "embed", "from": "spec"}
    assert value["resolved"]["model"] == {"value": "@cf/baai/bge-m3", "from": "catalogue"}
    assert value["resolved"]["retry.attempts"]["from"] == "default"
    chosen = ready.wai("plan", "job.yaml", "--json", "--set", "retry.attempts=3", env=offline).json
    assert chosen["resolved"]["retry.attempts"] == {"value": 3, "from": "command line"}
    words = ready.wai("plan", "job.yaml", env=offline).out
    assert "31" in words
    assert "neurons" in words
    assert not (ready.folder / "out").exists()
    assert not (ready.folder / "state").exists()
    assert ready.requests == 0


def test_plan_of_a_fresh_spec_names_what_was_chosen(world):
    """`wai init` spells defaults out; among the values that are not defaults they are not listed."""
    world.records(sentences()[:3])
    world.wai("init", "embed", "-o", "new.yaml")
    chosen = ("--set", "input.path=data.jsonl", "--set", "limits.concurrency=3")
    words = world.wai("plan", "new.yaml", *chosen, env={"CLOUDFLARE_BASE_URL": ""}).out
    told = {line.split()[0] for line in words.partition("where they come from:\n")[2].splitlines()}
    assert told >= {"limits.concurrency", "input.path", "model"}
    assert not told & {"retry.attempts", "cache", "endpoint.kind", "endpoint.base_url", "budget.neurons_per_day"}


def test_plan_bounds_the_run(ready):
    """What a run costs lies within what plan said, and near what it expected."""
    ready.records(sentences()[:500])
    value = ready.wai("plan", "job.yaml", "--json").json
    report = ready.run()
    assert report["requests"]["sent"] == value["requests"]
    assert ready.metered <= value["neurons"]["at_most"]
    assert value["neurons"]["expected"] == pytest.approx(ready.metered, rel=0.35)


def test_run_and_status(ready):
    """run and status print the same keys, and status counts what is in the folder, by spec or by folder."""
    assert "no run" in ready.wai("status", "job.yaml", code=2).err
    report = ready.run()
    keys = {"job", "output", "stop_reason", "records", "neurons", "requests", "seconds"}
    groups = {
        "records": {"total", "done", "failed", "pending"},
        "neurons": {"spent", "reserved", "budget", "remaining_today"},
        "requests": {"sent", "retried", "deduplicated"},
    }
    by_spec = ready.wai("status", "job.yaml", "--json").json
    by_folder = ready.wai("status", "out", "--json", "--verify").json
    for value in (report, by_spec, by_folder):
        assert keys <= value.keys()
        for group, names in groups.items():
            assert names <= value[group].keys()
            for name in names:
                assert value[group][name] == report[group][name], (group, name)
    assert by_folder["problems"] == []
    assert by_spec["stop_reason"] == "completed"
    assert "30 done" in ready.wai("status", "job.yaml").out
    ready.records(sentences()[:40])
    grown = ready.wai("status", "job.yaml", "--json").json
    assert grown["records"]["pending"] == 10
    assert grown["advice"] == "resume with: wai run job.yaml"
    ready.records(sentences()[:20])
    assert "20 done, 0 failed, 0 pending of 20" in (fewer := ready.wai("status", "job.yaml").out)
    assert "rows of 10 records no longer in the input" in fewer
    ready.records(sentences()[1:31])
    assert "30 since being answered: run with --replace-changed" in ready.wai("status", "job.yaml").out


def test_budget(ready):
    """budget shows today's neurons by job and model, as booked."""
    nowhere = ready.folder / "nowhere"
    said = ready.wai("budget", env={"WAI_STATE_DIR": str(nowhere)}).out
    assert (
        said == f"nothing was spent: there is no ledger at {nowhere}/ledger.sqlite3 (WAI_STATE_DIR names its folder)\n"
    )
    report = ready.run()
    (row,) = ready.wai("budget", "--json").json["rows"]
    assert row["job"] == "job"
    assert row["model"] == "@cf/baai/bge-m3"
    assert row["neurons"] == pytest.approx(report["neurons"]["spent"])
    assert row["reserved"] == 0
    assert "@cf/baai/bge-m3" in ready.wai("budget").out


def test_models(world):
    """models lists prices, limits and what 10,000 neurons buy, and knows which model serves which task."""
    rows = world.wai("models", "--task", "embed", "--json").json["models"]
    assert {"model", "task", "neurons", "requests_per_minute", "buys", "source"} <= rows[0].keys()
    assert {row["task"] for row in rows} == {"text-embeddings"}
    assert "@cf/baai/bge-m3" in {row["model"] for row in rows}
    seeing = [row["model"] for row in world.wai("models", "--json").json["models"] if row["takes_images"]]
    assert "@cf/google/gemma-4-26b-a4b-it" in seeing
    assert "@cf/swiss-ai/apertus-v1.5-8b" not in seeing, "nobody has published how"
    listed = world.wai("models").out
    assert [line.split()[0] for line in listed.splitlines() if line.endswith("sees") or "sees," in line] == seeing
    assert "@cf/baai/bge-m3" in listed
    assert "@cf/meta/llama-3.1-8b-instruct-fp8" in listed
    assert 'no model for a task "embd"' in world.wai("models", "--task", "embd", code=2).err
    assert len(world.wai("models", "--all", "--json").json["models"]) > len(
        world.wai("models", "--json").json["models"]
    )


def test_emulator(world):
    """emulator serves what a run can be pointed at, until it is told to end."""
    assert "usage" in world.wai("emulator", "--help").out.lower()
    child = subprocess.Popen([*WAI, "emulator", "--port", "0"], env=world.env, cwd=world.folder, stdout=subprocess.PIPE)
    try:
        told = json.loads(child.stdout.readline())
        world.records(sentences()[:10])
        world.spec()
        assert world.run(env={"CLOUDFLARE_BASE_URL": told["url"]})["records"]["done"] == 10
    finally:
        child.terminate()
        child.stdout.close()
        assert child.wait(10) in {0, -15, 143}
    assert world.requests == 0


def test_json_is_alone_on_stdout(ready):
    """With --json there is one JSON object on stdout and everything else is on stderr; -q keeps stderr silent."""
    ran = ready.wai("run", "job.yaml", "--json", "-q")
    assert isinstance(json.loads(ran.out), dict)
    assert ran.err == ""


@pytest.mark.slow
def test_status_while_a_run_goes_on(ready):
    """status works during a run, and says who is running."""
    ready.spec(limits={"batch_size": 5, "concurrency": 1})
    ready.latency(0.4)
    with ready.start("run", "job.yaml", "--json") as running:
        ready.wait_for(lambda: ready.stats()["texts"] >= 10, what="two answers")
        ready.latency(4.0)  # it must not end before it is looked at
        shown = ready.wai("status", "job.yaml")
        ready.latency(0.0)
        assert "running" in shown.out
        assert str(running.pid) in shown.out
        assert running.ended().code == 0


@pytest.mark.parametrize("task", ["translate", "detect-objects"])
def test_init_gives_a_spec_that_validates_and_models_lists_what_serves_it(world, task):
    """As a newcomer would try it first; that the spec of every task resolves is tested without the command line."""
    world.wai("init", task, "-o", "first.yaml")
    assert world.wai("validate", "first.yaml").out == "first.yaml: ok\n"
    assert len(world.wai("models", "--task", task, "--json").json["models"]) >= 1


def test_a_run_with_overrides_is_looked_at_with_the_same(ready):
    """What --set has made of a job is seen by every command that takes the spec."""
    given = ("--set", "output.path=elsewhere", "--set", "input.limit=7")
    ready.run("job.yaml", *given)
    assert ready.wai("status", "job.yaml", "--json", *given).json["records"]["done"] == 7
    told = ready.wai("explain", "job.yaml", "r00003", "--json", *given).json
    assert (told["state"], told["output"]) == ("done", "elsewhere")
    checked = ready.wai("check", "job.yaml", "--json", "--set", 'model="@cf/baai/bge-base-en-v1.5"').json
    assert checked["model"] == "@cf/baai/bge-base-en-v1.5"
    assert "name that instead" in ready.wai("status", "elsewhere", *given, code=2).err
    assert "name one" in ready.wai("check", *given, code=2).err

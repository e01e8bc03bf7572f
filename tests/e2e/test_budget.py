"""The daily budget through the command line (acceptance 3; promises P3, P4, P5): used, never passed."""

import random

import pytest

from pipeline.words import neurons
from tests.support.cli import FAST, sentences

LARGE = "@cf/baai/bge-large-en-v1.5"


def budget_spent(world, budget, **spec):
    """Run into the budget; return the report after checking both promises against the meter."""
    world.spec(budget={"neurons_per_day": budget}, **spec)
    report = world.run(code=3)
    metered = world.metered
    assert report["stop_reason"] == "budget_spent"
    assert report["records"]["pending"] > 0
    assert report["records"]["failed"] == 0
    assert 0.99 * budget <= metered <= budget
    assert metered * 0.995 <= report["neurons"]["spent"] <= budget
    world.check_once(world.ids())
    assert len(world.ids()) == report["records"]["done"]
    return report


def test_embed_spends_its_budget(world):
    """A budget of 40 neurons on bge-large is spent between 39.6 and 40.0, and a second run sends nothing more."""
    world.records(sentences())
    budget_spent(world, 40, model=LARGE)
    requests = world.requests
    again = world.run(code=3)
    assert again["stop_reason"] == "budget_spent"
    assert world.metered <= 40.0
    assert world.requests <= requests + 1


@pytest.mark.slow
def test_generate_spends_its_budget(world):
    """A budget of 40 neurons on the default model of generate is spent between 39.6 and 40.0."""
    world.records(sentences())
    budget_spent(world, 40, task="generate")


@pytest.mark.slow
@pytest.mark.parametrize("seed", [1, 2, 3])
def test_other_budgets(world, seed):
    """With other texts, budgets and batch sizes the meter stays within the budget, and 99 % of it is used."""
    rng = random.Random(seed)
    texts = rng.sample(sentences(), 2_500)
    world.records(texts)
    task = ("embed", "generate", "embed")[seed - 1]
    spec = {"model": LARGE, "limits": {"batch_size": rng.choice([7, 20, 64])}} if task == "embed" else {}
    budget_spent(world, round(rng.uniform(35, 60), 1), task=task, **spec)


def test_budget_of_the_job_as_a_whole(world):
    """neurons_total ends the job although the day has room, and nobody is told to wait for midnight."""
    texts = sentences()
    world.records(texts)
    world.spec(model=LARGE, budget={"neurons_per_day": 10_000, "neurons_total": 45})
    assert "45 of neurons_total (45) are left: not enough to finish, raise it" in world.wai("plan", "job.yaml").out
    report = world.run(code=3)
    assert report["stop_reason"] == "budget_spent"
    assert 0.99 * 45 <= world.metered <= 45
    advice = "budget.neurons_total (45) is spent: raise it to go on, then: wai run job.yaml"
    assert report["advice"] == advice
    (pending, *_) = {f"r{n:05}" for n in range(len(texts))} - set(world.ids("results"))
    assert world.wai("explain", "job.yaml", pending, "--json").json["advice"] == advice
    said = world.wai("plan", "job.yaml").out
    assert f"{neurons(45 - report['neurons']['spent'])} of neurons_total (45) are left" in said


@pytest.mark.slow
def test_two_runs_at_once_share_one_budget(world):
    """Two runs at once on one account together spend the budget and never more."""
    half = len(sentences()) // 2
    world.records(sentences())
    limits = {"batch_size": 10, "concurrency": 16}
    budget = {"neurons_per_day": 40}
    world.spec("a.yaml", limits=limits, budget=budget, output={"path": "a"}, input=given(0, half))
    world.spec("b.yaml", limits=limits, budget=budget, output={"path": "b"}, input=given(half, None))
    world.latency(1.0)
    with world.start("run", "a.yaml", "--json") as first, world.start("run", "b.yaml", "--json") as second:
        logs = [world.folder / name / "run" / "events.jsonl" for name in ("a", "b")]
        world.wait_for(lambda: all(log.exists() for log in logs), what="both runs are sending")
        world.latency(0.05)
        ended = [first.ended(), second.ended()]
    assert [ran.code for ran in ended] == [3, 3], [ran.said for ran in ended]
    assert {ran.json["stop_reason"] for ran in ended} == {"budget_spent"}
    assert 0.95 * 40 <= world.metered <= 40
    assert all(ran.json["records"]["done"] for ran in ended)


def given(first, last):
    """Choose records by their ids."""
    condition = f"id >= 'r{first:05}'" + (f" and id < 'r{last:05}'" if last else "")
    return {"path": "data.jsonl", "id": "id", "where": condition}


@pytest.mark.parametrize("code", [4006, 3036])
def test_the_daily_refusal_ends_all_sending(world, code):
    """After the account's daily refusal nothing leaves but what was in flight; the records stay pending."""
    world.records(sentences()[:600])
    world.spec(limits={"batch_size": 5, "concurrency": 16})
    world.faults(
        {"fault": "latency", "seconds": 0.05},
        {"fault": str(code), "after": 20},
    )
    report = world.run(code=3)
    stats = world.stats()
    assert report["stop_reason"] == "allocation_refused"
    assert report["records"]["failed"] == 0
    assert report["records"]["done"] == stats["texts"]
    assert report["advice"].startswith(
        "the account has no neurons left today: run again after 00:00 UTC (wai run job.yaml), or set"
    )
    assert stats["after_refusal"] < 16
    assert stats["requests"]["total"] <= 20 + 16

    world.emulator.set_faults([])
    assert world.run()["records"]["pending"] == 0
    world.check_once([f"r{n:05}" for n in range(600)])


def test_the_real_allocation_refuses(world_with):
    """An allocation that others have used up ends the run although the own book has room."""
    world = world_with("--no-rate-limit", "--daily-neurons", "5")
    world.records(sentences()[:1_000])
    world.spec(model=LARGE, limits={"batch_size": 5, "concurrency": 8})
    report = world.run(code=3)
    assert report["stop_reason"] == "allocation_refused"
    assert world.stats()["after_refusal"] < 8


@pytest.mark.parametrize(
    "fault",
    [{"fault": "3021", "retry_after": 1}, {"fault": "3040"}],
    ids=["rate limit", "capacity"],
)
def test_other_refusals_are_not_taken_for_it(world, fault):
    """Rate limits (3021) and a lack of capacity (3040) are waited out; the run completes."""
    world.records(sentences()[:300])
    world.spec(limits={"batch_size": 30}, retry={"max_delay_seconds": 0.1})
    world.faults({**fault, "times": 3, "after": 2})
    report = world.run()
    assert report["codes"] == {fault["fault"]: 3}
    assert report["records"]["done"] == 300
    assert report["requests"]["sent"] == world.requests
    assert report["neurons"]["spent"] == pytest.approx(world.metered, rel=0.02)


def test_a_429_without_a_code_is_a_rate_limit(world):
    """A 429 that names no code pauses everyone for its Retry-After and is tried again."""
    from tests.support.servers import canned

    answer = (429, {"retry-after": "1"}, b"slow down")
    with canned(answer, then=world.emulator) as url:
        world.records(sentences()[:10])
        world.spec(limits={"batch_size": 5}, retry={"max_delay_seconds": 0.1})
        report = world.run(env={"CLOUDFLARE_BASE_URL": url})
    assert report["records"]["done"] == 10
    assert report["codes"] == {"http_429": 1}
    assert 1.0 <= report["seconds"] < 15


def test_plan_knows_what_was_spent(world):
    """After a run into the budget, plan says what is left and that it takes further days."""
    world.records(sentences()[:600])
    world.spec(model=LARGE, budget={"neurons_per_day": 10}, limits={**FAST, "batch_size": 20})
    report = world.run(code=3)
    plan = world.wai("plan", "job.yaml", "--json").json
    assert plan["records"]["done"] == report["records"]["done"]
    assert plan["records"]["pending"] == report["records"]["pending"]
    assert plan["days"] >= 2
    assert report["neurons"]["remaining_today"] <= 0.05 * 10


def test_a_budget_next_to_nothing(world):
    """0.001 neurons a day: every command says so in figures that can be read, and nothing is sent."""
    world.records(sentences())
    world.spec(task="generate", budget={"neurons_per_day": 0.001})
    plan = world.wai("plan", "job.yaml").out
    assert "budget    0.001 a day, 0 spent today" in plan
    assert "on 9999-12-31" in plan
    ran = world.wai("run", "job.yaml", code=3)
    assert "0 this run, 0 this job; 0.001 of 0.001 left today" in ran.out
    assert "0 by this job; 0.001 of 0.001 left today" in world.wai("status", "job.yaml").out
    assert world.metered == 0


def test_a_ledger_that_is_moved_away_stops_the_run(world):
    """New runs would not see what it books: it ends with 14, says what to do, and goes on once the file is back."""
    world.records(sentences()[:400])
    world.spec(model=LARGE, limits={"batch_size": 4, "concurrency": 2}, budget={"neurons_per_day": 1000})
    world.latency(0.05)
    ledger = world.folder / "state" / "ledger.sqlite3"
    with world.start("run", "job.yaml", "--json") as run:
        world.wait_for(lambda: world.requests >= 4, what="the run is sending")
        ledger.rename(ledger.with_name("moved"))
        ended = run.ended()
    assert ended.code == 14
    assert "put the file back" in ended.err
    assert world.requests < 50
    ledger.with_name("moved").rename(ledger)
    world.latency(0.0)
    assert world.run()["records"]["done"] == 400

"""Several endpoints in one job, through the command line."""

from collections import Counter
from pydoc_data.topics import topics

import pytest

from tests.support.cli import sentences, write_jsonl
from tests.support.workers import stranger

OTHER = "b" * 32
LLAMA = "@cf/meta/llama-3.1-8b-instruct-fp8"
SMALL = "@cf/meta/llama-3.2-3b-instruct"
TWO = [
    {"name": "mine", "weight": 3},
    {
        "name": "ours",
        "account_id_env": "OTHER_ACCOUNT",
        "api_key_env": "OTHER_TOKEN",
        "budget": {"neurons_per_day": 30},
    },
]
PAGES = ("compound", "types", "await", "in")
ENV = {"OTHER_ACCOUNT": OTHER, "OTHER_TOKEN": "obviously-fake-token-of-others"}


def answered_by(world, column="endpoint"):
    return Counter(world.table()[column].to_pylist())


def test_two_accounts_share_a_job_by_weight(world):
    """Each row names the endpoint that answered, and each account pays for its own."""
    world.records(sentences()[:400])
    world.spec(endpoints=TWO, limits={"batch_size": 5})
    assert (
        "mine (weight 3, 10,000 neurons a day), ours (weight 1, 30 neurons a day)" in world.wai("plan", "job.yaml").out
    )
    (warning,) = world.wai("check", "job.yaml", "--json", env=ENV).json["warnings"]
    assert "not those of ours" in warning
    neurons = world.run(env=ENV)["neurons"]
    assert neurons["spent"] == pytest.approx(neurons["spent_this_run"], abs=1e-4)
    assert neurons["budget"] == 10_000 + 30
    assert neurons["remaining_today"] == pytest.approx(neurons["budget"] - neurons["spent"], abs=1e-4)
    seen = world.wai("status", "job.yaml", "--json", env=ENV).json["neurons"]
    assert seen == pytest.approx({name: neurons[name] for name in seen}, abs=1e-4)
    world.check_once(world.ids())
    assert answered_by(world) == {"mine": 300, "ours": 100}


def test_an_account_whose_budget_is_spent_is_left_out(world):
    """The job goes on with the other one until that is spent as well."""
    world.records(sentences()[:600])
    world.spec(task="generate", endpoints=TWO, budget={"neurons_per_day": 40})
    report = world.run(code=3, env=ENV)
    assert report["stop_reason"] == "budget_spent"
    assert 0.97 * 70 <= world.metered <= 70
    assert set(answered_by(world)) == {"mine", "ours"}


def test_a_fallback_model_answers_where_the_model_has_no_capacity(world):
    """Off by default; each row names the model that answered."""
    world.records(sentences()[:40])
    world.faults({"fault": "3040", "model": LLAMA, "share": 0.5})
    world.spec(task="generate", fallback_model=SMALL, params={"max_tokens": 20})
    report = world.run()
    assert report["records"]["done"] == 40
    models = answered_by(world, "model")
    assert set(models) == {LLAMA, SMALL}
    assert sum(models.values()) == 40


@pytest.mark.parametrize(
    ("mine", "n_begun"),
    [
        ({"budget": {"neurons_per_day": 1}}, 0),
        ({"budget": {"neurons_per_day": 60}}, 1),
        ({"api_key_env": "WRONG_TOKEN"}, 0),
    ],
)
def test_long_records_go_to_another_model_where_their_own_has_no_budget_or_is_refused(world, mine, n_begun):
    """They are cut anew for it and are done for the next run too; one that was begun waits for its first model."""
    write_jsonl(world.folder / "data.jsonl", [{"id": name, "text": topics[name]} for name in PAGES])
    other = {**TWO[1], "model": SMALL, "budget": {"neurons_per_day": 10_000}}
    keys = {"params": {"max_tokens": 120}, "model_info": {"context_window": 4_000}}
    world.spec(task="summarize", endpoints=[{"name": "mine", **mine}, other], **keys)
    env = {**ENV, "WRONG_TOKEN": "bad-token-obviously-fake"}
    first = world.run(code=3 if n_begun else 0, env=env)
    assert first["records"]["pending"] == n_begun
    assert answered_by(world) == {"ours": len(PAGES) - n_begun}
    n_requests = world.requests
    again = world.run(code=3 if n_begun else 0, env=env)
    assert again["records"] == first["records"]
    assert world.requests == n_requests


@pytest.mark.parametrize(("keys", "flags"), [({}, ["--rehearse"]), ({"endpoint": {"kind": "emulator"}}, [])])
def test_a_fallback_model_shares_the_simulated_account(world, keys, flags):
    """A second model is no second allowance, in a rehearsal as little as elsewhere."""
    world.records(sentences()[:4])
    world.spec(task="generate", fallback_model=SMALL, params={"max_tokens": 20}, **keys)
    assert world.run("job.yaml", *flags)["neurons"]["budget"] == 10_000


def test_an_account_that_is_refused_is_left_and_said_so(world):
    """A wrong token of one endpoint does not end the job."""
    world.records(sentences()[:60])
    world.spec(endpoints=TWO, limits={"batch_size": 5})
    ran = world.wai("run", "job.yaml", env={**ENV, "OTHER_TOKEN": "bad-token-obviously-fake"})
    assert answered_by(world) == {"mine": 60}
    assert "ours refused" in ran.said
    assert "the other endpoints go on" in ran.said


def test_simulated_answers_of_one_endpoint_mark_the_whole_output(world):
    """P11: whichever of the endpoints is an emulator, its rows do not pass for real ones."""
    world.records(sentences()[:6])
    with stranger() as other:
        own = {"kind": "openai", "base_url": f"{other.url}/v1", "model": "small-model"}
        world.spec(task="generate", endpoints=[own, {"name": "cloudflare"}], params={"max_tokens": 20})
        report = world.run()
    assert set(answered_by(world)) == {"openai-1", "cloudflare"}
    assert report["simulated"] is True


def test_a_report_tells_what_all_endpoints_of_an_account_have_spent(world):
    """However short the run was: less than a second is less than a heartbeat of the book."""
    world.records(sentences()[:40])
    world.spec(task="generate", endpoints=[{"name": "a"}, {"name": "b"}], params={"max_tokens": 20})
    report = world.run()
    assert report["neurons"]["spent"] == pytest.approx(report["neurons"]["spent_this_run"])


@pytest.mark.parametrize(
    ("groups", "said"),
    [
        ({"endpoints": TWO, "endpoint": {"kind": "workers-ai"}}, "give endpoint or endpoints, not both"),
        ({"endpoints": [{"name": "a"}, {"name": "a"}]}, '"a" names two endpoints'),
        ({"endpoints": [{"weight": 0}]}, "every endpoint has weight 0"),
        ({"fallback_model": "@cf/baai/bge-large-en-v1.5"}, "vectors of different models cannot be compared"),
        ({"endpoints": [{"name": "a", "account_id_env": "NOT SET"}]}, "account_id_env"),
    ],
)
def test_what_makes_no_sense_is_refused_before_anything_is_sent(world, groups, said):
    world.records(["a"])
    world.spec(**groups)
    assert said in world.wai("validate", "job.yaml", code=2).said


def test_a_variable_that_is_not_set_is_named(world):
    world.records(["a"])
    world.spec(endpoints=TWO)
    assert "OTHER_ACCOUNT" in world.wai("run", "job.yaml", code=2).said
    assert world.requests == 0

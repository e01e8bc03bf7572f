"""The budget's other keys: neurons left to others, use elsewhere, prices that are wrong or not known."""

import json
import urllib.request

import pytest

from tests.support.cli import ACCOUNT, TOKEN, sentences

LARGE = "@cf/baai/bge-large-en-v1.5"


def elsewhere(world, n_texts):
    """Production uses the account, past any ledger of ours; returns the neurons it used."""
    before = world.metered
    request = urllib.request.Request(
        f"{world.emulator.url}/accounts/{ACCOUNT}/ai/run/{LARGE}",
        data=json.dumps({"text": [f"production text {n}" for n in range(n_texts)]}).encode(),
        headers={"Authorization": f"Bearer {TOKEN}", "Content-Type": "application/json"},
    )
    with urllib.request.urlopen(request) as response:
        assert response.status == 200
    return world.metered - before


@pytest.fixture
def large(world):
    world.records(sentences()[:1_500])
    return lambda **budget: world.spec(model=LARGE, limits={"batch_size": 10, "concurrency": 8}, budget=budget)


def test_neurons_left_to_others(world, large):
    """`reserve_for_others` is not spent, and the report and the plan say so."""
    large(neurons_per_day=60, reserve_for_others=25)
    plan = world.wai("plan", "job.yaml").out
    assert "35 a day (25 are left to others)" in plan
    report = world.run(code=3)
    assert report["stop_reason"] == "budget_spent"
    assert 0.99 * 35 <= world.metered <= 35
    assert report["neurons"]["budget"] == 35


def test_nothing_left_is_a_mistake_of_the_spec(world, large):
    """Found before anything is read."""
    large(neurons_per_day=60, reserve_for_others=60)
    said = world.wai("validate", "job.yaml", code=2).err
    assert "job.yaml:" in said
    assert "reserve_for_others (60) leaves nothing of neurons_per_day (60)" in said


def test_use_elsewhere_counts_as_spent(world, large):
    """`reconcile: true` asks Cloudflare first: the account as a whole stays within the budget."""
    production = elsewhere(world, 100)
    assert production > 5
    large(neurons_per_day=60, reconcile=True)
    with world.start("run", "job.yaml") as running:
        ran = running.ended()
    assert ran.code == 3
    assert "neurons of today were used elsewhere: they count as spent" in ran.err
    assert 0.98 * 60 <= world.metered <= 60
    rows = world.wai("budget", "--json").json["rows"]
    assert [row["neurons"] for row in rows if row["job"] == "other use of the account"] == [pytest.approx(production)]


def test_without_reconcile_the_book_knows_only_its_own(world, large):
    """So that the test above can fail."""
    production = elsewhere(world, 100)
    large(neurons_per_day=60)
    world.run(code=3)
    assert world.metered == pytest.approx(60 + production, rel=0.01)


def test_a_token_that_may_not_ask(world, large):
    """One sentence, and the run goes on with its own book; the command ends with the same sentence."""
    large(neurons_per_day=60, reconcile=True)
    env = {"CLOUDFLARE_API_TOKEN": "noanalytics-test-token-not-real"}
    ran = world.wai("run", "job.yaml", code=3, env=env)
    assert ran.err.count('give it the permission "Account Analytics: Read"') == 1
    assert "The run goes on with the local book" in ran.err
    assert 0.98 * 60 <= world.metered <= 60
    asked = world.wai("budget", "--reconcile", code=12, env=env)
    assert len(asked.err.splitlines()) == 1
    assert "Account Analytics: Read" in asked.err


def test_the_book_beside_cloudflares_count(world, large):
    """`wai budget --reconcile`: by model, and what it means."""
    large(neurons_per_day=30)
    world.run(code=3)
    said = world.wai("budget", "--reconcile").out
    assert "the book has all that Cloudflare knows of" in said
    production = elsewhere(world, 50)
    said = world.wai("budget", "--reconcile").out
    assert "neurons were used elsewhere: they count as spent today" in said
    seen = world.wai("budget", "--reconcile", "--json").json["cloudflare"]
    assert seen["theirs"] == pytest.approx(world.metered)
    assert seen["theirs_by_model"] == {LARGE: pytest.approx(world.metered)}
    assert seen["elsewhere"] == pytest.approx(production, abs=0.1)
    # another account of the same book is not taken for this one
    other = world.wai("budget", "--reconcile", env={"CLOUDFLARE_ACCOUNT_ID": "e" * 32}).out
    assert f"account {'e' * 32}:" in other
    assert LARGE not in other.partition("account e")[2]
    # and a run that never asks finds it in the book
    assert world.run(code=3)["neurons"]["remaining_today"] <= 0.3


def test_a_price_that_proves_too_low(world):
    """The meter charges thrice the price given: told once, reserved for, and known to the next run of the day."""
    world.records(sentences()[:1_500])
    spec = {
        "model": LARGE,
        "model_info": {"input_per_m_tokens": 18_582 / 12},  # bytes bound tokens about fourfold: a third of the ceiling
        "limits": {"batch_size": 10, "concurrency": 4},
    }
    world.spec(**spec, budget={"neurons_per_day": 40})
    ran = world.wai("run", "job.yaml", code=3)
    assert ran.err.count("the known price of the model is too low") == 1
    first = world.metered
    assert 0.95 * 40 <= first <= 40 * 1.02
    world.spec("second.yaml", **spec, budget={"neurons_per_day": 80}, output={"path": "second"})
    world.wai("run", "second.yaml", code=3)
    assert world.metered <= 80


def test_a_model_without_a_price(world):
    """Refused, unless the spec allows it: then the dearest price is reserved, and what the service names is booked."""
    world.records(sentences()[:40])
    world.spec(model="@cf/google/embeddinggemma-300m", limits={"batch_size": 10})
    assert "budget: {unpriced: allow}" in world.wai("run", "job.yaml", code=2).err
    world.spec(model="@cf/google/embeddinggemma-300m", limits={"batch_size": 10}, budget={"unpriced": "allow"})
    assert "no price is published" in world.wai("plan", "job.yaml").out
    report = world.run()
    assert report["records"]["done"] == 40
    assert report["neurons"]["spent"] > 0
    assert report["neurons"]["spent"] >= world.metered * 0.995

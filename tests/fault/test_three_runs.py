"""Three runs of one account at once, one of them killed and started again: one budget, kept and used (P3, P4)."""

import pytest

from tests.support.cli import KILL, sentences

LARGE = "@cf/baai/bge-large-en-v1.5"
PER_DAY = 1_000


@pytest.mark.slow
def test_three_runs_one_killed_and_restarted(world, figures):
    """The meter never passes the shared budget, and at least 97 % of it is used, whatever the dead had set aside."""
    texts = sentences()
    names = ("a", "b", "c")
    for name in names:
        (world.folder / f"{name}.txt").write_text("\n".join(f"{name}: {text}" for text in texts), encoding="utf-8")
        world.spec(
            f"{name}.yaml",
            model=LARGE,
            identity=None,
            input={"path": f"{name}.txt"},
            output={"path": f"out-{name}"},
            limits={"batch_size": 10, "concurrency": 4},
            budget={"neurons_per_day": PER_DAY},
        )
    world.latency(0.3)
    runs = {"a": world.start("run", "a.yaml", "--json")}
    try:
        world.wait_for(lambda: world.metered >= 0.1 * PER_DAY, what="the first to spend")
        runs.update({name: world.start("run", f"{name}.yaml", "--json") for name in ("b", "c")})
        world.wait_for(lambda: world.metered >= 0.3 * PER_DAY, what="all to spend")
        runs["a"].send(KILL)  # four requests in flight: about 2 % of the budget
        runs["a"].ended()
        runs["a"] = world.start("run", "a.yaml", "--json")
        ended = {name: run.ended(120) for name, run in runs.items()}
    finally:
        for run in runs.values():
            run.__exit__()
    assert {name: ran.code for name, ran in ended.items()} == dict.fromkeys(names, 3)
    rows = world.wai("budget", "--json").json["rows"]
    booked = sum(row["neurons"] + row["reserved"] + row["assumed"] for row in rows)
    figures(
        {
            "budget": PER_DAY,
            "metered": round(world.metered, 2),
            "booked": round(booked, 2),
            "assumed_of_the_dead": round(sum(row["assumed"] for row in rows), 2),
        }
    )
    assert world.metered <= booked * 1.005
    assert booked <= PER_DAY
    assert 0.97 * PER_DAY <= world.metered <= PER_DAY
    assert not list((world.folder / "state" / "leases").iterdir())

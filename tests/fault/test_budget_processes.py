"""Real processes on one ledger, one of them killed: the shared budget is kept and used."""

import asyncio
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

from pipeline.budget import BudgetSession, Ledger
from pipeline.clock import SystemClock
from tests.support.clocks import NoonClock

ROOT = Path(__file__).resolve().parents[2]
BUDGET = 2000.0
CEILING = 4.0

# Each "request" is metered by a line in the tally before it is settled, as the service charges before we read the
# answer. Lines are appended in one small write each, so those of several processes do not mix.
WORKER = """
import asyncio, os, random, sys
from pathlib import Path
from pipeline.budget import BudgetSession, Ledger
from pipeline.errors import BudgetExhausted
from tests.support.clocks import NoonClock

folder, number, budget_neurons, ceiling = Path(sys.argv[1]), int(sys.argv[2]), float(sys.argv[3]), float(sys.argv[4])
random.seed(number)
tally = os.open(folder / "tally", os.O_WRONLY | os.O_APPEND | os.O_CREAT)

async def lane(budget):
    asked = None
    while True:
        asked = asked or random.uniform(ceiling / 4, ceiling)
        try:
            hold = await budget.reserve(asked)
        except BudgetExhausted as refused:
            if asked <= ceiling / 4:
                return
            asked = max(ceiling / 4, min(asked / 2, refused.room))
            continue
        asked = None
        budget.mark_sent(hold, presumed=hold.neurons)
        await asyncio.sleep(random.uniform(0.001, 0.02))
        charge = hold.neurons * random.uniform(0.25, 1)
        os.write(tally, f"{number} {charge!r}\\n".encode())
        budget.settle(hold, charge)

async def beat(budget):
    while True:
        await asyncio.sleep(0.2)
        await budget.heartbeat()

async def main():
    clock = NoonClock()
    with Ledger(folder / "state" / "ledger.sqlite3", clock) as ledger:
        async with BudgetSession(ledger, account="acc", job_id=f"job-{number}", job_name="j", model="m", clock=clock,
                                 neurons_per_day=budget_neurons) as budget:
            ticker = asyncio.ensure_future(beat(budget))
            async with asyncio.TaskGroup() as group:
                for _ in range(4):
                    group.create_task(lane(budget))
            ticker.cancel()

asyncio.run(main())
"""


def spawn(folder: Path, number: int) -> subprocess.Popen[bytes]:
    return subprocess.Popen(
        [sys.executable, "-c", WORKER, str(folder), str(number), str(BUDGET), str(CEILING)],
        env={**os.environ, "PYTHONPATH": str(ROOT)},
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
    )


def read_tally(folder: Path) -> list[float]:
    path = folder / "tally"
    return [float(line.split()[1]) for line in path.read_text().splitlines()] if path.exists() else []


def test_three_processes_one_killed_share_one_budget(tmp_path: Path) -> None:
    """The meter never passes the budget; the living use all but 1 % of what the killed one had in flight.

    That is at most four requests of 4 neurons, 0.8 % of the budget.
    """
    processes = [spawn(tmp_path, number) for number in range(3)]
    try:
        deadline = time.monotonic() + 30
        while sum(read_tally(tmp_path)) < BUDGET / 4 and time.monotonic() < deadline:
            time.sleep(0.01)
        victim = processes[0]
        victim.send_signal(signal.SIGKILL)
        # Not waited for yet: a zombie is dead, too.
        for process in processes[1:]:
            out, _ = process.communicate(timeout=60)
            assert process.returncode == 0, out.decode()
        victim.communicate()
    finally:
        for process in processes:
            process.kill()
            process.wait()
    used = sum(read_tally(tmp_path))
    with Ledger(tmp_path / "state" / "ledger.sqlite3", NoonClock()) as ledger:
        totals = ledger.totals("acc", ledger.day("acc"))
        rows = ledger.report("acc")
    figures = f"used {used / BUDGET:.2%}, assumed of the dead {totals.assumed / BUDGET:.2%}, requests {totals.requests}"
    print(f"\n{figures}")  # noqa: T201 - a figure to read with -s
    assert used <= BUDGET * (1 + 1e-12)
    assert used <= totals.booked * (1 + 1e-12) <= BUDGET * (1 + 2e-12)
    assert (totals.reserved, totals.leased) == (0, 0)
    assert [row.job_id for row in rows if row.assumed] in ([], ["job-0"])
    assert used + totals.assumed >= 0.99 * BUDGET
    assert used >= 0.98 * BUDGET


async def test_a_killed_process_leaves_what_it_had_in_flight_spent_for_its_resume(tmp_path: Path) -> None:
    """After SIGKILL the next session of the same job sees as spent what had left, and no more."""
    script = (
        "import asyncio, sys, time\n"
        "from pathlib import Path\n"
        "from pipeline.budget import BudgetSession, Ledger\n"
        "from pipeline.clock import SystemClock\n"
        "async def main():\n"
        "    ledger = Ledger(Path(sys.argv[1]), SystemClock())\n"
        "    budget = BudgetSession(ledger, account='acc', job_id='j', job_name='j', model='m', clock=SystemClock(),\n"
        "                           neurons_per_day=100)\n"
        "    await budget.__aenter__()\n"
        "    budget.settle(await budget.reserve(1), 0.5)\n"
        "    await budget.reserve(20)\n"
        "    budget.mark_sent(await budget.reserve(30), presumed=30)\n"
        "    print('ready', flush=True)\n"
        "    time.sleep(60)\n"
        "asyncio.run(main())\n"
    )
    path = tmp_path / "ledger.sqlite3"
    process = await asyncio.create_subprocess_exec(
        sys.executable, "-c", script, str(path), env={**os.environ, "PYTHONPATH": str(ROOT)}, stdout=subprocess.PIPE
    )
    assert process.stdout is not None
    assert await process.stdout.readline() == b"ready\n"
    clock = SystemClock()
    with Ledger(path, clock) as ledger:
        day = ledger.day("acc")
        alive = ledger.totals("acc", day)
        assert (alive.assumed, alive.booked >= 50.5) == (0, True)
        process.kill()
        await process.wait()
        dead = ledger.totals("acc", day)
        assert (dead.settled, dead.assumed, dead.booked) == (0.5, 30, 30.5)
        async with BudgetSession(
            ledger, account="acc", job_id="j", job_name="j", model="m", clock=clock, neurons_per_day=100
        ) as budget:
            assert budget.state().spent == budget.state().job_total == 30.5
            budget.release(await budget.reserve(69.5))

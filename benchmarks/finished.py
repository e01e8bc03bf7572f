"""Makes the output of a job that has answered its first `rows` records, without sending them."""

from __future__ import annotations

from itertools import islice

import numpy as np

from benchmarks.client import main
from pipeline.clock import SystemClock
from pipeline.control import Options
from pipeline.outputs import open_output
from pipeline.planning import opened, scanned
from pipeline.resolve import resolve
from pipeline.rows import RowBuilder, Share
from pipeline.settings import load_settings
from pipeline.spec import load_spec

BATCH = 1_000


def work(task):
    clock = SystemClock()
    job = resolve(load_spec(task["spec"]), load_settings(need_credentials=True))
    vector = np.full(job.model.dimensions, 0.5, dtype=np.float32)
    with opened(job) as source:
        found = scanned(job, source, clock=clock)
        store, _, keep = open_output(job, found, Options(), clock=clock, tell=lambda _: None)
        builder = RowBuilder(job.adapter, keep, include_input=False)
        builder.restart()
        rows = []
        for record in islice(source.read(), task["rows"]):
            (piece,) = job.adapter.pieces(record)
            rows.append(builder.add(piece, Share(vector, 0.001, 100.0, 1, job.model.name), clock.now()))
            if len(rows) == BATCH:
                store.append(rows, [])
                rows = []
                if store.needs_fold:
                    store.seal()
        store.append(rows, [])
        store.seal()
        store.close({"run_id": "made", "stop_reason": "completed"})
    return {"done": task["rows"]}


if __name__ == "__main__":
    main(work)

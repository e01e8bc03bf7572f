"""Reads what a run leaves, for people: pandas at the edge."""

from __future__ import annotations

from pathlib import Path

import pandas as pd


def read_results(output: str | Path) -> pd.DataFrame:
    """Return all result rows of an output folder: one per record, or several where its task makes several.

    Raises:
        FileNotFoundError: No answer has been sealed into a part yet.
    """
    return _read(Path(output) / "results")


def read_failures(output: str | Path) -> pd.DataFrame:
    """Return all failure rows of an output folder; an empty frame where nothing failed."""
    try:
        return _read(Path(output) / "failures")
    except FileNotFoundError:
        return pd.DataFrame(
            columns=["id", "source", "row", "code", "http_status", "message", "attempts", "retryable", "at"]
        )


def _read(folder: Path) -> pd.DataFrame:
    if not any(folder.glob("part-*.parquet")):
        raise FileNotFoundError(f"{folder} holds no finished part yet")
    return pd.read_parquet(folder)

"""The whole story of one record: where it is in the input, how it stands, what was tried, where its row is, what next.

`explain_record` looks; `Explanation` is what it found, as values, JSON and words. Reads the input up to the record and
no further. No network and no lock; works while a run goes on.
"""

from pipeline.explain.explanation import Entry, Explanation, Standing
from pipeline.explain.lookup import explain_record

__all__ = ["Entry", "Explanation", "Standing", "explain_record"]

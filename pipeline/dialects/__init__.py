"""Dialects: how a request is put on the wire for one kind of endpoint, and what its answers mean.

A dialect is pure. Adding one touches nothing else.
"""

from pipeline.dialects.workers_ai import WorkersAI

__all__ = ["WorkersAI"]

"""Dialects: how a request is put on the wire for one kind of endpoint, and what its answers mean.

A dialect is pure. Adding one touches nothing else.
"""

from pipeline.dialects.deeplx import DeepLX
from pipeline.dialects.image_worker import ImageWorker, Link
from pipeline.dialects.openai import OpenAI, openai_dialect
from pipeline.dialects.server_errors import Refusals
from pipeline.dialects.workers_ai import WorkersAI

__all__ = ["DeepLX", "ImageWorker", "Link", "OpenAI", "Refusals", "WorkersAI", "openai_dialect"]

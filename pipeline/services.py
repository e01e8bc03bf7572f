"""Cloudflare's tasks: which of ours they serve, how fast, how their models are priced, and what follows retired ones.

Tables only. Sources: developers.cloudflare.com/workers-ai/platform/limits (2026-09-17) and
developers.cloudflare.com/workers-ai/platform/pricing (2026-08-28).
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from types import MappingProxyType
from typing import Final


@dataclass(frozen=True, slots=True)
class JobTask:
    """Which models serve a task of the job spec.

    Attributes:
        default: The model where the spec names none.
        cloudflare: Cloudflare's tasks whose models do it.
        also: Models of other tasks that do it beside their own.
    """

    default: str
    cloudflare: tuple[str, ...]
    also: tuple[str, ...] = ()

    def takes(self, name: str, task: str) -> bool:
        """Whether a model of one of Cloudflare's tasks serves it."""
        return task in self.cloudflare or name in self.also


JOB_TASKS: Final[Mapping[str, JobTask]] = MappingProxyType(
    {
        "embed": JobTask("@cf/baai/bge-m3", ("text-embeddings",)),
        "generate": JobTask("@cf/meta/llama-3.1-8b-instruct-fp8", ("text-generation",)),
        "translate": JobTask("@cf/meta/m2m100-1.2b", ("translation",)),
        "transcribe": JobTask("@cf/openai/whisper-large-v3-turbo", ("automatic-speech-recognition",)),
        "classify": JobTask("@cf/huggingface/distilbert-sst-2-int8", ("text-classification", "text-generation")),
        "rerank": JobTask("@cf/baai/bge-reranker-base", ("reranking",), also=("@cf/baai/bge-m3",)),
        "summarize": JobTask("@cf/meta/llama-3.1-8b-instruct-fp8", ("text-generation",)),
        "image": JobTask("@cf/black-forest-labs/flux-1-schnell", ("text-to-image",)),
        "classify-image": JobTask("@cf/microsoft/resnet-50", ("image-classification",)),
        "detect-objects": JobTask("@cf/facebook/detr-resnet-50", ("object-detection",)),
        "caption": JobTask("@cf/moondream/moondream3.1-9B-A2B", ("image-to-text",)),
        "speak": JobTask("@cf/myshell-ai/melotts", ("text-to-speech",)),
        "to-markdown": JobTask("tomarkdown", ("document-conversion",)),
    }
)
"""By name of the task."""

REQUESTS_PER_MINUTE: Final[Mapping[str, int]] = MappingProxyType(
    {
        "automatic-speech-recognition": 720,
        "image-classification": 3000,
        "image-to-text": 720,
        "object-detection": 3000,
        "reranking": 2000,  # Cloudflare counts it as text classification
        "summarization": 1500,
        "text-classification": 2000,
        "text-embeddings": 3000,
        "text-generation": 300,
        "text-to-image": 720,
        "translation": 720,
    }
)
"""Documented limit per account and task. Source: developers.cloudflare.com/workers-ai/platform/limits (2026-09-17)."""

PAID_REQUESTS_PER_MINUTE: Final = 20
"""Per account and model for models that need the paid plan; 50 with prepaid credits. Source: as above."""

_BY_INPUT: Final = (("input_per_m_tokens",),)
_BY_TOKENS: Final = (("input_per_m_tokens", "output_per_m_tokens"),)
_BY_IMAGE: Final = (("per_m_images",),)

NEEDED_PRICES: Final[Mapping[str, tuple[tuple[str, ...], ...]]] = {
    "text-embeddings": _BY_INPUT,
    "text-classification": _BY_INPUT,
    "reranking": _BY_INPUT,
    "text-generation": _BY_TOKENS,
    "translation": _BY_TOKENS,
    "image-to-text": _BY_TOKENS,
    "image-classification": _BY_IMAGE,
    "object-detection": _BY_IMAGE,
    "automatic-speech-recognition": (("per_audio_minute",),),
    "text-to-speech": (("per_audio_minute",), ("per_m_chars",)),
    "text-to-image": (
        ("per_tile", "per_step"),
        ("per_input_tile_step", "per_output_tile_step"),
        ("per_input_tile", "per_output_tile"),
        ("per_first_mp", "per_extra_mp", "per_input_mp"),
    ),
    "document-conversion": ((),),
}
"""By Cloudflare's task: the units in which its models are priced, as alternatives."""

# Where a person would go from a retired model: the same weights in another precision, else the next of the family.
REPLACEMENTS: Final[Mapping[str, str]] = {
    "@cf/meta/llama-3.1-8b-instruct": "@cf/meta/llama-3.1-8b-instruct-fp8",
    "@cf/meta/llama-3.1-8b-instruct-awq": "@cf/meta/llama-3.1-8b-instruct-fp8",
    "@cf/meta/llama-3-8b-instruct": "@cf/meta/llama-3.1-8b-instruct-fp8",
    "@cf/meta/llama-3-8b-instruct-awq": "@cf/meta/llama-3.1-8b-instruct-fp8",
    "@hf/meta-llama/meta-llama-3-8b-instruct": "@cf/meta/llama-3.1-8b-instruct-fp8",
    "@cf/meta/llama-3.1-70b-instruct": "@cf/meta/llama-3.3-70b-instruct-fp8-fast",
    "@cf/meta/llama-2-7b-chat-int8": "@cf/meta/llama-3.1-8b-instruct-fp8",
    "@cf/meta/llama-2-7b-chat-fp16": "@cf/meta/llama-3.1-8b-instruct-fp8",
    "@cf/mistral/mistral-7b-instruct-v0.1": "@cf/mistralai/mistral-small-3.1-24b-instruct",
    "@hf/mistral/mistral-7b-instruct-v0.2": "@cf/mistralai/mistral-small-3.1-24b-instruct",
    "@cf/google/gemma-3-12b-it": "@cf/google/gemma-4-26b-a4b-it",
    "@hf/google/gemma-7b-it": "@cf/google/gemma-4-26b-a4b-it",
    "@cf/defog/sqlcoder-7b-2": "@cf/qwen/qwen2.5-coder-32b-instruct",
    "@cf/unum/uform-gen2-qwen-500m": "@cf/moondream/moondream3.1-9B-A2B",
}

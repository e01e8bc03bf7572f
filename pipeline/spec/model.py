"""The job spec as frozen values: every key, its default and its bounds, once.

Takes plain data (from YAML, `--set`, or Python), hands on a `JobSpec`. Unknown keys are errors. Does no I/O.
"""

from __future__ import annotations

import re
from typing import Annotated, Literal

from pydantic import (
    AfterValidator,
    BaseModel,
    ConfigDict,
    Field,
    ValidationInfo,
    field_validator,
    model_validator,
)

from pipeline.addresses import address_problem
from pipeline.spec.deadline import check_deadline
from pipeline.spec.secrets import NO_VARIABLE, looks_secret
from pipeline.words import neurons

Neurons = Annotated[float, Field(gt=0, allow_inf_nan=False)]
Seconds = Annotated[float, Field(gt=0, le=86_400, allow_inf_nan=False)]


# YAML and JSON know lists only: a tuple must be allowed to come from one. Its elements stay strict.
Texts = Annotated[tuple[str, ...], Field(strict=False)]
Items = Annotated[tuple[str | dict[str, object], ...], Field(strict=False, min_length=1)]
Price = Annotated[float, Field(ge=0, allow_inf_nan=False)]


def _no_secret(value: str) -> str:
    if looks_secret(value):
        raise ValueError(NO_VARIABLE)
    return value


VariableName = Annotated[str, Field(pattern=r"^[A-Za-z_][A-Za-z0-9_]*$"), AfterValidator(_no_secret)]

_MODEL_NAME = re.compile(r"@(cf|hf)(/[A-Za-z0-9][A-Za-z0-9._-]*){2}")


_NEITHER = "give either path (files) or items (records written here)"


class Group(BaseModel):
    """A group of keys: frozen, strict, no key that is not declared."""

    model_config = ConfigDict(frozen=True, extra="forbid", strict=True, hide_input_in_errors=False)


class InputSpec(Group):
    """Where the records come from (``input:``)."""

    model_config = ConfigDict(json_schema_extra={"oneOf": [{"required": ["path"]}, {"required": ["items"]}]})

    path: str | Texts | None = Field(default=None, description='File, glob, folder, list of them, or "-" for stdin.')
    items: Items | None = Field(default=None, description="Records written in the spec itself, instead of path.")
    format: Literal["text", "jsonl", "csv", "tsv", "parquet", "audio", "images", "documents"] | None = Field(
        default=None, description="Inferred from the suffix; .gz and .zst are read as they are."
    )
    text: str | None = Field(
        default=None,
        description='The column that is sent, or a template such as "{title}\\n\\n{body}". Default per task.',
    )
    id: str | None = Field(
        default=None,
        description="Column with the record id. Default: <file>#<row>, or the path of a file that is one record.",
    )
    keep: Texts = Field(default=(), description="Columns carried to the output.")
    limit: int | None = Field(default=None, gt=0, description="Only the first N records.")
    where: str | None = Field(
        default=None, description="SQL condition on the columns, e.g. lang = 'en' and length(body) > 20."
    )

    @model_validator(mode="after")
    def _one_origin(self) -> InputSpec:
        if (self.path is None) == (self.items is None):
            raise ValueError(_NEITHER if self.path is None else "give path or items, not both")
        if self.path is not None and not self.path:
            raise ValueError("path is empty; give a file, a glob, a folder, a list of them, or - for stdin")
        return self


class OutputSpec(Group):
    """Where the answers go (``output:``)."""

    path: str | None = Field(default=None, description="Output folder. Default: out/<name>.")
    include_input: bool = Field(default=False, description="Add the text that was sent as column `input`.")
    subtitles: Annotated[tuple[Literal["srt", "vtt"], ...], Field(strict=False)] = Field(
        default=(), description="transcribe: subtitle files to write into media/, e.g. [srt, vtt]."
    )
    vectors: Literal["float32", "float16", "int8"] = Field(
        default="float32", description="embed: numbers that vectors are stored as; int8 with a scale for each vector."
    )


class LimitsSpec(Group):
    """How hard to press (``limits:``)."""

    concurrency: int = Field(
        default=64, ge=1, le=1024, description="Ceiling of requests in flight; the run adapts below it."
    )
    requests_per_minute: int | None = Field(
        default=None, ge=1, le=1_000_000, description="Default: the model's documented limit."
    )
    request_timeout_seconds: Seconds = Field(
        default=130.0, description="Per attempt; the service itself gives up at about 120."
    )
    batch_size: int | None = Field(
        default=None,
        ge=1,
        le=10_000,
        description="Records per request at most. Default: the model's documented maximum.",
    )
    grace_seconds: Annotated[float, Field(ge=0, le=3600, allow_inf_nan=False)] = Field(
        default=30.0, description="After Ctrl-C: how long requests in flight may still take."
    )
    deadline: Annotated[str, AfterValidator(check_deadline)] | None = Field(
        default=None,
        description='When to end as after Ctrl-C: after a time ("8h", "90m"), at a time of day here ("07:00"), or at a'
        ' moment ("2026-11-24T07:00Z").',
    )


class RetrySpec(Group):
    """What to try again, and when to give up (``retry:``)."""

    attempts: int = Field(default=6, ge=1, le=100, description="Attempts per request.")
    max_delay_seconds: Seconds = Field(default=60.0, description="Longest wait between two attempts.")
    abort_share: Annotated[float, Field(gt=0, le=1, allow_inf_nan=False)] = Field(
        default=0.5, description="Stop as `failing` when this share of the last 200 requests failed."
    )


class BudgetSpec(Group):
    """How much may be spent (``budget:``)."""

    neurons_per_day: Neurons = Field(default=10_000.0, description="Account-wide, per UTC day.")
    neurons_total: Neurons | None = Field(default=None, description="For this job as a whole, across days and resumes.")
    when_spent: Literal["stop", "wait"] = Field(default="stop", description="wait: sleep until 00:00 UTC and go on.")
    reserve_for_others: Annotated[float, Field(ge=0, allow_inf_nan=False)] = Field(
        default=0.0, description="Neurons of the day that this job leaves to others, e.g. to production."
    )
    reconcile: bool = Field(
        default=False,
        description="Ask Cloudflare's analytics what the account really used today; the higher figure counts as spent."
        " The token needs Account Analytics: Read.",
    )
    unpriced: Literal["refuse", "allow"] = Field(
        default="refuse",
        description="allow: run a model without a published price; the dearest price of its task is reserved, and what"
        " the service names is booked.",
    )

    @model_validator(mode="after")
    def _leaves_something(self) -> BudgetSpec:
        if self.reserve_for_others >= self.neurons_per_day:
            raise ValueError(
                f"reserve_for_others ({neurons(self.reserve_for_others)}) leaves nothing of neurons_per_day"
                f" ({neurons(self.neurons_per_day)})"
            )
        return self

    @property
    def day(self) -> float:
        """Neurons that jobs like this one may bring the account's day to."""
        return self.neurons_per_day - self.reserve_for_others


class CheckpointSpec(Group):
    """How answers become durable (``checkpoint:``)."""

    seconds: Annotated[float, Field(gt=0, le=60, allow_inf_nan=False)] = Field(
        default=1.0, description="An answer is safe on disk within this time."
    )
    rows_per_part: int = Field(default=50_000, ge=100, le=1_000_000, description="Rows in one Parquet part.")


def _server_address(value: str) -> str:
    if problem := address_problem(value, example="https://api.example.com/v1"):
        raise ValueError(problem)
    return value.rstrip("/")


class EndpointSpec(Group):
    """Whom to call (``endpoint:``)."""

    kind: Literal["workers-ai", "openai", "deeplx", "whisper-worker", "image-worker", "emulator"] = Field(
        default="workers-ai",
        description="openai: any server that speaks OpenAI's interface. deeplx, whisper-worker, image-worker: Workers"
        " that people run for translation, speech and pictures. emulator: the local simulation, spends nothing.",
    )
    base_url: Annotated[str, AfterValidator(_server_address)] | None = Field(
        default=None,
        description="Address of the server, https (http only to this machine). Default: CLOUDFLARE_BASE_URL;"
        " for openai Cloudflare's own /ai/v1.",
    )
    api_key_env: VariableName | None = Field(
        default=None,
        description="Name of the environment variable with the server's key; the key itself is never written here.",
    )
    api_key_in: Literal["header", "password", "token", "key"] | None = Field(
        default=None,
        description="header: Authorization: Bearer. Otherwise the query parameter of that name."
        " Default: password for deeplx, header for all others.",
    )
    gateway: str | None = Field(
        default=None, min_length=1, pattern=r"^[A-Za-z0-9_-]+$", description="Id of an AI Gateway to go through."
    )
    mode: Literal["direct", "queue"] = Field(
        default="direct",
        description="queue: Cloudflare's own queue, for models that have it; fulfilled eventually, never refused.",
    )
    account_id_env: VariableName | None = Field(
        default=None, description="Environment variable with the account id. Default: CLOUDFLARE_ACCOUNT_ID."
    )
    cache_ttl_seconds: int | None = Field(
        default=None,
        ge=60,
        le=2_592_000,
        description="Let the AI Gateway keep answers so long; equal requests cost nothing then.",
    )
    skip_cache: bool = Field(default=False, description="Ask the model even where the AI Gateway has its answer.")


class LaneBudgetSpec(Group):
    """The allowance of one endpoint among several."""

    neurons_per_day: Neurons | None = Field(
        default=None, description="Of its account. Default: budget.neurons_per_day."
    )


class LaneLimitsSpec(Group):
    """How hard to press one endpoint among several."""

    concurrency: int | None = Field(default=None, ge=1, le=1024, description="Default: limits.concurrency.")
    requests_per_minute: int | None = Field(default=None, ge=1, le=1_000_000, description="Default: the model's limit.")


class LaneSpec(EndpointSpec):
    """One of several endpoints (``endpoints:``)."""

    name: str | None = Field(
        default=None,
        max_length=60,
        pattern=r"^[A-Za-z0-9][A-Za-z0-9._-]*$",
        description="Names it in rows and messages. Default: its kind and its place in the list.",
    )
    weight: Annotated[float, Field(ge=0, le=1000, allow_inf_nan=False)] = Field(
        default=1.0, description="Share of the requests it takes; 0: only when the others cannot."
    )
    model: str | None = Field(default=None, min_length=1, description="Its name for the model. Default: model.")
    budget: LaneBudgetSpec = Field(default=LaneBudgetSpec(), description="Its own allowance.")
    limits: LaneLimitsSpec = Field(default=LaneLimitsSpec(), description="Its own limits.")


class ModelInfoSpec(Group):
    """What the catalogue would say of a model it does not have (``model_info:``)."""

    task: (
        Literal[
            "automatic-speech-recognition",
            "image-classification",
            "image-to-text",
            "object-detection",
            "reranking",
            "text-classification",
            "text-embeddings",
            "text-generation",
            "text-to-image",
            "text-to-speech",
            "translation",
        ]
        | None
    ) = Field(default=None, description="Cloudflare's task. Default: the one the job's task needs.")
    input_per_m_tokens: Price | None = Field(default=None, description="Neurons per million input tokens.")
    output_per_m_tokens: Price | None = Field(default=None, description="Neurons per million output tokens.")
    prices: dict[str, Price] | None = Field(
        default=None, description="Neurons by other units, e.g. {per_audio_minute: 46.6}; wai models shows the units."
    )
    requests_per_minute: int | None = Field(default=None, ge=1, description="Documented limit per account.")
    max_batch: int | None = Field(default=None, ge=1, description="Texts per request.")
    max_input_tokens: int | None = Field(default=None, ge=1, description="Tokens per text.")
    context_window: int | None = Field(default=None, ge=1, description="Tokens of input and output together.")
    dimensions: int | None = Field(default=None, ge=1, description="Length of an embedding.")


class JobSpec(Group):
    """One job, as the user wants it."""

    task: Literal[
        "embed",
        "generate",
        "translate",
        "transcribe",
        "classify",
        "rerank",
        "summarize",
        "image",
        "classify-image",
        "detect-objects",
        "caption",
        "speak",
        "to-markdown",
    ] = Field(description="What to do with each record.")
    input: InputSpec = Field(description="Where the records come from.")
    name: str = Field(
        default="job",
        max_length=100,
        pattern=r"^[A-Za-z0-9][A-Za-z0-9._-]*$",
        description="Names the output folder. Default: the name of the spec file.",
    )
    endpoint: EndpointSpec = Field(default=EndpointSpec(), description="Whom to call.")
    endpoints: Annotated[tuple[LaneSpec, ...], Field(strict=False)] = Field(
        default=(), description="Several of them, instead of endpoint: requests are spread by weight."
    )
    model: str | None = Field(default=None, max_length=200, description="Default per task.")
    model_info: ModelInfoSpec | None = Field(
        default=None, description="Price and limits of a model the catalogue does not have."
    )
    params: dict[str, object] = Field(
        default_factory=dict, description="Model parameters, checked against the model's schema."
    )
    output: OutputSpec = Field(default=OutputSpec(), description="Where the answers go.")
    limits: LimitsSpec = Field(default=LimitsSpec(), description="How hard to press.")
    retry: RetrySpec = Field(default=RetrySpec(), description="What to try again, and when to give up.")
    budget: BudgetSpec = Field(default=BudgetSpec(), description="How much may be spent.")
    dedupe: bool = Field(default=True, description="Equal payloads are sent once and the answer is shared.")
    cache: bool = Field(
        default=True, description="Take answers that other runs have paid for (translate), and leave ours to them."
    )
    checkpoint: CheckpointSpec = Field(default=CheckpointSpec(), description="How answers become durable.")
    fallback_model: str | None = Field(
        default=None, description="Answers where the model has no capacity; each row names the model that answered."
    )

    @model_validator(mode="after")
    def _one_or_several(self) -> JobSpec:
        if self.endpoints and "endpoint" in self.model_fields_set:
            raise ValueError("give endpoint or endpoints, not both")
        return self

    @field_validator("model", "fallback_model")
    @classmethod
    def _model_name(cls, value: str | None, info: ValidationInfo) -> str | None:
        """Other servers name their models as they like; Cloudflare's names become part of an address."""
        given = (info.data.get("endpoint"), *(info.data.get("endpoints") or ()))  # absent where it is wrong itself
        is_free = any(isinstance(each, EndpointSpec) and each.kind not in {"workers-ai", "emulator"} for each in given)
        if value is None or _MODEL_NAME.fullmatch(value):
            return value
        if not is_free:
            raise ValueError('is not a model name; they look like "@cf/baai/bge-m3"')
        if not value or not value.isprintable() or value != value.strip():
            raise ValueError("is not a model name; it is empty or holds spaces around it or signs that do not print")
        return value

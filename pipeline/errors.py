"""Every way a run can go wrong, as one tree.

How far a failure reaches is fixed where the error is born (`scope`), so that the engine asks nothing else:
``ATTEMPT`` try the same request again, ``RECORD`` write a failure row (or split a request of several records),
``RUN`` drain and stop.

    PipelineError
    ├── SpecError                    the job file is wrong                            exit 2
    │   └── SpecErrors               several of them, one line each                   exit 2
    ├── SettingsError                the environment is incomplete                    exit 2
    ├── PlanError                    spec, catalogue and input cannot be reconciled   exit 2
    ├── SourceError                  an input file cannot be read                     exit 2
    ├── RecordUnusable               one record lacks what the task needs             a failure row, nothing is sent
    ├── TransportError               no usable answer came
    │   ├── ConnectFailed            nothing was sent                                 ATTEMPT, then RUN
    │   ├── RequestTimedOut          sent, no answer in time                          ATTEMPT
    │   └── ResponseTruncated        sent, the answer broke off                       ATTEMPT
    ├── ApiError                     an answer came and refused
    │   ├── RateLimited              3021, other 429                                  ATTEMPT, everyone waits
    │   ├── OutOfCapacity            3040                                             ATTEMPT, only this request waits
    │   ├── ModelTimedOut            3007, 3008, 3046, other 408                      ATTEMPT
    │   ├── ServerFault              3043, 2014, 5xx                                  ATTEMPT
    │   ├── InvalidRequest           3003, 3030, 5004, 5006, 5024, 8002 …             RECORD
    │   ├── RequestTooLarge          3006, 3010, 5021, other 413                      RECORD
    │   ├── ModelUnavailable         3041, 3042, 5007, 5016, 5018, 5035 …             RUN
    │   ├── Unauthorized             9106, 10000, 1000, 3023, 401, 403                RUN
    │   ├── Misrouted                7000, 7001, 7003, 2001, 3xx, 404, 405            RUN
    │   ├── AllocationExhausted      4006, 3036, "daily free allocation"              RUN
    │   └── QuotaExhausted           another server: insufficient_quota, 402          RUN
    ├── Unsendable                   its file is gone or has changed since            RECORD
    ├── UnreadableAnswer             a 200 that is not what the task knows            RECORD
    ├── AnswerCutShort               ended at a bound set to use up the budget        stays pending
    ├── BudgetExhausted              our own ledger says stop; not a fault
    ├── AnalyticsUnavailable         Cloudflare does not say what was used            the run goes on
    │   └── AnalyticsRefused         the token may not ask                            the run goes on, or exit 12
    ├── OutputError
    │   ├── OutputUnusable           a file, or a folder that is not ours             exit 2
    │   ├── OutputDamaged            manifest, part or index does not match           exit 10
    │   ├── OutputLocked             another run holds the folder                     exit 11
    │   ├── OutputUnwritable         disk full, read-only, fsync failed               exit 14
    │   └── JobChanged               what would be sent differs from what was         exit 2
    └── LedgerError                  the state folder cannot be used                  exit 14

Codes: developers.cloudflare.com/workers-ai/platform/errors/ (autumn 2026) and codes observed by public clients up to
2026-11-22; the table itself is data in `pipeline.dialects.codes`.
"""

from __future__ import annotations

from enum import StrEnum
from typing import ClassVar, Final

from pipeline.words import neurons


class Scope(StrEnum):
    """How far a failure reaches."""

    ATTEMPT = "attempt"
    RECORD = "record"
    RUN = "run"


class PipelineError(Exception):
    """Root of everything this package raises on purpose."""

    exit_code: ClassVar[int] = 1


class SpecError(PipelineError):
    """One mistake in a job spec.

    Attributes:
        path: The file as the user named it, or "<spec>" for one given as text.
        line: 1-based line of the key at fault; 0 when the whole file is meant.
        key: Dotted key, e.g. ``limits.concurrency``; empty when the whole file is meant.
        problem: What is wrong and what would be right.
    """

    exit_code = 2

    def __init__(self, path: str, line: int, key: str, problem: str) -> None:
        self.path, self.line, self.key, self.problem = path, line, key, problem
        where = f"{path}:{line}" if line else path
        super().__init__(f"{where}: {key}: {problem}" if key else f"{where}: {problem}")


class SpecErrors(SpecError):
    """All mistakes of one job spec; `str` is one line each."""

    def __init__(self, errors: list[SpecError]) -> None:
        first = errors[0]
        super().__init__(first.path, first.line, first.key, first.problem)
        self.errors = errors
        self.args = ("\n".join(str(error) for error in errors),)


class SettingsError(PipelineError):
    """An environment variable is missing or unusable."""

    exit_code = 2

    def __init__(self, name: str, problem: str) -> None:
        self.name = name
        super().__init__(f"{name}: {problem}")


class PlanError(PipelineError):
    """Spec, catalogue and input cannot be reconciled.

    Attributes:
        key: Dotted key of the job spec that is at fault, empty where none is.
        problem: What is wrong and what would be right.
    """

    exit_code = 2

    def __init__(self, problem: str, *, key: str = "") -> None:
        self.key, self.problem = key, problem
        super().__init__(f"{key}: {problem}" if key else problem)


class SourceError(PipelineError):
    """An input file is missing, unreadable or of the wrong kind as a whole."""

    exit_code = 2

    def __init__(self, path: str, problem: str) -> None:
        self.path, self.problem = path, problem
        super().__init__(f"{path}: {problem}")


class RecordUnusable(PipelineError):
    """One record lacks what the task needs; it becomes a failure row and costs nothing."""


class AttemptError(PipelineError):
    """What one attempt can end with; carries how far it reaches and what it may have cost.

    Attributes:
        scope: How far the failure reaches.
        maybe_billed: The service may have charged for the attempt although no usable answer came.
        neurons: The charge the answer named, when it named one.
        booked: What the ledger counts for it.
        code: A short name or the service's code, as text, for failure rows.
        http_status: Status of the answer, None when none came.
        hint: What to do about it where the run ends with it; empty for what `pipeline.dialects.codes` says.
    """

    scope: ClassVar[Scope] = Scope.ATTEMPT
    maybe_billed: bool = False
    neurons: float | None = None
    booked: float = 0.0
    code: str = "error"
    http_status: int | None = None
    hint: str = ""


class Unsendable(AttemptError):
    """A record cannot be sent any more as it was planned: its file is gone or has changed. Nothing was sent."""

    scope = Scope.RECORD
    code = "unusable_record"


class TransportError(AttemptError):
    """No usable answer came."""

    code = "transport"


class ConnectFailed(TransportError):
    """No connection; nothing was sent. Out of attempts, the run stops: no record is at fault."""

    code = "connect_failed"


class RequestTimedOut(TransportError):
    """Sent, and no complete answer came in time."""

    code = "timed_out"
    maybe_billed = True


class ResponseTruncated(TransportError):
    """Sent, and the answer broke off or was larger than the cap."""

    code = "truncated"
    maybe_billed = True


class ApiError(AttemptError):
    """An answer came and refused.

    Args:
        status: HTTP status.
        code: The service's code, None where the answer names none.
        message: The service's words, unwrapped.
        retry_after_s: Seconds the answer asks to wait, None where it does not.
    """

    def __init__(self, status: int, code: int | None, message: str, *, retry_after_s: float | None = None) -> None:
        self.http_status = status
        self.api_code = code
        self.code = str(code) if code is not None else f"http_{status}"
        self.message = message
        self.retry_after_s = retry_after_s
        super().__init__(
            f"{message} (HTTP {status}, code {code})" if code is not None else f"{message} (HTTP {status})"
        )


class RateLimited(ApiError):
    """Requests per minute used up: everyone waits."""


class OutOfCapacity(ApiError):
    """The model has no capacity just now: this request waits and fewer are kept in flight."""


class ModelTimedOut(ApiError):
    """The service gave up on the request."""

    maybe_billed = True


class ServerFault(ApiError):
    """The service failed."""

    maybe_billed = True


class InvalidRequest(ApiError):
    """The service will never take this request as it is."""

    scope = Scope.RECORD


class RequestTooLarge(ApiError):
    """Too large as it is; its halves may pass."""

    scope = Scope.RECORD


TOO_LARGE: Final = (RequestTooLarge, ModelTimedOut, RequestTimedOut)
"""Failures that a part of the same record may be spared."""


class ModelUnavailable(ApiError):
    """The account cannot use this model."""

    scope = Scope.RUN


class Unauthorized(ApiError):
    """Token or account refused."""

    scope = Scope.RUN


class Misrouted(ApiError):
    """The address is wrong: account id, base URL, gateway or model path."""

    scope = Scope.RUN


class AllocationExhausted(ApiError):
    """The account's daily allocation is used up, whatever our ledger says. Nothing more may leave before 00:00 UTC."""

    scope = Scope.RUN


class QuotaExhausted(ApiError):
    """The credit for another server's key is used up; no time is known at which there will be more."""

    scope = Scope.RUN


class UnreadableAnswer(AttemptError):
    """A 200 whose body is not what the task knows. Billed: the model ran."""

    scope = Scope.RECORD
    code = "unreadable_answer"
    maybe_billed = True


class AnswerCutShort(AttemptError):
    """The answer ended at a bound below the job's own, set only to use up the end of a budget. Not accepted."""

    scope = Scope.RECORD
    code = "cut_short"


class BudgetExhausted(PipelineError):
    """The ledger cannot cover what was asked, and nothing in flight will free it.

    Attributes:
        room: Neurons that are still free, >= 0.
        asked: The ceiling that did not fit.
    """

    def __init__(self, *, room: float, asked: float) -> None:
        self.room, self.asked = room, asked
        super().__init__(f"{neurons(asked)} neurons asked, {neurons(room)} left")


class AnalyticsUnavailable(PipelineError):
    """Cloudflare's count of what the account used cannot be had; the local book stands alone."""


class AnalyticsRefused(AnalyticsUnavailable):
    """The token is wrong, or may not read what the account used."""

    exit_code = 12


class OutputError(PipelineError):
    """The output folder cannot be used."""


class OutputUnusable(OutputError):
    """A file where the folder should be, or a folder that is not ours."""

    exit_code = 2


class OutputDamaged(OutputError):
    """What is on disk does not match the manifest."""

    exit_code = 10


class OutputLocked(OutputError):
    """Another run holds the output folder."""

    exit_code = 11


class OutputUnwritable(OutputError):
    """Disk full, read-only or failing."""

    exit_code = 14


class JobChanged(OutputError):
    """The spec or the input changed in a way that changes answers already written."""

    exit_code = 2


class LedgerError(PipelineError):
    """The state folder (WAI_STATE_DIR) cannot be used."""

    exit_code = 14


def first_leaf(group: BaseExceptionGroup[BaseException]) -> BaseException:
    """Pick what went wrong first out of a task group; a known error before an unknown one."""
    leaves: list[BaseException] = []
    stack: list[BaseException] = [group]
    while stack:
        error = stack.pop(0)
        if isinstance(error, BaseExceptionGroup):
            stack.extend(error.exceptions)
        else:
            leaves.append(error)
    return next((leaf for leaf in leaves if isinstance(leaf, PipelineError)), leaves[0])

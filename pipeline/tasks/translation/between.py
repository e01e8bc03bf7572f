"""Which languages each record is translated between: as it says, as the job says, or as its text shows."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Final, NamedTuple

from pipeline.errors import PlanError, RecordUnusable
from pipeline.records import Record, digest
from pipeline.segments import has_letters
from pipeline.tasks.base import flag_param
from pipeline.tasks.languages import INDIC, M2M100, NOT_TAKEN, UnknownLanguage, indic_code, iso, m2m100_code
from pipeline.tasks.translation.detection import Detect, Detected, detector
from pipeline.tasks.translation.language import ENGLISH, Language, from_english

AUTO: Final = "auto"
PARAMS: Final = frozenset(
    {
        "detect_language",
        "source_lang",
        "source_lang_column",
        "source_lang_if_unsure",
        "target_lang",
        "target_lang_column",
        "target_language",
    }
)
"""What it reads of the job's parameters."""

_MOST_TOLD: Final = 10_000
_NAMES: Final = {**{iso(code): name for code, name in INDIC.items()}, **NOT_TAKEN, **M2M100}


class Between(NamedTuple):
    """The languages of one record.

    Attributes:
        source: The model's code of the language the text is in; None where it has no letters and nobody says.
        target: The same of the language it should be in.
        is_done: The text is its own translation: it is in that language already, or has no letters.
    """

    source: str | None
    target: str
    is_done: bool = False

    @property
    def codes(self) -> tuple[str, str]:
        """Source and target; "" for a source that nobody names."""
        return self.source or "", self.target


class Languages:
    """The languages of a job.

    Args:
        params: Of the job.
        is_indic: The model is indictrans2, which reads English and calls languages otherwise.

    Raises:
        PlanError: They make no sense, name a language the model does not take, or need what is not installed.
    """

    def __init__(self, params: Mapping[str, object], *, is_indic: bool) -> None:
        if "target_language" in params:
            raise PlanError("write target_lang, whatever the model calls it", key="params.target_language")
        self._code: Callable[[str], str] = indic_code if is_indic else m2m100_code
        self._source_code: Callable[[str], str] = from_english if is_indic else m2m100_code
        self._is_auto = params.get("source_lang") == AUTO
        self._source = self._source_of(params)
        self._target = Language(params, "target_lang", self._code)
        if is_indic and not self._is_auto:
            self._source = self._source.or_default(ENGLISH)
        if not self._is_auto:
            self._source.check()
        self._target.check()
        if self._source.default == self._target.default is not None and not self.is_per_record:
            raise PlanError("is the language the texts are in already", key="params.target_lang")
        self._detect: Detect | None = detector() if self._detects(params) else None
        self._told: dict[bytes, Detected | None] = {}

    def _source_of(self, params: Mapping[str, object]) -> Language:
        """The language records are in unless they say otherwise; with ``auto``, what stands in for one not told."""
        unsure = Language(params, "source_lang_if_unsure", self._source_code).default
        if not self._is_auto:
            if unsure is not None:
                raise PlanError("goes with source_lang: auto only", key="params.source_lang_if_unsure")
            return Language(params, "source_lang", self._source_code)
        found = Language({**params, "source_lang": None}, "source_lang", self._source_code)
        return found if unsure is None else found.or_default(unsure)

    def _detects(self, params: Mapping[str, object]) -> bool:
        is_told = flag_param(params, "detect_language")
        if self._is_auto and "detect_language" in params and not is_told:
            raise PlanError("auto needs the detector, which detect_language: false turns off", key="params.source_lang")
        return is_told or self._is_auto

    @property
    def codes(self) -> Mapping[str, Callable[[str], str]]:
        """What finds the model's code of a language: by parameter."""
        return {"source_lang": self._source_code, "target_lang": self._code}

    @property
    def is_per_record(self) -> bool:
        """Whether columns name languages."""
        return self._source.column is not None or self._target.column is not None

    def of(self, record: Record, text: str) -> Between:
        """Find the languages of a record.

        Args:
            record: It.
            text: What of it is translated.

        Raises:
            RecordUnusable: Its columns name none, its text shows none, or one the model does not take.
        """
        target = self._target.of(record)
        if not has_letters(text):
            return Between(self._source.told(record), target, is_done=True)
        if self._detect is None:
            source = self._source.of(record)
            if source == target:
                raise RecordUnusable(f"the text is in the language it should be translated into already ({target})")
            return Between(source, target)
        found = self._seen(text)
        if found is not None and found.code == iso(target):
            return Between(target, target, is_done=True)
        source = self._shown(found) if self._is_auto and not self._source.is_named(record) else self._source.of(record)
        return Between(source, target, is_done=source == target)

    def _seen(self, text: str) -> Detected | None:
        """What the detector says; asked once for what is looked at several times on its way."""
        assert self._detect is not None
        key, told = digest(text.encode()), self._told
        if key in told:
            return told[key]
        if len(told) >= _MOST_TOLD:
            self._told = {}
        found = self._told[key] = self._detect(text)
        return found

    def _shown(self, found: Detected | None) -> str:
        if found is None:
            if self._source.default is not None:
                return self._source.default
            raise RecordUnusable(
                "the text does not show which language it is in (too short, mixed or doubtful); "
                "say it in params.source_lang_column, or for all such texts in params.source_lang_if_unsure"
            )
        try:
            return self._source_code(found.code)
        except UnknownLanguage as unknown:
            name = _NAMES.get(found.code, found.code)
            raise RecordUnusable(f"the text seems to be {name}: {unknown}") from None

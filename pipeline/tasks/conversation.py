"""What is said to a chat model: from a record to messages, and from messages to the wire.

A record is one prompt (`input.text` or `params.prompt`), or a whole conversation in a column; `params.system` goes
before either. Roles: what every chat template of the served models knows.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Final

import orjson

from pipeline.catalog import Catalog
from pipeline.errors import PlanError, RecordUnusable
from pipeline.records import Record, digest
from pipeline.schemas import takes_images
from pipeline.tasks.base import TaskContext, columns_used, sendable_text
from pipeline.tasks.vision import Picture, picture_of
from pipeline.template import TextTemplate

ROLES: Final = ("system", "user", "assistant")
_FORM: Final = 'such as [{"role": "user", "content": "…"}]'


@dataclass(frozen=True, slots=True)
class Message:
    """One turn.

    Attributes:
        role: One of `ROLES`.
        content: What is said.
        picture: An image that goes with it.
    """

    role: str
    content: str
    picture: Picture | None = None

    def on_wire(self, *, inline: bool) -> dict[str, object]:
        """As the service takes it: an image as a part of the content where `inline`, else without it."""
        if self.picture is None or not inline:
            return {"role": self.role, "content": self.content}
        image = {"type": "image_url", "image_url": {"url": self.picture.data_uri()}}
        return {"role": self.role, "content": [{"type": "text", "text": self.content}, image]}


def with_instruction(messages: Sequence[Message], instruction: str) -> list[Message]:
    """Add a sentence to the system message, which is put first where there is none."""
    if messages and messages[0].role == "system":
        return [Message("system", f"{messages[0].content}\n\n{instruction}"), *messages[1:]]
    return [Message("system", instruction), *messages]


class Prompts:
    """Reads records as `params` say: ``system``, ``prompt``, ``messages_column``, ``image_column``."""

    def __init__(self, context: TaskContext) -> None:
        params = context.params
        self._system = _template(params, "system")
        own = _template(params, "prompt")
        self._prompt = own or context.text
        self._prompt_key = "input.text" if own is None else "params.prompt"
        self._messages_column = _column(params, "messages_column")
        self._image_column = _column(params, "image_column")
        if self._messages_column is not None and own is not None:
            raise PlanError(
                "params.messages_column is sent instead of a prompt; remove one of them", key="params.prompt"
            )
        if self._image_column is not None and not takes_images(context.model):
            seeing = [model.name for model in Catalog.load().models("generate") if model.prices and takes_images(model)]
            blind = "does not take images"
            if context.model.vision:
                blind = "is said to see, but how it takes an image is not published"
            raise PlanError(
                f"{context.model.name} {blind}; models that do: {', '.join(seeing)}", key="params.image_column"
            )
        self.has_images = self._image_column is not None
        is_same_for_all = self._system is None or not self._system.columns
        self._is_prompt_all = is_same_for_all and self._messages_column is None and not self.has_images

    def uses(self) -> list[tuple[str, tuple[str, ...]]]:
        """The columns that are read, in the form of `TaskAdapter.uses`."""
        used = columns_used("params.system", self._system) if self._system is not None else []
        if self._messages_column is None:
            used += columns_used(self._prompt_key, self._prompt)
        for key, column in (("messages_column", self._messages_column), ("image_column", self._image_column)):
            if column is not None:
                used.append((f"params.{key}", (column,)))
        return used

    def read(self, record: Record) -> tuple[Message, ...]:
        """Return what is said for a record.

        Raises:
            RecordUnusable: A column it needs is missing, or holds something else.
        """
        if self._messages_column is None:
            said = [Message("user", self._text(record))]
        else:
            said = _conversation(record.fields, self._messages_column)
        if self._image_column is not None:
            said[-1] = Message("user", said[-1].content, picture_of(record, self._image_column))
        if self._system is not None and all(message.role != "system" for message in said):
            said.insert(0, Message("system", _rendered("params.system", self._system, record.fields)))
        return tuple(said)

    def _text(self, record: Record) -> str:
        try:
            return sendable_text(self._prompt, record.fields)
        except RecordUnusable as exc:
            if list(record.fields) == ["path"] and not self.has_images:
                raise RecordUnusable(
                    "it is a file; for images set params.image_column: path, and say in params.prompt what is asked"
                ) from exc
            raise

    def sent(self, record: Record) -> str:
        """What is said for a record, for people to read."""
        said = [message for message in self.read(record) if self._messages_column or message.role == "user"]
        lines = [f"{message.role}: {message.content}" if len(said) > 1 else message.content for message in said]
        lines += [f"(image: {message.picture.path})" for message in said if message.picture is not None]
        return "\n".join(lines)

    def key(self, messages: Sequence[Message]) -> bytes:
        """Digest of everything in `messages` that differs from record to record."""
        if self._is_prompt_all:
            return digest(messages[-1].content.encode())
        parts: list[bytes] = []
        for message in messages:
            parts += [message.role.encode(), message.content.encode()]
            parts.append(b"" if message.picture is None else message.picture.digest)
        return digest(*parts)


def _template(params: Mapping[str, object], name: str) -> TextTemplate | None:
    """Read a parameter that is text with column names in braces."""
    text = params.get(name)
    if text is None:
        return None
    key = f"params.{name}"
    if not isinstance(text, str) or not text.strip():
        raise PlanError("should be text", key=key)
    try:
        parsed = TextTemplate.parse(text)
    except PlanError as exc:
        hint = "" if "{{" in exc.problem else "; write {{ and }} for literal braces"
        raise PlanError(exc.problem + hint, key=key) from exc
    return TextTemplate(parts=((text, None),), source=text) if parsed.plain is not None else parsed


def _column(params: Mapping[str, object], name: str) -> str | None:
    column = params.get(name)
    if column is not None and (not isinstance(column, str) or not column):
        raise PlanError("should be the name of a column", key=f"params.{name}")
    return column


def _rendered(key: str, template: TextTemplate, fields: Mapping[str, object]) -> str:
    try:
        return sendable_text(template, fields)
    except RecordUnusable as exc:
        raise RecordUnusable(f"{key}: {exc}") from exc


def _conversation(fields: Mapping[str, object], column: str) -> list[Message]:
    """Read a list of messages, or its JSON text.

    Raises:
        RecordUnusable: It is none that can be sent; names the message at fault.
    """
    said = fields.get(column)
    where = f'column "{column}"'
    if column not in fields:
        raise RecordUnusable(f"there is no {where} (there are: {', '.join(list(fields)[:12]) or 'none'})")
    if isinstance(said, str):
        try:
            said = orjson.loads(said)
        except orjson.JSONDecodeError as exc:
            raise RecordUnusable(f"{where} should hold messages {_FORM}, but is no JSON: {exc}") from None
    if not isinstance(said, list) or not said:
        raise RecordUnusable(f"{where} should hold a list of messages, {_FORM}")
    messages = [_message(item, f"message {number} of {where}") for number, item in enumerate(said, 1)]
    if messages[-1].role != "user":
        raise RecordUnusable(f"the last message of {where} is by {messages[-1].role}: there is nothing to answer")
    return messages


def _message(item: object, where: str) -> Message:
    if not isinstance(item, dict):
        raise RecordUnusable(f"{where} is no object with role and content")
    role, content = item.get("role"), item.get("content")
    if role not in ROLES:
        raise RecordUnusable(f"the role of {where} should be one of {', '.join(ROLES)}, not {str(role)[:40]!r}")
    if not isinstance(content, str) or not content.strip():
        raise RecordUnusable(f"the content of {where} should be text that is not empty")
    more = [name for name, value in item.items() if name not in {"role", "content"} and value is not None]
    if more:
        raise RecordUnusable(f"{where} has {str(more[0])[:40]!r}, which is not sent: only role and content are")
    try:
        content.encode()
    except UnicodeEncodeError as exc:
        raise RecordUnusable(f"the content of {where} holds half a surrogate pair at character {exc.start}") from None
    return Message(role, content)

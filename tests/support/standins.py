"""Adapters for tasks that need an endpoint kind and are not built yet, as small as they can be.

Loaded into a command that a test runs (see `teach`); a task that is there is left as it is.
"""

# ruff: noqa: ARG002 - the form of an adapter

import base64

from pipeline.errors import UnreadableAnswer
from pipeline.records import Column, File, Media, Outline, digest
from pipeline.tasks import TASKS
from pipeline.tasks.base import Adapter, TaskKind, sendable_text, whole


class _OneText(Adapter):
    """One text a record, free of charge."""

    def outline(self, record):
        text = sendable_text(self._context.text, record.fields)
        return Outline(len(text.encode()), 0.0, 0.0, digest(text.encode()))

    def pieces(self, record):
        text = sendable_text(self._context.text, record.fields)
        return whole(record, text, self.outline(record))


class _Translate(_OneText):
    columns = (Column("translation", "string"),)

    def payload(self, request):
        return {"text": request.pieces[0].content, "source_lang": "en", **self._context.params}

    def parse(self, request, answer):
        return [{"translation": answer.result["translated_text"]}]


class _Transcribe(_OneText):
    columns = (Column("text", "string"), Column("language", "string"))

    def payload(self, request):
        return {"audio": base64.b64encode(b"RIFF" + request.pieces[0].content.encode()).decode(), "language": "en"}

    def parse(self, request, answer):
        info = answer.result["transcription_info"]
        return [{"text": answer.result["text"], "language": info["language"]}]


class _Image(_OneText):
    columns = (Column("mime", "string"), Column("size", "int64"))

    def payload(self, request):
        return {"prompt": request.pieces[0].content}

    def parse(self, request, answer):
        if not isinstance(answer.result, Media):
            raise UnreadableAnswer("the answer is no picture")
        return [answer.result]

    def row(self, record, values):
        return {"mime": values[0].mime, "size": len(values[0].content)}

    def files(self, record, values):
        return [File(f"{record.row}.png", values[0].content)]


def register():
    """Put them where the tasks are."""
    for name, adapter in (("translate", _Translate), ("transcribe", _Transcribe), ("image", _Image)):
        kind = TaskKind(name=name, adapter=adapter, text=("text", None), owned=frozenset({"text"}), head="")
        TASKS.setdefault(name, kind)


def teach(world, root):
    """Have every command of a world know them."""
    folder = world.folder / "standins"
    folder.mkdir()
    (folder / "sitecustomize.py").write_text("from tests.support.standins import register\nregister()\n")
    world.env["PYTHONPATH"] = f"{folder}:{root}"

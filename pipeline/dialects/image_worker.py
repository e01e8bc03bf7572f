"""Workers that draw through a chat: ``POST {base}/v1/chat/completions``, and the answer holds the picture's address.

Form: github.com/snakeying/flux-api-worker, src/flux-api-worker_en.js (read 2026-11-23): the last user message is the
prompt, the answer's text ends in ``![Generated Image](https://…/image/…)``, a picture kept for half an hour behind an
address that asks for no key. Others answer with a bare address, a data URI, or OpenAI's ``data[0].b64_json``.
"""

from __future__ import annotations

import base64
import binascii
import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Final
from urllib.parse import quote, urlsplit

from pipeline.addresses import is_loopback_url, is_public_host
from pipeline.dialects.body import mime_of, read_json
from pipeline.dialects.openai import as_json
from pipeline.dialects.server_errors import Refusals, refused_under_200
from pipeline.errors import AttemptError, UnreadableAnswer
from pipeline.records import Answer, Media, Payload, Usage
from pipeline.wire import HttpRequest, HttpResponse

_MARKDOWN: Final = re.compile(r"!\[[^\]\n]{0,2000}\]\(\s*<?([^)\s>]{1,20000000})>?")
_DATA_URI: Final = re.compile(r"data:(image/[a-z0-9.+-]{1,40});base64,([A-Za-z0-9+/=\s]{1,45000000})")
_BARE: Final = re.compile(r"https?://[^\s<>\"'()\[\]]{1,4000}")
_LONGEST_URL: Final = 4_000
_SIGNS: Final = (
    (b"\x89PNG\r\n\x1a\n", "image/png"),
    (b"\xff\xd8\xff", "image/jpeg"),
    (b"GIF8", "image/gif"),
)


@dataclass(frozen=True, slots=True)
class Link:
    """A picture that is still to be fetched, without any key."""

    url: str


class ImageWorker:
    """Encodes prompts, and finds the picture in the answer.

    Args:
        base_url: Of the Worker, with or without ``/v1``, no trailing slash.
        model: As the Worker calls it.
        refusals: Makes errors.
    """

    def __init__(self, *, base_url: str, model: str, refusals: Refusals) -> None:
        base = base_url.removesuffix("/chat/completions").removesuffix("/v1")
        self._url = f"{base}/v1/chat/completions"
        self._model, self._refusals = model, refusals
        self._is_local = is_loopback_url(base_url)

    def encode(self, payload: Payload) -> HttpRequest:
        """Put a prompt on the wire; other parameters stand beside it, for Workers that look at them.

        Raises:
            ValueError: There is no prompt.
        """
        prompt = payload.get("prompt") if isinstance(payload, Mapping) else None
        if not isinstance(payload, Mapping) or not isinstance(prompt, str):
            raise ValueError("an image Worker takes a prompt, and no files")
        rest = {name: value for name, value in payload.items() if name != "prompt"}
        fields = {"model": self._model, "messages": [{"role": "user", "content": prompt}], "stream": False, **rest}
        return HttpRequest(self._url, as_json(fields), {"content-type": "application/json"})

    def decode(self, response: HttpResponse) -> Answer:
        """Find the picture: a `Media` where the answer holds it, a `Link` where it names it.

        Raises:
            ApiError: The Worker refused.
            ResponseTruncated: The body breaks off.
            UnreadableAnswer: There is no picture in it, or its address may not be asked.
        """
        if response.status >= 300:
            raise self._refusals.of_status(response)
        if mime_of(response).startswith("image/"):
            return self._answer(response, Media(response.body, mime_of(response)))
        body = read_json(response)
        status = refused_under_200(body)
        if status is not None:
            raise self._refusals.of_body(response, body, status)
        try:
            return self._answer(response, self._found(_text_of(body)))
        except UnreadableAnswer as error:
            error.http_status = response.status
            raise

    def picture(self, response: HttpResponse) -> Media:
        """Judge what an address gave.

        Raises:
            AttemptError: It refuses, or is no picture.
        """
        if response.status >= 300:
            error: AttemptError = self._refusals.of_status(response)
            said = UnreadableAnswer(f"the picture cannot be fetched: {error}")
            said.http_status = response.status
            raise said
        mime = _kind(response.body, mime_of(response))
        if mime is None:
            raise UnreadableAnswer(f"the address of the picture gave none, but {mime_of(response) or 'nothing known'}")
        return Media(response.body, mime)

    @staticmethod
    def _answer(response: HttpResponse, result: Media | Link) -> Answer:
        return Answer(result=result, usage=Usage(), latency_ms=response.latency_ms)

    def _found(self, text: str) -> Media | Link:
        markdown = _MARKDOWN.search(text)
        named = markdown[1] if markdown is not None else text
        inline = _DATA_URI.search(named)
        if inline is not None:
            return _inline(inline[1], inline[2])
        bare = _BARE.match(named) if markdown is not None else _BARE.search(named)
        if bare is None:
            raise UnreadableAnswer(f"the answer holds no picture and no address of one: {text[:80]!r}")
        return Link(self._allowed(bare[0].rstrip(".,;")))

    def _allowed(self, url: str) -> str:
        """Refuse an address on this machine or in its network: a hostile answer must not look around there."""
        try:
            parts = urlsplit(url)
            host, _ = parts.hostname or "", parts.port
        except ValueError:
            raise UnreadableAnswer("the address of the picture is none") from None
        is_open = parts.scheme == "https" and is_public_host(host)
        if not (is_open or (self._is_local and is_loopback_url(url))) or parts.username or len(url) > _LONGEST_URL:
            raise UnreadableAnswer(f"the address of the picture may not be asked: {parts.scheme}://{host[:80]}")
        return quote(url, safe="%/:=&?~#+!$,;'@()*[]")


def _text_of(body: object) -> str:
    """The text of a chat completion, or the picture of OpenAI's image interface written as one.

    Raises:
        UnreadableAnswer: It is neither.
    """
    if isinstance(body, dict):
        items = body.get("data")
        if isinstance(items, list) and items and isinstance(items[0], dict):
            coded, url = items[0].get("b64_json"), items[0].get("url")
            if isinstance(coded, str):
                return f"data:image/png;base64,{coded}"
            if isinstance(url, str):
                return url
        choices = body.get("choices")
        choice = choices[0] if isinstance(choices, list) and choices else None
        message = choice.get("message") if isinstance(choice, dict) else None
        content = message.get("content") if isinstance(message, dict) else None
        if isinstance(content, str):
            return content
    raise UnreadableAnswer("the answer is no chat completion with a text")


def _inline(mime: str, coded: str) -> Media:
    try:
        content = base64.b64decode("".join(coded.split()), validate=True)
    except (binascii.Error, ValueError):
        raise UnreadableAnswer("the picture in the answer is not base64") from None
    kind = _kind(content, mime)
    if kind is None:
        raise UnreadableAnswer("the picture in the answer is empty")
    return Media(content, kind)


def _kind(content: bytes, told: str) -> str | None:
    """The media type: by the first bytes, else as told where that is one of pictures; None for anything else."""
    for sign, mime in _SIGNS:
        if content.startswith(sign):
            return mime
    if content[:4] == b"RIFF" and content[8:12] == b"WEBP":
        return "image/webp"
    return told if content and told.startswith("image/") and told != "image/svg+xml" else None

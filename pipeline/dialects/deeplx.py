"""DeepLX and Workers that speak its form: ``POST {base}/translate``.

Body ``{text, source_lang, target_lang}``, answer ``{code: 200, data: "…", alternatives, …}``; a key travels as
``Authorization: Bearer`` or ``?token=``. Read 2026-11-23: github.com/CaoYunzhou/cf-free-deeplx (a Worker) and the guide
to DeepLX in github.com/QYG2297248353/appstore-1panel, apps/deeplx. Other Workers ask for ``?password=`` (the design).
Where a key goes is the client's part.
"""

from __future__ import annotations

from collections.abc import Mapping

from pipeline.dialects.body import read_json
from pipeline.dialects.openai import as_json
from pipeline.dialects.server_errors import Refusals, refused_under_200
from pipeline.errors import UnreadableAnswer
from pipeline.records import Answer, Payload, Usage
from pipeline.wire import HttpRequest, HttpResponse


class DeepLX:
    """Encodes texts to translate, and judges the answers.

    Args:
        base_url: Of the Worker, no trailing slash.
        refusals: Makes errors.
    """

    def __init__(self, *, base_url: str, refusals: Refusals) -> None:
        self._url = base_url if base_url.endswith("/translate") else f"{base_url}/translate"
        self._refusals = refusals

    def encode(self, payload: Payload) -> HttpRequest:
        """Put ``{text, source_lang, target_lang}`` on the wire.

        Raises:
            ValueError: It is another form of input.
        """
        if not isinstance(payload, Mapping) or not isinstance(payload.get("text"), str):
            raise ValueError("a DeepLX server takes one text a request")
        if not payload.get("target_lang"):
            raise ValueError("a DeepLX server needs target_lang")
        fields = {
            "text": payload["text"],
            "source_lang": payload.get("source_lang") or "auto",
            "target_lang": payload["target_lang"],
        }
        return HttpRequest(self._url, as_json(fields), {"content-type": "application/json"})

    def decode(self, response: HttpResponse) -> Answer:
        """Read an answer as ``{translated_text}``.

        Raises:
            ApiError: It refuses; the status may stand in the body under a 200.
            ResponseTruncated: The body breaks off.
            UnreadableAnswer: It claims success and holds no translation.
        """
        if response.status >= 300:
            raise self._refusals.of_status(response)
        body = read_json(response)
        code = body.get("code") if isinstance(body, dict) else None
        status = code if type(code) is int and 300 <= code <= 599 else refused_under_200(body)
        if status is not None:
            raise self._refusals.of_body(response, body, status)
        text = body.get("data") if isinstance(body, dict) else None
        if not isinstance(text, str) or not text:
            error = UnreadableAnswer("the answer holds no translation")
            error.http_status = response.status
            raise error
        return Answer(result={"translated_text": text}, usage=Usage(), latency_ms=response.latency_ms)

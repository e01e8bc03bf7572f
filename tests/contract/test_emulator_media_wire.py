"""Pictures, sounds and documents on the emulator's wire: bodies that are files, forms, and the headers beside them."""

import base64
import json

import aiohttp
import pytest
from aiohttp.test_utils import TestServer

from pipeline.emulator import EmulatorConfig
from pipeline.emulator.app import build_app
from tests.support.cli import ACCOUNT
from tests.support.drawing import picture, size_of

HEADERS = {"authorization": "Bearer a-good-token"}
AI = f"/client/v4/accounts/{ACCOUNT}/ai"
SCHNELL = "@cf/black-forest-labs/flux-1-schnell"
PHOENIX = "@cf/leonardo/phoenix-1.0"
KLEIN4 = "@cf/black-forest-labs/flux-2-klein-4b"
RESNET = "@cf/microsoft/resnet-50"


@pytest.fixture
async def post():
    """Send to an emulator; returns status, headers and body."""
    async with TestServer(build_app(EmulatorConfig())) as server, aiohttp.ClientSession() as session:

        async def send(path, *, method="POST", headers=None, **options):
            url = aiohttp.client.URL(f"http://{server.host}:{server.port}{path}", encoded=True)
            async with session.request(method, url, headers={**HEADERS, **(headers or {})}, **options) as response:
                return response.status, response.headers, await response.read()

        yield send


async def test_a_picture_as_base64_names_its_charge(post):
    status, headers, body = await post(f"{AI}/run/{SCHNELL}", json={"prompt": "an owl"})
    assert (status, headers["cf-ai-neurons"]) == (200, "172.80")
    assert size_of(base64.b64decode(json.loads(body)["result"]["image"])) == (1024, 1024)


async def test_a_picture_that_is_the_body_names_none(post):
    """As measured of phoenix; no envelope either."""
    status, headers, body = await post(f"{AI}/run/{PHOENIX}", json={"prompt": "an owl", "width": 64, "height": 32})
    assert (status, headers["content-type"]) == (200, "image/jpeg")
    assert "cf-ai-neurons" not in headers
    assert headers["x-simulated"]
    assert size_of(body) == (64, 32)


async def test_a_body_may_be_a_picture(post):
    """With the type of a picture, or of any bytes."""
    for kind in ("image/png", "application/octet-stream"):
        status, headers, body = await post(f"{AI}/run/{RESNET}", data=picture(), headers={"content-type": kind})
        assert (status, headers["cf-ai-neurons"]) == (200, "0.23")
        assert len(json.loads(body)["result"]) == 5


async def test_flux_2_takes_a_form_only(post):
    form = aiohttp.FormData({"prompt": "an owl", "width": "64", "height": "64"})
    form.add_field("input_image_0", picture(), filename="a.png", content_type="image/png")
    status, _, body = await post(f"{AI}/run/{KLEIN4}", data=form)
    assert status == 200
    assert size_of(base64.b64decode(json.loads(body)["result"]["image"])) == (64, 64)
    status, _, body = await post(f"{AI}/run/{KLEIN4}", json={"prompt": "an owl"})
    assert status == 400
    assert json.loads(body)["errors"][0]["code"] == 5006
    assert "'multipart'" in json.loads(body)["errors"][0]["message"]


async def test_documents_are_converted_one_by_one(post):
    """An error of one is part of a 200; what is supported can be asked for."""
    form = aiohttp.FormData()
    for name, content in {"a.html": b"<p>Hi</p>", "b.pdf": b"no"}.items():
        form.add_field("files", content, filename=name)
    status, _, body = await post(f"{AI}/tomarkdown", data=form)
    assert status == 200
    assert [(item["name"], item["format"]) for item in json.loads(body)["result"]] == [
        ("a.html", "markdown"),
        ("b.pdf", "error"),
    ]
    status, _, body = await post(f"{AI}/tomarkdown", json={"files": "x"})
    assert (status, json.loads(body)["errors"][0]["code"]) == (400, 5006)
    status, _, body = await post(f"{AI}/tomarkdown/supported", method="GET")
    assert {"extension": ".pdf", "mimeType": "application/pdf"} in json.loads(body)["result"]

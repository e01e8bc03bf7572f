"""An open endpoint: one call, whatever its kind; what cannot be said fails its record and leaves nothing behind."""

from dataclasses import replace

import pytest
from aiohttp import web

from pipeline.clock import SystemClock
from pipeline.endpoints import OpenEndpoint, open_endpoint
from pipeline.errors import SettingsError, UnreadableAnswer, Unsendable
from pipeline.resolve import resolve
from pipeline.settings import load_settings
from pipeline.spec import parse_spec
from pipeline.spec.model import LaneSpec
from tests.support.workers import stranger

SPEC = "task: embed\nmodel: m\ninput: {items: [a]}\nendpoint: {kind: openai, base_url: URL/v1, api_key_env: K}\n"


def opened(url, endpoint=None, environ=None):
    """A job at `url`, opened at its own endpoint or at another one."""
    environ = {"K": "secret-key-1", "WAI_STATE_DIR": "/nowhere"} if environ is None else environ
    settings = load_settings(environ, need_credentials=False, keys=list(environ.keys() & {"K", "L"}))
    job = resolve(parse_spec(SPEC.replace("URL", url), "job.yaml"), settings)
    plan = job.lanes[0]
    if endpoint is not None:
        plan = replace(plan, endpoint=endpoint, base_url=endpoint.base_url)
    return open_endpoint(job, plan, settings, SystemClock(), emulator_url=None)


async def test_a_call():
    with stranger() as other:
        async with opened(other.url) as endpoint:
            answer = await endpoint.call({"text": ["a", "bcd"]}, None)
            assert endpoint.account_id == ""
    assert answer.result["data"] == [[1.0, 1.0], [3.0, 1.0]]
    assert answer.latency_ms > 0


async def test_what_cannot_be_said_fails_the_record_and_nothing_leaves():
    with stranger() as other:
        async with opened(other.url) as endpoint:
            with pytest.raises(Unsendable, match="no texts"):
                await endpoint.call({"prompt": "x"}, None)
    assert other.asked == []


async def test_several_endpoints_of_one_job_keep_their_keys_apart():
    """Each has a client of its own."""
    environ = {"K": "secret-key-1", "L": "secret-key-2", "WAI_STATE_DIR": "/nowhere"}
    with stranger() as one, stranger() as two:
        second = LaneSpec(kind="openai", base_url=f"{two.url}/v1", api_key_env="L")
        async with opened(one.url, environ=environ) as a, opened(one.url, second, environ=environ) as b:
            assert isinstance(a, OpenEndpoint)
            for endpoint in (a, b):
                await endpoint.call({"text": ["a"]}, None)
    assert [each.headers["authorization"] for each in one.asked] == ["Bearer secret-key-1"]
    assert [each.headers["authorization"] for each in two.asked] == ["Bearer secret-key-2"]


class Hurried(SystemClock):
    """Nobody waits between two attempts."""

    async def sleep(self, seconds):  # noqa: ARG002 - the form of a clock
        return None


async def test_a_picture_whose_address_leads_nowhere_fails_its_record_and_not_the_run():
    """The Worker itself has answered: a host that is not there is what one answer says."""
    with stranger() as gone:
        dead = gone.url
    with stranger() as other:
        content = f"![x]({dead}/image/1)"
        other.always(lambda: web.json_response({"choices": [{"message": {"content": content}}]}))
        kind = f"{{kind: image-worker, base_url: {other.url}}}"
        spec = f"task: image\nmodel: flux\ninput: {{items: [a]}}\nendpoint: {kind}\n"
        settings = load_settings({"WAI_STATE_DIR": "/nowhere"}, need_credentials=False)
        job = resolve(parse_spec(spec, "job.yaml"), settings)
        async with open_endpoint(job, job.lanes[0], settings, Hurried(), emulator_url=None) as endpoint:
            with pytest.raises(UnreadableAnswer, match="the picture cannot be fetched: cannot connect"):
                await endpoint.call({"prompt": "draw"}, None)


async def test_a_key_that_is_missing_is_named():
    second = LaneSpec(kind="openai", api_key_env="L", base_url="https://a.example")
    with pytest.raises(SettingsError, match=r"^L: not set"):
        async with opened("http://127.0.0.1:9", second):
            pass

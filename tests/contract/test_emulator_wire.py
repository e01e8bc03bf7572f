import asyncio
import gzip
import io
import os
import re
import signal
import subprocess
import sys
from contextlib import asynccontextmanager
from datetime import UTC, datetime, timedelta

import aiohttp
import orjson
import pytest
from aiohttp.test_utils import TestServer

from pipeline.emulator import EmulatorConfig, EmulatorProcess
from pipeline.emulator.app import EMULATOR, build_app
from pipeline.emulator.models import find_model
from pipeline.emulator.tasks.base import input_digest

ACCOUNT = "0123456789abcdef0123456789abcdef"
TOKEN = {"authorization": "Bearer a-good-token"}
BGE = "@cf/baai/bge-small-en-v1.5"
M3 = "@cf/baai/bge-m3"
OLD = "@cf/meta/llama-3.2-1b-instruct"
NEW = "@cf/google/gemma-4-26b-a4b-it"
UUID = re.compile(r"[0-9a-f]{8}-[0-9a-f]{4}-4[0-9a-f]{3}-8[0-9a-f]{3}-[0-9a-f]{12}")


class Reply:
    def __init__(self, status, headers, raw):
        self.status, self.headers, self.raw = status, headers, raw

    @property
    def json(self):
        return orjson.loads(self.raw)

    @property
    def code(self):
        assert self.json["success"] is False
        return self.json["errors"][0]["code"]

    @property
    def refusal(self):
        return self.status, self.code


class Server(TestServer):
    """Lets handlers run on when the client leaves, as `pipeline.emulator.server` does."""

    async def _make_runner(self, **options):
        return await super()._make_runner(**{**options, "handler_cancellation": False})


class Client:
    def __init__(self, session, app, server):
        self.session, self.app, self.server = session, app, server

    async def send(self, method, path, body=None, *, headers=TOKEN, raw=None):
        data = raw if raw is not None else None if body is None else orjson.dumps(body)
        url = f"http://{self.server.host}:{self.server.port}{path}"
        target = aiohttp.client.URL(url, encoded=True)
        async with self.session.request(method, target, data=data, headers=headers, allow_redirects=False) as response:
            return Reply(response.status, response.headers, await response.read())

    async def run(self, model, body=None, *, account=ACCOUNT, query="", **options):
        return await self.send("POST", f"/client/v4/accounts/{account}/ai/run/{model}{query}", body, **options)

    async def stats(self):
        return (await self.send("GET", "/__emulator/stats")).json

    async def faults(self, *rules, seed=1):
        reply = await self.send("PUT", "/__emulator/faults", {"seed": seed, "rules": list(rules)})
        assert reply.status == 200, reply.raw


@asynccontextmanager
async def serving(now=None, monotonic=None, **options):
    app = build_app(EmulatorConfig(**options), now=now, monotonic=monotonic)
    async with Server(app) as server, aiohttp.ClientSession(auto_decompress=False) as session:
        yield Client(session, app, server)


@pytest.fixture
async def it():
    async with serving() as client:
        yield client


async def test_an_answer_comes_in_the_envelope_with_its_headers(it):
    reply = await it.run(BGE, {"text": ["one two", "three"]})
    assert reply.status == 200
    assert reply.json["success"] is True
    assert reply.json["errors"] == reply.json["messages"] == []
    assert reply.json["result"]["shape"] == [2, 384]
    assert reply.headers["cf-ai-neurons"] == "0.01"
    assert UUID.fullmatch(reply.headers["cf-ai-req-id"])
    assert reply.headers["x-simulated"] == "wai-emulator"
    assert "cf-ray" in reply.headers
    assert reply.headers["content-type"].startswith("application/json")


async def test_a_model_without_a_price_sends_no_neurons(it):
    reply = await it.run("@cf/google/embeddinggemma-300m", {"text": "one"})
    assert reply.status == 200
    assert "cf-ai-neurons" not in reply.headers
    assert (await it.stats())["neurons"] == 0.0


@pytest.mark.parametrize(
    ("headers", "account", "refusal"),
    [
        ({}, ACCOUNT, (401, 10000)),
        ({"authorization": "Basic abcdefgh"}, ACCOUNT, (401, 10000)),
        ({"authorization": "Bearer short"}, ACCOUNT, (400, 9106)),
        ({"authorization": "Bearer two words"}, ACCOUNT, (400, 9106)),
        ({"authorization": "Bearer bad-token"}, ACCOUNT, (401, 10000)),
        (TOKEN, "f" * 32, (403, 10000)),
        (TOKEN, "my-account", (404, 7003)),
    ],
)
async def test_who_may_not_call_is_told_so_without_reaching_a_model(it, headers, account, refusal):
    reply = await it.run(BGE, {"text": "one"}, account=account, headers=headers)
    assert reply.refusal == refusal
    assert "cf-ai-req-id" not in reply.headers
    assert "cf-ray" in reply.headers


async def test_routes_that_do_not_exist(it):
    assert (await it.run("@cf%2Fbaai%2Fbge-m3", {"text": "x"})).refusal == (400, 7000)
    assert (await it.send("GET", f"/client/v4/accounts/{ACCOUNT}/ai/run/{BGE}")).refusal == (405, 7001)
    assert (await it.send("GET", f"/client/v4/accounts/{ACCOUNT}/ai/v1/models")).refusal == (405, 7001)
    assert (await it.send("POST", "/client/v4/elsewhere", {})).refusal == (400, 7000)


@pytest.mark.parametrize(
    ("model", "body", "refusal"),
    [
        ("@cf/nobody/nothing", {"text": "x"}, (400, 5007)),
        ("@cf/meta/llama-2-7b-chat-int8", {"prompt": "x"}, (400, 5007)),
        ("@cf/openai/whisper", {"audio": [1]}, (400, 3010)),
        (BGE, {"text": "x", "surplus": 1}, (400, 5006)),
        (BGE, {"text": {"a": 1}}, (400, 5006)),
        (BGE, {"text": ["x"] * 101}, (400, 5006)),
        (BGE, ["x"], (400, 5006)),
        (OLD, {"prompt": "x", "max_tokens": "many"}, (400, 5006)),
        (OLD, {"prompt": "x", "max_tokens": 60_000}, (413, 5021)),
        (OLD, {"requests": [{"prompt": "x"}]}, (400, 8007)),
    ],
)
async def test_what_a_model_cannot_take(it, model, body, refusal):
    reply = await it.run(model, body)
    assert reply.refusal == refusal
    assert (await it.stats())["neurons"] == 0.0
    if refusal[1] == 5006 and isinstance(body, dict):
        assert re.match(
            r"AiError: AiError: Bad input: Error: .* \(" + UUID.pattern + r"\)$", reply.json["errors"][0]["message"]
        )
        assert UUID.fullmatch(reply.headers["cf-ai-req-id"])


async def test_bodies_that_are_no_json_or_too_large(it):
    assert (await it.run(BGE, raw=b'{"text": ')).refusal == (400, 5006)
    assert (await it.run(BGE, raw=b"")).refusal == (400, 3003)
    assert (await it.run(BGE, raw=io.BytesIO(b" " * (20 * 1024 * 1024 + 1)))).refusal == (413, 3006)
    assert (await it.run(OLD, {"prompt": "x"}, query="?queueRequest=true")).refusal == (400, 8007)


async def test_retired_kimi_is_answered_by_its_dearer_successor(it):
    reply = await it.run("@cf/moonshotai/kimi-k2.5", {"messages": [{"role": "user", "content": "x"}]})
    assert reply.json["result"]["model"] == "@cf/moonshotai/kimi-k2.6"


async def test_the_platforms_own_options_are_no_model_input(it):
    assert (await it.run(OLD, {"prompt": "x", "options": {"rejectIfBusy": True}})).status == 200
    assert (await it.run(OLD, {"prompt": "x", "options": {"other": True}})).refusal == (400, 5006)


async def test_chat_has_usage_with_neurons_in_both_shapes(it):
    old = (await it.run(OLD, {"prompt": "hello there"})).json["result"]
    new = (await it.run(NEW, {"messages": [{"role": "user", "content": "hello there"}]})).json["result"]
    assert old["response"].startswith("[simulated] ")
    assert new["object"] == "chat.completion"
    assert old["usage"]["neurons"] > 0
    assert new["usage"]["neurons"] > 0
    stats = await it.stats()
    assert stats["neurons"] == pytest.approx(old["usage"]["neurons"] + new["usage"]["neurons"], abs=1e-12)


async def test_openai_endpoints_are_unwrapped_and_their_errors_are_not(it):
    base = f"/client/v4/accounts/{ACCOUNT}/ai/v1"
    ask = {"model": OLD, "messages": [{"role": "user", "content": "x"}]}
    chat = await it.send("POST", base + "/chat/completions", ask)
    assert chat.json["choices"][0]["finish_reason"] == "stop"
    assert float(chat.headers["cf-ai-neurons"]) == pytest.approx(chat.json["usage"]["neurons"], abs=0.005)
    told = await it.send("POST", base + "/embeddings", {"model": M3, "input": ["a"], "encoding_format": "base64"})
    assert isinstance(told.json["data"][0]["embedding"], str)
    assert (await it.send("POST", base + "/embeddings", {"model": OLD, "input": "a"})).refusal == (400, 5007)
    assert (await it.send("POST", base + "/embeddings", {"input": "a"})).refusal == (400, 5006)
    assert (await it.send("POST", base + "/chat/completions", {"model": OLD})).refusal == (400, 5006)


async def test_ai_gateway_is_chosen_by_header(it):
    reply = await it.run(BGE, {"text": "x"}, headers={**TOKEN, "cf-aig-gateway-id": "mine"})
    assert reply.headers["cf-aig-cache-status"] == "MISS"
    assert reply.headers["cf-aig-log-id"]
    reply = await it.run(BGE, {"text": "x"}, headers={**TOKEN, "cf-aig-gateway-id": "missing-gateway"})
    assert reply.refusal == (400, 2001)


async def test_model_search_pages_until_an_empty_list(it):
    base = f"/client/v4/accounts/{ACCOUNT}/ai/models/search"
    first = (await it.send("GET", base + "?per_page=5")).json["result"]
    assert len(first) > 40
    assert (await it.send("GET", base + "?page=2")).json["result"] == []
    assert (await it.send("GET", base + "?search=no-such-thing")).json["result"] == []
    (m3,) = (await it.send("GET", base + "?search=bge-m3")).json["result"]
    properties = {entry["property_id"]: entry["value"] for entry in m3["properties"]}
    assert m3["name"] == M3
    assert m3["task"]["name"] == "Text Embeddings"
    assert properties["price"] == [{"unit": "per M input tokens", "price": 0.012, "currency": "USD"}]
    assert properties["context_window"] == "60000"
    assert properties["async_queue"] == "true"
    embedders = (await it.send("GET", base + "?task=Text%20Embeddings")).json["result"]
    assert {item["task"]["name"] for item in embedders} == {"Text Embeddings"}
    assert (await it.send("GET", base, headers={})).refusal == (401, 10000)


async def test_model_schema_is_the_published_one(it):
    base = f"/client/v4/accounts/{ACCOUNT}/ai/models/schema?model="
    assert set((await it.send("GET", base + M3)).json["result"]) == {"input", "output"}
    assert (await it.send("GET", base + "@cf/nobody/nothing")).refusal == (400, 5007)


async def test_token_checks(it):
    good = await it.send("GET", "/client/v4/user/tokens/verify")
    assert good.json["result"]["status"] == "active"
    assert good.json["messages"][0]["code"] == 10000
    owned = {"authorization": "Bearer cfat_0123456789"}
    assert (await it.send("GET", "/client/v4/user/tokens/verify", headers=owned)).refusal == (400, 1000)
    assert (await it.send("GET", f"/client/v4/accounts/{ACCOUNT}/tokens/verify", headers=owned)).status == 200


async def test_analytics_answers_from_the_meter(it):
    reply = await it.run(BGE, {"text": "one two"})
    now = datetime.now(UTC)
    query = {
        "query": "query($a:String!,$s:Time,$e:Time){viewer{accounts(filter:{accountTag:$a}){aiInferenceAdaptiveGroups("
        "limit:1000, filter:{datetime_geq:$s, datetime_leq:$e}){count dimensions{modelId date} sum{totalNeurons}}}}}",
        "variables": {"a": ACCOUNT, "s": f"{now:%Y-%m-%d}T00:00:00Z", "e": (now + timedelta(hours=1)).isoformat()},
    }
    (account,) = (await it.send("POST", "/client/v4/graphql", query)).json["data"]["viewer"]["accounts"]
    (group,) = account["aiInferenceAdaptiveGroups"]
    assert group["dimensions"]["modelId"] == BGE
    assert group["count"] == 1
    assert group["sum"]["totalNeurons"] == pytest.approx(4 * 1841 / 1e6)
    assert group["sum"]["totalInputTokens"] == 4
    assert reply.headers["cf-ai-neurons"] == "0.01"
    query["variables"] = {"a": ACCOUNT, "s": "2020-01-01T00:00:00Z", "e": "2020-01-02T00:00:00Z"}
    (account,) = (await it.send("POST", "/client/v4/graphql", query)).json["data"]["viewer"]["accounts"]
    assert account["aiInferenceAdaptiveGroups"] == []
    closed = {"authorization": "Bearer noanalytics-token"}
    told = (await it.send("POST", "/client/v4/graphql", query, headers=closed)).json
    assert told["data"] is None
    assert told["errors"][0]["message"] == "not authorized for that account"


async def test_the_allocation_ends_the_day_and_midnight_opens_the_next():
    async with serving(daily_neurons=0.02) as it:
        statuses = [(await it.run(BGE, {"text": "one two three"})).status for _ in range(4)]
        assert statuses == [200, 200, 200, 429]
        reply = await it.run(BGE, {"text": "x"})
        assert reply.refusal == (429, 4006)
        assert "used up your daily free allocation of 10,000 neurons" in reply.json["errors"][0]["message"]
        assert "retry-after" not in reply.headers
        assert (await it.stats())["after_refusal"] == 1
        other = await it.run(BGE, {"text": "x"}, account="0" * 32)
        assert other.status == 200
        await it.send("PUT", "/__emulator/clock", {"offset_seconds": 86_400})
        assert (await it.run(BGE, {"text": "x"})).status == 200


async def test_requests_per_minute_with_a_clock_of_our_own():
    seconds = [0.0]
    async with serving(monotonic=lambda: seconds[0], rpm=2, retry_after_s=12) as it:
        assert [(await it.run(BGE, {"text": "x"})).status for _ in range(3)] == [200, 200, 429]
        reply = await it.run(BGE, {"text": "x"})
        assert reply.refusal == (429, 3021)
        assert reply.headers["retry-after"] == "12"
        seconds[0] = 60.0
        assert (await it.run(BGE, {"text": "x"})).status == 200


async def test_beyond_capacity_3040_comes_at_once_and_the_rest_is_answered():
    async with serving(capacity=2, latency_ms=(40, 40)) as it:
        async with asyncio.TaskGroup() as group:
            tasks = [group.create_task(it.run(BGE, {"text": "x"})) for _ in range(5)]
        replies = [task.result() for task in tasks]
        assert sorted(reply.status for reply in replies) == [200, 200, 429, 429, 429]
        assert all("retry-after" not in reply.headers for reply in replies)
        assert {reply.code for reply in replies if reply.status == 429} == {3040}
        stats = await it.stats()
        assert stats["max_concurrent"] == 2
        assert stats["requests"]["inference"] == 2


@pytest.mark.parametrize(
    ("fault", "refusal"),
    [
        ("3021", (429, 3021)),
        ("3040", (429, 3040)),
        ("3043", (500, 3043)),
        ("3046", (408, 3046)),
        ("3007", (408, 3007)),
        ("4006", (429, 4006)),
        ("3036", (429, 3036)),
        ("success_false", (200, 3043)),
    ],
)
async def test_coded_faults_cost_nothing(it, fault, refusal):
    await it.faults({"fault": fault, "times": 1})
    assert (await it.run(BGE, {"text": "x"})).refusal == refusal
    assert (await it.stats())["neurons"] == 0.0
    assert (await it.run(BGE, {"text": "x"})).status == 200


async def test_faults_that_are_not_the_services_words(it):
    for fault, status in [("500", 500), ("html502", 502), ("503", 503), ("redirect", 302)]:
        await it.faults({"fault": fault})
        reply = await it.run(BGE, {"text": "x"})
        assert reply.status == status
        assert reply.headers["x-simulated"] == "wai-emulator"
        with pytest.raises(orjson.JSONDecodeError):
            orjson.loads(reply.raw)
    assert reply.headers["location"] == "http://127.0.0.1:9/"
    assert (await it.stats())["neurons"] == 0.0


async def test_a_reset_comes_before_any_answer_and_costs_nothing(it):
    await it.faults({"fault": "reset", "match": "POISON"}, {"fault": "hang", "match": "SLEEP", "seconds": 0})
    for text in ("POISON", "SLEEP"):
        with pytest.raises(aiohttp.ClientConnectionError):
            await it.run(BGE, {"text": text})
    assert (await it.run(BGE, {"text": "sound"})).status == 200
    stats = await it.stats()
    assert stats["requests"]["by_status"] == {"reset": 1, "hang": 1, "200": 1}
    assert stats["requests"]["inference"] == 1


@pytest.mark.parametrize("fault", ["truncated", "reset_mid_body"])
async def test_a_broken_off_answer_was_metered(it, fault):
    await it.faults({"fault": fault, "times": 1})
    url = f"http://{it.server.host}:{it.server.port}/client/v4/accounts/{ACCOUNT}/ai/run/{BGE}"
    async with it.session.post(url, json={"text": "x"}, headers=TOKEN) as response:
        assert response.status == 200
        assert response.headers["cf-ai-neurons"] == "0.01"
        with pytest.raises((aiohttp.ClientPayloadError, aiohttp.ClientConnectionError)):
            await response.read()
    stats = await it.stats()
    assert stats["neurons"] > 0
    assert stats["input_digests"] == {"distinct": 0, "repeated": 0}
    await it.run(BGE, {"text": "x"})
    assert (await it.stats())["input_digests"] == {"distinct": 1, "repeated": 0}


@pytest.mark.parametrize("fault", ["garbage_json", "invalid_utf8", "nan_vector", "deep_json"])
async def test_bodies_no_parser_takes(it, fault):
    await it.faults({"fault": fault})
    for reply in (await it.run(BGE, {"text": "x"}), await it.run(OLD, {"prompt": "x"})):
        assert reply.status == 200
        assert "cf-ai-neurons" in reply.headers
        with pytest.raises((orjson.JSONDecodeError, RecursionError)):
            orjson.loads(reply.raw)
    if fault == "nan_vector":
        assert b"NaN" in reply.raw


async def test_answers_of_the_wrong_size_and_empty_ones(it):
    ask = {"messages": [{"role": "user", "content": "x"}]}
    await it.faults({"fault": "wrong_count"})
    assert (await it.run(BGE, {"text": ["x", "y"]})).json["result"]["shape"] == [1, 384]
    assert (await it.run(NEW, ask)).json["result"]["choices"] == []
    assert "response" not in (await it.run(OLD, ask)).json["result"]
    await it.faults({"fault": "wrong_dim"})
    assert len((await it.run(BGE, {"text": ["x", "y"]})).json["result"]["data"][1]) == 383
    await it.faults({"fault": "null_content"})
    assert (await it.run(NEW, ask)).json["result"]["choices"][0]["message"]["content"] is None
    assert (await it.run(OLD, ask)).json["result"]["response"] is None
    await it.faults({"fault": "bad_json"})
    wish = {**ask, "response_format": {"type": "json_object"}}
    for model, asked in ((OLD, wish), (NEW, wish), ("@cf/openai/gpt-oss-20b", {"input": "x"})):
        reply = await it.run(model, asked)
        assert "this breaks the schema" in reply.raw.decode()
        assert float(reply.headers["cf-ai-neurons"]) > 0
    await it.faults()
    assert (await it.run(OLD, ask)).json["result"]["response"]


async def test_slow_large_and_exploding_bodies(it):
    await it.faults({"fault": "slow_body", "seconds": 0.1})
    assert (await it.run(BGE, {"text": "x"})).json["result"]["shape"] == [1, 384]
    await it.faults({"fault": "big_body", "mb": 3})
    assert len((await it.run(BGE, {"text": "x"})).raw) > 3_000_000
    await it.faults({"fault": "gzip_bomb", "mb": 5})
    reply = await it.run(BGE, {"text": "x"})
    assert reply.headers["content-encoding"] == "gzip"
    assert len(reply.raw) < 50_000
    assert len(gzip.decompress(reply.raw)) > 5_000_000


async def test_shares_and_ordinals_apply_over_the_wire(it):
    await it.faults({"fault": "4006", "after": 4}, {"fault": "3040", "share": 0.5}, seed=3)
    statuses = [(await it.run(BGE, {"text": "x"})).status for _ in range(5)]
    assert statuses[3:] == [429, 429]
    stats = await it.stats()
    assert stats["requests"]["by_code"]["4006"] == 2
    assert stats["after_refusal"] == 1


async def test_control_refuses_nonsense_and_forgets_on_request(it):
    assert (await it.send("PUT", "/__emulator/faults", {"rules": [{"fault": "nonsense"}]})).status == 400
    assert (await it.send("PUT", "/__emulator/faults", raw=b"{")).status == 400
    assert (await it.send("PUT", "/__emulator/clock", {"offset": 1})).status == 400
    await it.faults({"fault": "500"})
    await it.run(BGE, {"text": "x"})
    await it.send("POST", "/__emulator/reset")
    assert (await it.run(BGE, {"text": "x"})).status == 200
    stats = await it.stats()
    assert stats["requests"]["total"] == stats["texts"] == 1
    assert len(stats["started"]) == 1


async def test_what_is_asked_twice_is_counted(it):
    await it.run(BGE, {"text": ["a", "b"]})
    await it.run(BGE, {"text": ["b", "c"]})
    await it.run(OLD, {"prompt": "b"})
    assert (await it.stats())["input_digests"] == {"distinct": 4, "repeated": 1}


async def test_an_inference_is_metered_although_nobody_waits_any_more():
    async with serving(latency_ms=(30, 30)) as it:
        with pytest.raises(asyncio.TimeoutError):
            await asyncio.wait_for(it.run(BGE, {"text": "x"}), 0.01)
        emulator = it.app[EMULATOR]
        for _ in range(500):
            if emulator.report()["neurons"] > 0.0:
                return
            await asyncio.sleep(0.01)
        pytest.fail("never metered")


async def test_the_request_log_has_a_line_for_each_inference_request(tmp_path):
    log = tmp_path / "requests.jsonl"
    async with serving(request_log=log) as it:
        await it.run(BGE, {"text": ["x", "y"]})
        await it.run(BGE, {"text": 3})
        await it.run(BGE, {"text": "y"})
        first, second, third = [orjson.loads(line) for line in log.read_bytes().splitlines()]
    assert (first["status"], first["model"], first["texts"]) == (200, BGE, 2)
    assert (second["status"], second["code"], second["neurons"], second["inputs"]) == (400, 5006, None, [])
    assert first["inputs"] == [input_digest(find_model(BGE), text).hex() for text in (b"x", b"y")]
    assert third["inputs"] == first["inputs"][1:], "what is asked twice has the same digest"


def test_the_process_starts_answers_and_stops():
    with EmulatorProcess("--daily-neurons", "500") as emulator:
        assert emulator.url.endswith("/client/v4")
        assert emulator.stats()["neurons"] == 0
        emulator.set_faults([{"fault": "500"}])
        emulator.set_clock(60)
        emulator.reset()
        with pytest.raises(ValueError, match="nonsense"):
            emulator.set_faults([{"fault": "nonsense"}])
        pid = emulator.pid
    with pytest.raises(ProcessLookupError):
        os.kill(pid, 0)


@pytest.mark.parametrize("how", ["stdin", signal.SIGINT, signal.SIGTERM])
def test_the_process_ends_cleanly_with_its_parent_or_on_a_signal(how):
    command = [sys.executable, "-m", "pipeline.emulator", "--exit-with-stdin"]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.PIPE) as child:
        told = orjson.loads(child.stdout.readline())
        assert told["pid"] == child.pid
        if how == "stdin":
            child.stdin.close()
        else:
            child.send_signal(how)
        assert child.wait(10) == 0
        assert child.stdout.read() == child.stderr.read() == b""


def test_other_hosts_are_refused():
    command = [sys.executable, "-m", "pipeline.emulator", "--host", "0.0.0.0"]
    done = subprocess.run(command, capture_output=True, text=True, timeout=30, check=False)
    assert done.returncode == 2
    assert "not a loopback address" in done.stderr


# -- an AI Gateway ------------------------------------------------------------------------------------------------

LLAMA = "@cf/meta/llama-3.1-8b-instruct-fp8"
ASKED = {"messages": [{"role": "user", "content": "hi"}], "max_tokens": 20}


def through(gateway="gw", **headers):
    return {**TOKEN, "cf-aig-gateway-id": gateway, **{k.replace("_", "-"): v for k, v in headers.items()}}


@pytest.mark.parametrize("path", [LLAMA, "v1/chat/completions"])
async def test_the_older_address_of_a_gateway(it, path):
    body = ASKED if path == LLAMA else {**ASKED, "model": LLAMA}
    reply = await it.send("POST", f"/v1/{ACCOUNT}/gw/workers-ai/{path}", body)
    assert reply.status == 200
    assert ("choices" in reply.json) is (path != LLAMA)
    assert reply.headers["cf-aig-cache-status"] == "MISS"
    assert reply.headers["cf-aig-log-id"]
    assert (await it.send("POST", f"/v1/{ACCOUNT}/gw/workers-ai/{path}", body, headers={})).refusal == (401, 10000)
    assert (await it.send("POST", f"/v1/{ACCOUNT}/missing-gateway/workers-ai/{path}", body)).refusal == (400, 2001)


async def test_a_gateway_that_wants_a_token_of_its_own(it):
    path = f"/v1/{ACCOUNT}/locked-gateway/workers-ai/{LLAMA}"
    assert (await it.send("POST", path, ASKED)).refusal == (401, 10000)
    allowed = {**TOKEN, "cf-aig-authorization": "Bearer something"}
    assert (await it.send("POST", path, ASKED, headers=allowed)).status == 200


async def test_a_gateway_keeps_answers_and_does_not_meter_them_again(it):
    kept = through(cf_aig_cache_ttl="60")
    first = await it.run(LLAMA, ASKED, headers=kept)
    metered = (await it.stats())["neurons"]
    again = await it.run(LLAMA, ASKED, headers=kept)
    assert [reply.headers["cf-aig-cache-status"] for reply in (first, again)] == ["MISS", "HIT"]
    assert again.raw == first.raw
    assert first.headers["cf-aig-log-id"] != again.headers["cf-aig-log-id"]
    assert "cf-ai-neurons" not in again.headers
    assert (await it.stats())["neurons"] == metered > 0


@pytest.mark.parametrize(
    "headers",
    [
        through(),
        through(cf_aig_cache_ttl="60", cf_aig_skip_cache="true"),
        {**through(cf_aig_cache_ttl="60"), "authorization": "Bearer another-token"},
        through(cf_aig_cache_ttl="soon"),
    ],
)
async def test_what_a_gateway_does_not_take_from_its_cache(it, headers):
    await it.run(LLAMA, ASKED, headers=through(cf_aig_cache_ttl="60"))
    assert (await it.run(LLAMA, ASKED, headers=headers)).headers["cf-aig-cache-status"] == "MISS"


async def test_another_body_or_model_is_another_answer(it):
    kept = through(cf_aig_cache_ttl="60")
    await it.run(LLAMA, ASKED, headers=kept)
    assert (await it.run(LLAMA, {**ASKED, "max_tokens": 21}, headers=kept)).headers["cf-aig-cache-status"] == "MISS"
    other = await it.run("@cf/meta/llama-3.2-3b-instruct", ASKED, headers=kept)
    assert other.headers["cf-aig-cache-status"] == "MISS"
    assert "cf-aig-cache-status" not in (await it.run(LLAMA, ASKED, headers={**kept, "cf-aig-gateway-id": ""})).headers


async def test_kept_answers_grow_old_and_are_forgotten():
    now = [0.0]
    async with serving(monotonic=lambda: now[0]) as it:
        kept = through(cf_aig_cache_ttl="60")

        async def status():
            return (await it.run(LLAMA, ASKED, headers=kept)).headers["cf-aig-cache-status"]

        assert [await status(), await status()] == ["MISS", "HIT"]
        now[0] = 61.0
        assert [await status(), await status()] == ["MISS", "HIT"]
        await it.send("POST", "/__emulator/reset", {})
        assert await status() == "MISS"


async def test_refusals_and_faults_are_not_kept(it):
    kept = through(cf_aig_cache_ttl="60")
    await it.faults({"fault": "3043"})
    assert (await it.run(LLAMA, ASKED, headers=kept)).status == 500
    await it.faults()
    assert (await it.run(LLAMA, ASKED, headers=kept)).headers["cf-aig-cache-status"] == "MISS"


async def test_encoded_slashes_pass_only_where_they_are_tolerated(it):
    encoded = BGE.replace("/", "%2F")
    assert (await it.run(encoded, {"text": "x"})).refusal == (400, 7000)
    async with serving(tolerates_encoded_slashes=True) as tolerant:
        assert (await tolerant.run(encoded, {"text": "x"})).status == 200

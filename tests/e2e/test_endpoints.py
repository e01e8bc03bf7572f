"""Other servers through the command line: every kind of endpoint, its failures, and its place in the book."""

import json

import pytest
from aiohttp import web

from tests.support.cli import ACCOUNT, TOKEN
from tests.support.sounds import recordings
from tests.support.workers import png, stranger

JSON = "application/json"
KEY = "sk-other-server-0123456789"
QUICK = {"attempts": 4, "max_delay_seconds": 0.1}


@pytest.fixture
def other():
    with stranger() as it:
        yield it


@pytest.fixture
def asking(world):
    """A world that knows the key of another server, not Cloudflare's, and a few texts."""
    for name in ("CLOUDFLARE_API_TOKEN", "CLOUDFLARE_ACCOUNT_ID", "CLOUDFLARE_BASE_URL"):
        world.env.pop(name)
    world.env["OTHER_KEY"] = KEY
    world.records([f"text {n}{'x' * n}" for n in range(5)])
    return world


def endpoint(kind, other, path="", **more):
    return {"kind": kind, "base_url": f"{other.url}{path}", "api_key_env": "OTHER_KEY", **more}


def once(answer):
    """Give `answer()` to the first request only."""
    return lambda _, n: answer() if n == 0 else None


# -- OpenAI's interface -------------------------------------------------------------------------------------------


def test_embeddings_of_another_server(asking, other):
    """Vectors come back in another order than they were asked for; the book of neurons stays empty."""
    asking.spec(model="small-model", endpoint=endpoint("openai", other, "/v1"), limits={"batch_size": 2})
    report = asking.run()
    assert report["records"]["done"] == 5
    rows = {row["id"]: row for row in asking.table().to_pylist()}
    for n in range(5):
        assert rows[f"r{n:05}"]["embedding"] == [float(len(f"text {n}") + n), 1.0]
    assert {row["neurons"] for row in rows.values()} == {0.0}
    assert {row["model"] for row in rows.values()} == {"small-model"}
    assert other.paths() == ["/v1/embeddings"] * 3
    assert {each.headers["authorization"] for each in other.asked} == {f"Bearer {KEY}"}
    assert other.asked[0].body["encoding_format"] == "float"
    assert not report["simulated"]
    assert asking.manifest()["endpoint"] == {"kind": "openai", "base_url": f"{other.url}/v1", "simulated": False}


def test_chats_with_a_schema(asking, other):
    """The schema goes out in OpenAI's wrapper; what the server says of neurons is not believed."""
    schema = {"type": "object", "properties": {"a": {"type": "integer"}}, "required": ["a"]}
    message = {"content": '{"a": 7}'}
    usage = {"prompt_tokens": 5, "completion_tokens": 2, "neurons": 5000}
    other.always(lambda: web.json_response({"choices": [{"message": message}], "usage": usage}))
    asking.spec(
        task="generate", model="small-model", endpoint=endpoint("openai", other, "/v1"), params={"json_schema": schema}
    )
    asking.run()
    assert {(row["a"], row["prompt_tokens"], row["neurons"]) for row in asking.table().to_pylist()} == {(7, 5, 0.0)}
    wrapper = other.asked[0].body["response_format"]["json_schema"]
    assert wrapper == {"name": "answer", "schema": schema, "strict": False}


def test_prices_of_model_info_are_kept_to(asking, other):
    """A server with prices has an allowance of its own, under its own name."""
    asking.spec(
        task="generate",
        model="small-model",
        model_info={"input_per_m_tokens": 1_000_000, "output_per_m_tokens": 0},
        endpoint=endpoint("openai", other, "/v1"),
        budget={"neurons_per_day": 300},
    )
    assert asking.run()["neurons"]["spent"] == 25.0
    assert {row["neurons"] for row in asking.table().to_pylist()} == {5.0}
    (row,) = json.loads(asking.wai("budget", "--json").out)["rows"]
    assert (row["account"], row["neurons"]) == (f"server-{other.url.removeprefix('http://')}", 25.0)


@pytest.mark.parametrize(
    ("answer", "code", "failed_code"),
    [
        (lambda: web.json_response({"error": {"message": "x"}}, status=429, headers={"retry-after": "0"}), None, None),
        (lambda: web.json_response({"error": {"message": "x"}}, status=500), None, None),
        (lambda: web.json_response({"error": {"message": "x", "code": 502}}), None, None),
        (lambda: web.Response(status=502, text="<html>", content_type="text/html"), None, None),
        (lambda: web.Response(text='{"choices": [{"mess', content_type=JSON), None, None),
        (lambda: web.json_response({"error": {"message": "x"}}, status=400), 4, "http_400"),
        (
            lambda: web.Response(text="{malformed json: <<<chaos>>>", content_type=JSON),
            None,
            None,
        ),
    ],
)
def test_what_is_tried_again_and_what_is_not(asking, other, answer, code, failed_code):
    other.before = once(answer)
    asking.spec(
        task="generate", model="m", endpoint=endpoint("openai", other, "/v1"), retry=QUICK, limits={"concurrency": 1}
    )
    asking.wai("run", "job.yaml", code=code or 0)
    assert len(other.asked) == (6 if code is None else 5)
    assert [row["code"] for row in asking.table("failures").to_pylist()] == ([failed_code] if failed_code else [])
    asking.check_once([f"r{n:05}" for n in range(5)])


@pytest.mark.parametrize(
    ("status", "error", "words"),
    [
        (
            429,
            {"message": "You exceeded your current quota", "code": "insufficient_quota"},
            "the key in OTHER_KEY is used",
        ),
        (401, {"message": "Incorrect API key", "code": "invalid_api_key"}, "check the key in OTHER_KEY"),
        (404, {"message": "no model m", "code": "model_not_found"}, "name of the model"),
        (404, {"message": "not here"}, "check endpoint.base_url"),
    ],
)
def test_what_ends_the_run(asking, other, status, error, words):
    """Nothing more is sent, all records stay pending, and the advice is about this server."""
    other.always(lambda: web.json_response({"error": error}, status=status))
    asking.spec(task="generate", model="m", endpoint=endpoint("openai", other, "/v1"), limits={"concurrency": 1})
    ran = asking.wai("run", "job.yaml", code=12)
    assert words in ran.said
    assert "CLOUDFLARE" not in ran.said
    assert len(other.asked) == 1
    assert asking.ids() == asking.ids("failures") == []


def test_a_key_that_is_not_set_is_told_before_anything_is_read(asking, other):
    asking.spec(model="m", endpoint=endpoint("openai", other, "/v1", api_key_env="NOT_SET"))
    ran = asking.wai("run", "job.yaml", code=2)
    assert ran.err.startswith("NOT_SET: not set")
    assert other.asked == []


def test_no_key_on_this_machine(asking, other):
    asking.spec(model="m", endpoint={"kind": "openai", "base_url": f"{other.url}/v1"})
    assert asking.run()["records"]["done"] == 5
    assert "authorization" not in other.asked[0].headers


def test_plan_and_check(asking, other):
    """A plan needs no key and asks nobody; a check asks for the list of models."""
    asking.spec(model="small-model", endpoint=endpoint("openai", other, "/v1"))
    spec = json.loads((asking.folder / "job.yaml").read_text())
    (asking.folder / "slow.yaml").write_text(json.dumps({**spec, "limits": {}}))
    plan = asking.wai("plan", "slow.yaml", env={"OTHER_KEY": ""}).out
    assert f"{other.url}/v1 (openai)" in plan
    assert "a cautious pace" in plan
    assert "counts none" in plan
    assert other.asked == []
    assert "small-model is listed there" in asking.wai("check", "job.yaml").out
    assert [each.method for each in other.asked] == ["GET"]
    other.always(lambda: web.Response(status=404))
    assert "does not list its models" in asking.wai("check", "job.yaml").out
    other.always(lambda: web.json_response({"error": {"message": "bad key"}}, status=401))
    assert "check the key in OTHER_KEY" in asking.wai("check", "job.yaml", code=12).out
    asking.spec(task="translate", params={"source_lang": "en", "target_lang": "de"}, endpoint=endpoint("deeplx", other))
    n_asked = len(other.asked)
    assert "without a request" in asking.wai("check", "job.yaml").out
    assert len(other.asked) == n_asked


def test_a_rehearsal_asks_nobody(asking, other):
    """It needs no key, runs on the emulator, and its rows say so."""
    asking.spec(model="small-model", endpoint=endpoint("openai", other, "/v1", api_key_env="NOT_SET"))
    report = asking.run("job.yaml", "--rehearse")
    assert report["simulated"]
    assert other.asked == []


def test_cloudflares_own_openai_interface(world):
    """Without an address it is the account's own, with the account's token and neurons."""
    world.records(["one two three", "four five"])
    world.spec(endpoint={"kind": "openai", "gateway": "gw"})
    report = world.run()
    assert report["neurons"]["spent_this_run"] == pytest.approx(world.metered)
    assert world.metered > 0
    rows = world.table().to_pylist()
    assert {len(row["embedding"]) for row in rows} == {1024}
    assert {row["cache"] for row in rows} == {"MISS"}


# -- Workers ------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("more", "query", "header"),
    [
        ({}, f"?password={KEY}", None),
        ({"api_key_in": "token"}, f"?token={KEY}", None),
        ({"api_key_in": "header"}, "", f"Bearer {KEY}"),
    ],
)
def test_deeplx(asking, other, more, query, header):
    asking.spec(
        task="translate", params={"source_lang": "en", "target_lang": "de"}, endpoint=endpoint("deeplx", other, **more)
    )
    assert asking.run()["records"]["done"] == 5
    assert {each.path for each in other.asked} == {f"/translate{query}"}
    assert {each.headers.get("authorization") for each in other.asked} == {header}
    assert other.asked[0].body.keys() == {"text", "source_lang", "target_lang"}
    assert min(asking.table()["translation"].to_pylist()) == "[de] text 0"


def test_deeplx_that_refuses_under_a_200(asking, other):
    other.before = once(lambda: web.json_response({"code": 503, "message": "busy"}))
    asking.spec(
        task="translate",
        params={"source_lang": "en", "target_lang": "de"},
        endpoint=endpoint("deeplx", other),
        retry=QUICK,
        limits={"concurrency": 1},
    )
    assert asking.run()["requests"]["retried"] == 1
    assert len(asking.ids()) == 5


def test_a_worker_that_transcribes(asking, other):
    recordings(asking.folder / "sound", 5)
    asking.spec(task="transcribe", endpoint=endpoint("whisper-worker", other), input={"path": "sound"})
    assert asking.run()["records"]["done"] == 5
    assert set(other.paths()) == {"/v1/audio/transcriptions"}
    form = other.asked[0].body
    assert form.keys() - {"language"} == {"file", "model", "response_format"}  # the language is not known at first
    assert form["model"] == "@cf/openai/whisper-large-v3-turbo"
    assert (form["response_format"], form["file"][0]) == ("verbose_json", "audio.wav")
    assert {row["language"] for row in asking.table().to_pylist()} == {"en"}


def test_a_worker_that_draws(asking, other):
    """The picture is fetched from the address in the answer, without the key, and kept beside the rows."""
    asking.records([f"draw {n}" for n in range(3)])
    asking.spec(task="image", model="flux", endpoint=endpoint("image-worker", other))
    assert asking.run()["records"]["done"] == 3
    asked = {"POST": [], "GET": []}
    for each in other.asked:
        asked[each.method].append(each.headers.get("authorization"))
    assert asked == {"POST": [f"Bearer {KEY}"] * 3, "GET": [None] * 3}
    assert asking.table()["mime"].to_pylist() == ["image/png"] * 3
    assert [path.read_bytes() for path in (asking.folder / "out" / "media").rglob("*.png")] == [png()] * 3


def test_a_picture_is_fetched_again_and_not_drawn_again(asking, other):
    """The drawing is paid for; only its address failed."""
    asking.records(["draw one"])
    other.before = lambda asked, n: web.Response(status=503) if asked.method == "GET" and n == 1 else None
    asking.spec(task="image", model="flux", endpoint=endpoint("image-worker", other))
    asking.run()
    assert [each.method for each in other.asked] == ["POST", "GET", "GET"]
    assert len(asking.ids()) == 1


def test_pictures_elsewhere(asking, other):
    """A key does not go to another host; an address in our own network is not asked by a server that is not in it."""
    asking.records(["draw one"])
    with stranger() as elsewhere:
        answer = {"choices": [{"message": {"content": f"![x]({elsewhere.url}/image/1)"}}]}
        other.always(lambda: web.json_response(answer))
        asking.spec(task="image", model="flux", endpoint=endpoint("image-worker", other))
        asking.run()
    (asked,) = elsewhere.asked
    assert KEY not in str(asked)
    assert "authorization" not in asked.headers


# -- an AI Gateway ------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("form", ["header", "address"])
def test_a_gateways_cache_costs_nothing(world, form):
    """The second job is answered from the cache of the first: book, meter and rows agree that it is free."""
    world.records(["one two three", "four five"])
    host = world.emulator.url.removesuffix("/client/v4")
    named = {"gateway": "gw"} if form == "header" else {"base_url": f"{host}/v1/{ACCOUNT}/gw/workers-ai"}
    for output in ("first", "second"):
        world.spec(
            f"{output}.yaml",
            task="generate",
            endpoint={**named, "cache_ttl_seconds": 600},
            output={"path": output},
            name=output,
        )
    first = world.run("first.yaml")
    metered = world.metered
    second = world.run("second.yaml")
    assert first["neurons"]["spent_this_run"] == pytest.approx(metered)
    assert metered > 0
    assert second["neurons"]["spent_this_run"] == 0
    assert world.metered == metered
    for output, cache in (("first", "MISS"), ("second", "HIT")):
        rows = world.table(output=output).to_pylist()
        assert {row["cache"] for row in rows} == {cache}
        assert len({row["log_id"] for row in rows}) == 2
    assert {row["neurons"] for row in world.table(output="second").to_pylist()} == {0.0}
    world.wai("run", "second.yaml", "--force-new", "--set", "endpoint.skip_cache=true")
    assert {row["cache"] for row in world.table(output="second").to_pylist()} == {"MISS"}


def test_a_gateway_that_wants_a_token_of_its_own(world):
    """`CLOUDFLARE_AIG_TOKEN` goes to the gateway's older address, and nowhere else."""
    world.records(["one"])
    host = world.emulator.url.removesuffix("/client/v4")
    world.spec(endpoint={"base_url": f"{host}/v1/{ACCOUNT}/locked-gateway/workers-ai"})
    world.wai("run", "job.yaml", code=12)
    world.wai("run", "job.yaml", env={"CLOUDFLARE_AIG_TOKEN": "gateway-token-1"})
    with stranger() as other:
        world.spec("other.yaml", endpoint={"base_url": other.url}, output={"path": "other"})
        world.wai("run", "other.yaml", env={"CLOUDFLARE_AIG_TOKEN": "gateway-token-1"}, code=12)
    assert {each.headers["authorization"] for each in other.asked if each.method == "POST"} == {f"Bearer {TOKEN}"}
    assert "gateway-token-1" not in str(other.asked)

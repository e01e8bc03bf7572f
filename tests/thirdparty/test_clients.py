"""Clients that others wrote, against the emulator: what they take for Workers AI, it is.

They run unchanged; what each showed is in docs/thirdparty.md.
"""

import importlib

import pytest

from pipeline.emulator.process import EmulatorProcess

pytestmark = pytest.mark.thirdparty

ACCOUNT = "0123456789abcdef" * 2
TOKEN = "test-token-x1"
LLAMA = "@cf/meta/llama-3.1-8b-instruct-fp8"
GEMMA = "@cf/google/gemma-4-26b-a4b-it"
BGE_M3 = "@cf/baai/bge-m3"
BGE = "@cf/baai/bge-base-en-v1.5"
HI = [{"role": "user", "content": "hi"}]


@pytest.fixture(scope="module")
def emulator():
    with EmulatorProcess("--no-rate-limit", "--tolerate-encoded-slashes") as it:
        yield it


@pytest.fixture
def openai_url(emulator):
    return f"{emulator.url}/accounts/{ACCOUNT}/ai/v1"


@pytest.fixture
def openai_client(openai_url):
    openai = importlib.import_module("openai")
    return openai.OpenAI(api_key=TOKEN, base_url=openai_url, max_retries=0)


def test_openai_chat(openai_client):
    reply = openai_client.chat.completions.create(model=LLAMA, messages=HI, max_tokens=50)
    assert reply.choices[0].message.content.startswith("[simulated]")
    assert reply.usage.prompt_tokens > 0
    assert reply.usage.neurons > 0


def test_openai_structured_output(openai_client):
    schema = {
        "type": "object",
        "properties": {"a": {"type": "integer"}},
        "required": ["a"],
        "additionalProperties": False,
    }
    wish = {"type": "json_schema", "json_schema": {"name": "x", "schema": schema, "strict": True}}
    reply = openai_client.chat.completions.create(model=LLAMA, messages=HI, response_format=wish, max_tokens=50)
    assert reply.choices[0].message.content.startswith('{"a":')


def test_openai_embeddings_in_base64_are_the_same_as_in_numbers(openai_client):
    """The client asks for base64 where nothing is said."""
    coded = openai_client.embeddings.create(model=BGE_M3, input=["a", "b"])
    plain = openai_client.embeddings.create(model=BGE_M3, input=["a", "b"], encoding_format="float")
    assert [item.index for item in coded.data] == [0, 1]
    for one, other in zip(coded.data, plain.data, strict=True):
        assert len(one.embedding) == 1024
        assert one.embedding == pytest.approx(other.embedding, abs=1e-6)


def test_openai_errors(emulator, openai_client):
    openai = importlib.import_module("openai")
    bad = openai_client.with_options(api_key="bad-token-1")
    with pytest.raises(openai.AuthenticationError):
        bad.chat.completions.create(model=LLAMA, messages=HI)
    with pytest.raises(openai.BadRequestError):
        openai_client.chat.completions.create(model="@cf/no/such-model", messages=HI)
    emulator.set_faults([{"fault": "3040"}])
    try:
        with pytest.raises(openai.RateLimitError):
            openai_client.chat.completions.create(model=LLAMA, messages=HI)
    finally:
        emulator.set_faults([])


def test_cloudflares_own_sdk(emulator):
    """It writes the slashes of a model's name as %2F, and reads pages of models until one is empty."""
    cloudflare = importlib.import_module("cloudflare")
    client = cloudflare.Cloudflare(api_token=TOKEN, base_url=emulator.url, max_retries=0)
    assert client.ai.run(BGE_M3, account_id=ACCOUNT, text=["a"])["shape"] == [1, 1024]
    n = 0
    for _ in client.ai.models.list(account_id=ACCOUNT):
        n += 1
        assert n < 1000
    assert n > 20


def test_langchain(emulator):
    langchain = importlib.import_module("langchain_cloudflare")
    embeddings = langchain.CloudflareWorkersAIEmbeddings(
        account_id=ACCOUNT, api_token=TOKEN, model_name=BGE, api_base_url=f"{emulator.url}/accounts"
    )
    assert [len(vector) for vector in embeddings.embed_documents(["a", "b"])] == [768, 768]
    chat = langchain.ChatCloudflareWorkersAI(account_id=ACCOUNT, api_token=TOKEN, model=GEMMA, base_url=emulator.url)
    assert chat.invoke("hi").content


def test_litellm(openai_url, monkeypatch):
    monkeypatch.setenv("LITELLM_LOCAL_MODEL_COST_MAP", "True")
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    litellm = importlib.import_module("litellm")
    reply = litellm.completion(model=f"cloudflare/{LLAMA}", messages=HI, api_key=TOKEN, api_base=openai_url)
    assert reply.choices[0].message.content.startswith("[simulated]")
    assert reply.usage.prompt_tokens > 0


def test_llama_index(emulator, monkeypatch):
    base = importlib.import_module("llama_index.embeddings.cloudflare_workersai.base")
    monkeypatch.setattr(base, "API_URL_TEMPLATE", f"{emulator.url}/accounts/{{0}}/ai/run/{{1}}")
    embedding = base.CloudflareEmbedding(account_id=ACCOUNT, auth_token=TOKEN, model=BGE)
    assert [len(vector) for vector in embedding.get_text_embedding_batch(["a", "b"])] == [768, 768]

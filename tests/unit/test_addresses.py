"""Addresses: where a token may go, and what an address tells of account and gateway."""

import pytest

from pipeline.addresses import (
    account_in,
    address_problem,
    api_url,
    gateway_url,
    is_cloudflare,
    is_loopback_url,
    is_public_host,
    origin_of,
)

ACCOUNT = "0123456789ABCDEF" * 2
API = "https://api.cloudflare.com/client/v4"
OLD = f"https://gateway.ai.cloudflare.com/v1/{ACCOUNT}/my-gw"


@pytest.mark.parametrize(
    "url", ["https://a.example/v1", "http://127.0.0.1:8000", "http://localhost/x", "http://[::1]:1"]
)
def test_good_addresses(url):
    assert address_problem(url, example=API) is None


@pytest.mark.parametrize(
    ("url", "words"),
    [
        ("http://a.example/v1", "in the clear"),
        ("ftp://a.example", "is not an address such as"),
        ("a.example", "is not an address such as"),
        ("https://", "is not an address such as"),
        ("https://user:pass@a.example", "user name or password"),
        ("https://a.example/?key=secret-value", "query or fragment"),
        ("https://a.example/#x", "query or fragment"),
        ("https://a.example/ x", "spaces"),
        ("https://a.example\\@b.example", "spaces or characters"),
        ("https://ä.example", "spaces or characters"),
        ("https://a.example:port", "not a valid address"),
        ("http://127.0.0.1.evil.example", "in the clear"),
    ],
)
def test_bad_addresses_are_not_shown(url, words):
    problem = address_problem(url, example=API)
    assert words in problem
    assert "secret-value" not in problem
    assert "pass" not in problem.replace("password", "")


def test_an_account_is_read_from_cloudflares_own_addresses():
    assert account_in(f"{API}/accounts/{ACCOUNT}/ai/v1") == ACCOUNT.lower()
    assert account_in(OLD) == account_in(OLD + "/workers-ai") == ACCOUNT.lower()
    assert account_in("https://api.openai.com/v1") == ""
    assert account_in(f"https://a.example/accounts/{ACCOUNT}/ai/v1/x") == ""


def test_who_counts_neurons():
    assert is_cloudflare(f"{API}/accounts/{ACCOUNT}/ai/v1")
    assert is_cloudflare("https://gateway.ai.cloudflare.com/v1/a/b/openai")
    assert is_cloudflare(f"http://127.0.0.1:9/client/v4/accounts/{ACCOUNT}/ai/v1")
    assert not is_cloudflare("https://api.openai.com/v1")
    assert not is_cloudflare("https://api.cloudflare.com.evil.example/v1")


@pytest.mark.parametrize("base", [OLD, OLD + "/workers-ai"])
def test_the_older_address_of_a_gateway(base):
    assert gateway_url(base, "", None) == f"{OLD}/workers-ai"
    assert api_url(base, API) == API


def test_the_host_of_the_gateways_is_enough_where_the_rest_is_known():
    assert gateway_url("https://gateway.ai.cloudflare.com", "acc", "gw") == (
        "https://gateway.ai.cloudflare.com/v1/acc/gw/workers-ai"
    )
    with pytest.raises(ValueError, match=r"endpoint\.gateway"):
        gateway_url("https://gateway.ai.cloudflare.com/v1", "acc", None)
    with pytest.raises(ValueError, match=r"endpoint\.gateway"):
        gateway_url("https://gateway.ai.cloudflare.com/v1/only-an-account", "acc", "gw")


def test_the_ordinary_address_is_no_gateways():
    assert gateway_url(API, "acc", "gw") is None
    assert api_url(API, "x") == API
    assert api_url(f"http://127.0.0.1:9/v1/{ACCOUNT}/gw", API) == "http://127.0.0.1:9/client/v4"


@pytest.mark.parametrize(
    ("host", "open_"),
    [
        ("img.example.com", True),
        ("8.8.8.8", True),
        ("2606:4700::1111", True),
        ("127.0.0.1", False),
        ("10.1.2.3", False),
        ("169.254.169.254", False),
        ("::1", False),
        ("fd00::1", False),
        ("localhost", False),
        ("metadata.google.internal", False),
        ("printer.local", False),
        ("intranet", False),
        ("2130706433", False),
        ("127.1", False),
        ("0x7f.1", False),
        ("", False),
    ],
)
def test_hosts_that_a_strangers_link_may_name(host, open_):
    assert is_public_host(host) is open_


def test_parts_of_an_address():
    assert origin_of("https://a.example:8443/x/y") == "https://a.example:8443"
    assert is_loopback_url("http://127.0.0.2:1/x")
    assert not is_loopback_url("http://127.0.0.1.example/x")

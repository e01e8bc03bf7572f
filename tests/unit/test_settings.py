"""Settings are right, or one sentence says what was pasted where; a token never shows."""

import copy
import dataclasses
import pickle
import subprocess
import sys
from pathlib import Path

import pytest

from pipeline.errors import SettingsError
from pipeline.settings import DEFAULT_BASE_URL, Secret, known_account, load_settings

ACCOUNT = "0123456789abcdef0123456789ABCDEF"
TOKEN = "v1-abcdefghijklmnopqrstuvwxyz_ABCDEFGHIJ"
GOOD = {"CLOUDFLARE_ACCOUNT_ID": ACCOUNT, "CLOUDFLARE_API_TOKEN": TOKEN}


def problem_of(tmp_path, **changed):
    with pytest.raises(SettingsError) as caught:
        load_settings({**GOOD, **changed}, tmp_path, need_credentials=True)
    for value in changed.values():
        assert len(value) < 9 or value not in str(caught.value)
    assert caught.value.exit_code == 2
    return str(caught.value)


def test_settings_from_the_environment(tmp_path):
    settings = load_settings(GOOD, tmp_path, need_credentials=True)
    assert settings.account_id == ACCOUNT.lower()
    assert settings.api_token.reveal() == TOKEN
    assert settings.base_url == DEFAULT_BASE_URL
    assert settings.state_dir.is_absolute()
    assert settings.state_dir.name == "wai"
    assert settings.warnings == ()


def test_without_need_there_are_no_credentials(tmp_path):
    settings = load_settings(GOOD, tmp_path, need_credentials=False)
    assert settings.account_id == ""
    assert not settings.api_token
    assert load_settings({}, tmp_path, need_credentials=False).account_id == ""


def test_the_process_environment_is_the_default(monkeypatch, tmp_path):
    monkeypatch.chdir(tmp_path)
    for name, value in GOOD.items():
        monkeypatch.setenv(name, value)
    assert load_settings(need_credentials=True).account_id == ACCOUNT.lower()
    assert known_account() == ACCOUNT.lower()


@pytest.mark.parametrize(
    ("value", "words"),
    [
        ("", "not set; it is the 32 characters after dash.cloudflare.com/"),
        (f'"{ACCOUNT}"', "has quotes or spaces around it"),
        (f" {ACCOUNT}", "has quotes or spaces around it"),
        (f"{ACCOUNT}\n", "has quotes or spaces around it"),
        (TOKEN, "looks like an API token, which belongs in CLOUDFLARE_API_TOKEN"),
        ("example.com", "looks like the name of a zone (a domain)"),
        (f"https://dash.cloudflare.com/{ACCOUNT}/ai", "looks like an address"),
        ("01234567-89ab-cdef-0123-456789abcdef", "is written with dashes"),
        ("me@example.com", "looks like an e-mail address"),
        ("abc", "is not an account id (3 characters)"),
        (ACCOUNT[:-1], "is not an account id (31 characters)"),
    ],
)
def test_account_ids_that_are_none(tmp_path, value, words):
    assert words in problem_of(tmp_path, CLOUDFLARE_ACCOUNT_ID=value)


@pytest.mark.parametrize(
    ("value", "words"),
    [
        ("", "not set; create one"),
        (f"Bearer {TOKEN}", 'begins with "Bearer "'),
        (f"bearer\t{TOKEN}", 'begins with "Bearer "'),
        (f"{TOKEN}\n", "has spaces or a line break around it"),
        (f"'{TOKEN}'", "has quotes around it"),
        (f"{TOKEN[:20]} {TOKEN[20:]}", "holds spaces or characters that no token has"),
        (f"{TOKEN[:20]}\r\nX-Evil: 1", "holds spaces or characters that no token has"),
        (f"{TOKEN}é", "holds spaces or characters that no token has"),
        (f"{TOKEN[:20]}\u200b{TOKEN[20:]}", "holds spaces or characters that no token has"),
        (ACCOUNT, "is the account id"),
        ("0123456789abcdef" * 2 + "01234", "looks like the Global API Key"),
    ],
)
def test_tokens_that_are_none(tmp_path, value, words):
    assert words in problem_of(tmp_path, CLOUDFLARE_API_TOKEN=value)


@pytest.mark.parametrize(
    ("value", "url"),
    [
        ("https://example.com/client/v4/", "https://example.com/client/v4"),
        ("http://127.0.0.1:8080", "http://127.0.0.1:8080"),
        ("http://127.9.9.9", "http://127.9.9.9"),
        ("http://localhost:8080/client/v4", "http://localhost:8080/client/v4"),
        ("http://[::1]:8080", "http://[::1]:8080"),
    ],
)
def test_addresses(tmp_path, value, url):
    assert load_settings({**GOOD, "CLOUDFLARE_BASE_URL": value}, tmp_path, need_credentials=True).base_url == url


@pytest.mark.parametrize(
    ("value", "words"),
    [
        ("http://api.cloudflare.com/client/v4", "http would send the token in the clear"),
        ("http://localhost.evil.com", "http would send the token in the clear"),
        ("http://127.0.0.1.evil.com", "http would send the token in the clear"),
        ("http://10.0.0.1", "http would send the token in the clear"),
        ("http://127.1", "http would send the token in the clear"),
        ("http://user:word@127.0.0.1", "holds a user name or password"),
        ("https://127.0.0.1@evil.com", "holds a user name or password"),
        ("https://example.com/?a=b", "holds a query or fragment"),
        ("https://example.com/#a", "holds a query or fragment"),
        ("https://example.com/client/v4/accounts/x", "leave out /accounts/"),
        ("ftp://example.com", "is not an address such as"),
        ("example.com", "is not an address such as"),
        ("https://", "is not an address such as"),
        ("https://example.com:99999", "is not a valid address"),
        ("https://[::1", "is not a valid address"),
        ("https://example.com/a b", "holds spaces or characters"),
        ("https://example.com\\@evil.com", "holds spaces or characters"),
        ("https://exämple.com", "holds spaces or characters"),
    ],
)
def test_addresses_the_token_must_not_go_to(tmp_path, value, words):
    assert words in problem_of(tmp_path, CLOUDFLARE_BASE_URL=value)


def test_state_folder(tmp_path):
    def folder(value: str) -> Path:
        return load_settings({"WAI_STATE_DIR": value}, tmp_path, need_credentials=False).state_dir

    assert folder("state") == tmp_path / "state"
    assert folder(str(tmp_path / "x")) == tmp_path / "x"
    assert folder("~/x") == Path.home() / "x"
    (tmp_path / "file").touch()
    assert "is a file; name a folder" in problem_of(tmp_path, WAI_STATE_DIR="file")
    assert "not known" in problem_of(tmp_path, WAI_STATE_DIR="~nobody-of-that-name/x")


def test_a_dotenv_file_fills_in_and_the_environment_wins(tmp_path):
    path = tmp_path / ".env"
    path.write_text(f'export CLOUDFLARE_ACCOUNT_ID="{ACCOUNT}"\nCLOUDFLARE_API_TOKEN=a$b${{HOME}}\nWAI_STATE_DIR\n')
    path.chmod(0o600)
    settings = load_settings({}, tmp_path, need_credentials=True)
    assert settings.account_id == ACCOUNT.lower()
    assert settings.api_token == Secret("a$b${HOME}")
    assert settings.warnings == ()
    assert load_settings({"CLOUDFLARE_API_TOKEN": TOKEN}, tmp_path, need_credentials=True).api_token == Secret(TOKEN)
    assert load_settings({"CLOUDFLARE_API_TOKEN": ""}, tmp_path, need_credentials=True).api_token != Secret("")
    assert known_account({}, tmp_path) == ACCOUNT.lower()
    assert known_account({"CLOUDFLARE_ACCOUNT_ID": "x"}, tmp_path) == ""


def test_a_dotenv_file_others_can_read_is_warned_of(tmp_path):
    path = tmp_path / ".env"
    path.write_text(f"CLOUDFLARE_API_TOKEN={TOKEN}\n")
    path.chmod(0o640)
    (warning,) = load_settings({}, tmp_path, need_credentials=False).warnings
    assert "chmod 600" in warning
    assert TOKEN not in warning
    path.write_text("OTHER=1\n")
    assert load_settings({}, tmp_path, need_credentials=False).warnings == ()


def test_dotenv_files_that_are_none(tmp_path):
    path = tmp_path / ".env"
    path.mkdir()
    assert load_settings(GOOD, tmp_path, need_credentials=True).account_id
    path.rmdir()
    path.write_bytes(b"A=\xff\xfe\n")
    with pytest.raises(SettingsError, match="not UTF-8"):
        load_settings(GOOD, tmp_path, need_credentials=True)
    path.write_bytes(b" " * ((1 << 20) + 1))
    with pytest.raises(SettingsError, match="larger than 1 MiB"):
        load_settings(GOOD, tmp_path, need_credentials=True)


def test_a_dotenv_file_that_cannot_be_read(tmp_path, monkeypatch):
    (tmp_path / ".env").touch()

    def refuse(*_args: object, **_kwargs: object) -> None:
        raise PermissionError(13, "Permission denied")

    monkeypatch.setattr("dotenv.dotenv_values", refuse)
    with pytest.raises(SettingsError, match="cannot be read: Permission denied"):
        load_settings(GOOD, tmp_path, need_credentials=True)


def test_a_secret_does_not_show(tmp_path):
    secret = Secret(TOKEN)
    settings = load_settings(GOOD, tmp_path, need_credentials=True)
    shown = [repr(secret), str(secret), f"{secret}", f"{secret:>9}", str((secret,)), repr([secret])]
    shown += [repr(settings), str(dataclasses.asdict(settings)), repr(secret.__class__.__dict__)]
    assert all(TOKEN not in text for text in shown)
    assert str(secret) == "***"
    for protocol in range(pickle.HIGHEST_PROTOCOL + 1):
        with pytest.raises(TypeError):
            pickle.dumps(secret, protocol)
    with pytest.raises(AttributeError):
        secret._value = "x"
    with pytest.raises(AttributeError):
        vars(secret) if hasattr(secret, "__dict__") else secret.other  # type: ignore[attr-defined]


def test_secrets_compare_and_copy():
    assert Secret("a") == Secret("a") != Secret("b")
    assert Secret("a") != "a"
    assert len({Secret("a"), Secret("a")}) == 1
    assert copy.copy(Secret("a")) == copy.deepcopy(Secret("a")) == Secret("a")
    assert not Secret()


def test_importing_settings_is_cheap():
    code = (
        "import sys, pipeline.settings; print([m for m in ('pydantic', 'ruamel.yaml', 'dotenv') if m in sys.modules])"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"


# -- other servers ------------------------------------------------------------------------------------------------


def keyed(environ, tmp_path, *names, need_credentials=False):
    return load_settings(environ, tmp_path, need_credentials=need_credentials, keys=names)


def test_keys_of_other_servers_are_read_by_name_only(tmp_path):
    """Nothing but what the job names is taken from the environment, and Cloudflare's token is not needed."""
    found = keyed({"MY_KEY": "sk-abc", "OTHER": "x", "CLOUDFLARE_API_TOKEN": "t" * 40}, tmp_path, "MY_KEY")
    assert set(found.keys) == {"MY_KEY"}
    assert found.key("MY_KEY").reveal() == "sk-abc"
    assert not found.api_token
    assert "sk-abc" not in f"{found!r} {found!s}"


def test_a_key_from_the_file_and_its_warning(tmp_path):
    (tmp_path / ".env").write_text("MY_KEY=sk-abc\n")
    (tmp_path / ".env").chmod(0o644)
    found = keyed({}, tmp_path, "MY_KEY")
    assert found.key("MY_KEY").reveal() == "sk-abc"
    assert "chmod 600" in found.warnings[0]


@pytest.mark.parametrize("value", ["", "Bearer sk-abc", " sk-abc", "'sk-abc'", "sk abc", "sk-\u00e9"])
def test_a_key_that_is_none_is_not_shown(tmp_path, value):
    with pytest.raises(SettingsError, match=r"^MY_KEY: ") as caught:
        keyed({"MY_KEY": value}, tmp_path, "MY_KEY")
    assert "abc" not in str(caught.value)


def test_a_key_that_was_not_asked_for_is_missing(tmp_path):
    with pytest.raises(SettingsError, match=r"MY_KEY: not set; endpoint\.api_key_env"):
        keyed({}, tmp_path).key("MY_KEY")


def test_the_gateways_own_token_is_read_with_the_credentials_only(tmp_path):
    """A rehearsal must not be able to spend."""
    environ = {"CLOUDFLARE_ACCOUNT_ID": "a" * 32, "CLOUDFLARE_API_TOKEN": "t" * 40, "CLOUDFLARE_AIG_TOKEN": "gw-secret"}
    assert keyed(environ, tmp_path, need_credentials=True).gateway_token.reveal() == "gw-secret"
    assert not keyed(environ, tmp_path).gateway_token
    with pytest.raises(SettingsError, match=r"^CLOUDFLARE_AIG_TOKEN: begins"):
        keyed({**environ, "CLOUDFLARE_AIG_TOKEN": "Bearer gw"}, tmp_path, need_credentials=True)

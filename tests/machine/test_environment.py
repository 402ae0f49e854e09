"""Environments as they come: proxies, encodings, a home that cannot be written to."""

import io
import json
import os
import subprocess
import sys
from pathlib import Path

import httpx
import pytest
from rich.console import Console
from rich.table import Table

from flows.process import progress, streams
from flows.process.console import print_result
from tasks.download.http import _client
from tasks.errors import UsageError
from tasks.judge.audit import wording as audit_wording
from tasks.machine import caches, proxies
from tasks.machine.proxies import go_direct, require_way_to_hub, settle, takes_proxy, through
from tasks.servers.http import Server
from tasks.show import markdown, plots, terminal
from tests.commands import CHECKOUT

DEAD = "http://user:secret@127.0.0.1:9"


@pytest.fixture
def environment(monkeypatch):
    """Set an environment of proxies and settle it, as `import tasks` does."""

    def make(**variables):
        for name in [*os.environ]:
            if name.upper().endswith("_PROXY"):
                monkeypatch.delenv(name)
        for name, value in variables.items():
            monkeypatch.setenv(name, value)
        for name in (
            "NO_PROXY",
            "no_proxy",
            *(proxies.KEPT + name for name in (*proxies.PROXIES, "NO_PROXY")),
        ):
            monkeypatch.setenv(name, os.environ.get(name, ""))  # so that what is set is put back
        settle()
        return dict(os.environ)

    return make


@pytest.mark.parametrize(
    "variables",
    [
        {"ALL_PROXY": "socks5h://127.0.0.1:1080"},
        {"all_proxy": "socks4://127.0.0.1:1080"},
        {"HTTP_PROXY": "http://proxy:port"},
        {"HTTPS_PROXY": "proxy:1:2"},
        {
            "HTTP_PROXY": DEAD,
            "NO_PROXY": "[::1],fe80::/10,[fd00::]/8,10.0.0.0/8,[::2]:80,*.corp,a b,http://x:y",
        },
        {"NO_PROXY": "fe80::/10"},
        {"no_proxy": "[::1]:8080, ::1"},
    ],
    ids=str,
)
def test_library_client_can_be_made_and_avoids_the_proxy_locally(environment, variables):
    """Regression: each of these ended as an exception of httpx, where no proxy was needed."""
    environment(**variables)
    with httpx.Client() as client:  # as Prefect's is made
        for host in ("127.0.0.1", "localhost", "[::1]"):
            transport = client._transport_for_url(httpx.URL(f"http://{host}:4200/api"))
            assert transport is client._transport or transport is None


def test_settling_again_changes_nothing(environment):
    first = environment(ALL_PROXY="socks5h://p:1", HTTP_PROXY=DEAD, NO_PROXY="fe80::/10,corp")
    settle()
    assert dict(os.environ) == first
    assert first["NO_PROXY"] == first["no_proxy"] == "corp,localhost,127.0.0.1,::1"
    assert "ALL_PROXY" not in first


@pytest.mark.parametrize(
    ("url", "proxied"),
    [
        ("http://127.0.0.1:5000", False),
        ("http://127.8.8.8", False),
        ("http://[::1]:5000", False),
        ("http://10.1.2.3", False),
        ("http://11.1.2.3", True),
        ("http://[fe80::5]", False),
        ("http://[fd00::5]", False),
        ("http://[fc00::5]", True),
        ("http://[2001:db8:0::1]", False),
        ("http://corp", False),
        ("http://a.corp", False),
        ("http://acorp", True),
        ("http://b.lan", False),
        ("http://gpu:8000", False),
        ("http://gpu:8001", True),
        ("https://elsewhere.org", True),
    ],
)
def test_who_is_behind_the_proxy(environment, url, proxied):
    environment(
        HTTP_PROXY=DEAD,
        HTTPS_PROXY=DEAD,
        NO_PROXY="10.0.0.0/8, fe80::/10,[fd00::]/8,2001:db8::1,corp *.lan,gpu:8000",
    )
    assert takes_proxy(url) is proxied
    assert through(url) == (
        f" through the proxy http://user:***@127.0.0.1:9 of {url[:4].upper()}_PROXY"
        if url.startswith("http:") and proxied
        else " through the proxy http://user:***@127.0.0.1:9 of HTTPS_PROXY"
        if proxied
        else ""
    )


def test_server_in_a_network_without_proxy_is_told_to_libraries(environment):
    found = environment(
        HTTP_PROXY=DEAD,
        NO_PROXY="10.0.0.0/8,fd00::/8",
        PREFECT_API_URL="http://10.1.2.3:4200/api",
        MLFLOW_TRACKING_URI="http://[fd00::7]:5000",
    )
    assert found["NO_PROXY"] == "10.0.0.0/8,10.1.2.3,fd00::7,localhost,127.0.0.1,::1"
    go_direct("192.168.7.7")
    assert os.environ["no_proxy"].split(",")[-4] == "192.168.7.7" or "192.168.7.7" in os.environ["no_proxy"]
    assert not takes_proxy("http://192.168.7.7:4200")


@pytest.mark.parametrize(
    ("proxy", "told"),
    [
        ("socks5h://u:secret@p:1", r'ALL_PROXY is .*\*\*\*@p:1.*pip install "httpx\[socks\]"'),
        ("socks4://p:1", "must begin with http://"),
        ("p:1:2", "one colon at most"),
        ("http://:1", "names no host"),
    ],
)
def test_nothing_is_sent_past_a_proxy_that_cannot_be_used(environment, monkeypatch, proxy, told):
    environment(ALL_PROXY=proxy)
    monkeypatch.delenv("HF_HUB_OFFLINE", raising=False)
    for ask in (
        lambda: _client(1.0, "https://example.org/a"),
        lambda: Server("http://example.org", 1.0),
        require_way_to_hub,
    ):
        with pytest.raises(UsageError, match=told) as raised:
            ask()
        assert "secret" not in str(raised.value)
    _client(1.0, "http://127.0.0.1:1/a").close()
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    require_way_to_hub()


# What a stream cannot show

OURS = "ä “q” – ▁▅█ ≥ · … → 🎉 \udce4"


@pytest.mark.parametrize("encoding", ["ascii", "latin-1", "utf-8"])
def test_character_that_a_stream_cannot_show_is_approximated(monkeypatch, encoding):
    out = io.TextIOWrapper(io.BytesIO(), encoding=encoding, errors="strict")
    monkeypatch.setattr(sys, "stdout", out)
    streams.forgive()
    table = Table("≥")
    table.add_row(OURS)
    Console(file=out, width=200).print(table)
    print_result(json.dumps({"text": OURS}, ensure_ascii=False))
    out.flush()
    shown = out.buffer.getvalue().decode(encoding).splitlines()
    nearest = {
        "ascii": '? "q" - 158 >= . ... -> ? ?',
        "latin-1": 'ä "q" - 158 >= · ... -> ? ?',
        "utf-8": OURS.replace("\udce4", "?"),
    }[encoding]
    assert any(nearest in line for line in shown)
    assert json.loads(shown[-1]) == {"text": OURS}


@pytest.mark.parametrize("module", [terminal, markdown, plots, audit_wording, progress])
def test_every_sign_of_ours_has_one_that_comes_nearest(module):
    signs = {sign for sign in Path(module.__file__).read_text(encoding="utf-8") if not sign.isascii()}
    frames = set(getattr(module, "SPINNER", ""))
    assert signs - frames <= streams.NEAREST.keys()


# A home that cannot be written to


def test_caches_go_where_they_can_be_made(tmp_path, monkeypatch):
    monkeypatch.setenv("TOUCHSTONE_HOME", str(tmp_path))
    (tmp_path / "file").write_text("")
    environ = {"HOME": str(tmp_path / "file" / "me")}
    caches.settle(environ)
    folder = tmp_path / "mlruns" / "work" / "caches"
    assert environ["HF_HOME"] == str(folder / "huggingface")
    assert environ["MPLCONFIGDIR"] == str(folder / "matplotlib")
    assert environ["TRITON_HOME"] == str(folder)


def test_caches_that_can_be_made_or_are_named_stay(tmp_path):
    environ = {"HOME": str(tmp_path)}
    caches.settle(environ)
    assert environ == {"HOME": str(tmp_path)}
    named = {"HOME": "/dev/null", "HF_HOME": "/a", "MPLCONFIGDIR": "/b", "TRITON_HOME": "/c"}
    told = dict(named)
    caches.settle(told)
    assert told == named


def test_a_cache_that_is_there_is_read_in_its_place(tmp_path, monkeypatch):
    (tmp_path / ".cache" / "huggingface").mkdir(parents=True)
    monkeypatch.setattr(os, "access", lambda *_: False)
    environ = {"HOME": str(tmp_path)}
    caches.settle(environ)
    assert "HF_HOME" not in environ
    assert "MPLCONFIGDIR" in environ


# The command

ENVIRONMENTS = {
    "socks": {"ALL_PROXY": "socks5h://127.0.0.1:1080"},
    "networks": {"HTTP_PROXY": DEAD, "HTTPS_PROXY": DEAD, "NO_PROXY": "[::1],fe80::/10"},
    "ascii": {"PYTHONIOENCODING": "ascii", "LC_ALL": "C"},
    "no home": {"HOME": "/dev/null/me"},
}


@pytest.mark.parametrize("name", ENVIRONMENTS)
def test_the_command_starts_in_any_of_them(tmp_path, name):
    (tmp_path / "deployments").symlink_to(CHECKOUT / "deployments")
    done = subprocess.run(
        [sys.executable, "-c", "from flows.command.main import main; main()", "profiles"],
        cwd=CHECKOUT,
        env=os.environ | {"TOUCHSTONE_HOME": str(tmp_path)} | ENVIRONMENTS[name],
        capture_output=True,
        timeout=60,
        check=False,
    )
    assert (done.returncode, done.stderr) == (0, b"")
    assert b"quickstart" in done.stdout

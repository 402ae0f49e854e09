"""One way to read an address: of judges, of Prefect and MLflow, to listen at."""

import pytest

from flows.server.readiness import require_prefect
from flows.server.servers import Place
from tasks.errors import UsageError
from tasks.judge.backends.ollama import base_url
from tasks.machine.addresses import WEB, Address, is_loopback, parse_address, parse_host, reached
from tasks.record.tracking import open_tracking


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("gpu", Address("http", "gpu", None)),
        ("gpu:11434", Address("http", "gpu", 11434)),
        ("::1", Address("http", "::1", None)),
        ("[::1]", Address("http", "::1", None)),
        ("[::1]:11434", Address("http", "::1", 11434)),
        ("http://[2001:db8::1]:99/v1", Address("http", "2001:db8::1", 99, "/v1")),
        ("HTTPS://gpu.lan/v1/", Address("https", "gpu.lan", None, "/v1/")),
        (":99", Address("http", "", 99)),
        ("0.0.0.0", Address("http", "0.0.0.0", None)),
        ("http://user:se@cret@gpu", Address("http", "gpu", None, "", "user:se@cret")),
        ("bücher.example:80", Address("http", "bücher.example", 80)),
    ],
)
def test_an_address_in_its_parts(text, expected):
    assert parse_address(text, WEB, default="http") == expected


@pytest.mark.parametrize(
    ("text", "told"),
    [
        ("gpu:11434:8", "'gpu:11434:8' is no IPv6 address, and a name has one colon at most"),
        ("::1:11434", r"in brackets: \[::1\]:11434"),
        ("[::1", "no IPv6 address in brackets"),
        ("[::1]11434", "no IPv6 address in brackets"),
        ("[gpu]:1", "'gpu' is no IPv6 address"),
        ("gpu:x", "'x' is no port; ports are 1 to 65535"),
        ("gpu:0", "'0' is no port"),
        ("gpu:65536", "'65536' is no port"),
        ("gpu:²", "is no port"),
        ("256.1.1.1", "'256.1.1.1' is no IPv4 address"),
        ("10.0.0", "'10.0.0' is no IPv4 address"),
        ("two words", "'two words' is no name of a host"),
        ("ftp://gpu", "must begin with http:// or https://"),
        ("http://gpu/v1?key=x", "holds a query"),
    ],
)
def test_what_is_wrong_with_an_address_is_named(text, told):
    with pytest.raises(ValueError, match=told):
        parse_address(text, WEB, default="http")
    with pytest.raises(UsageError, match="is not the address of an Ollama server"):
        base_url(text)


@pytest.mark.parametrize("url", ["http://gpu", "https://[::1]:5/a", "http://u:p@gpu:1"])
def test_an_address_is_the_same_when_written_out(url):
    assert parse_address(url, WEB).url == url


def test_an_address_to_listen_at_is_reached_from_this_machine():
    assert [reached(host) for host in ("0.0.0.0", "::", "", "gpu")] == [
        "127.0.0.1",
        "::1",
        "127.0.0.1",
        "gpu",
    ]
    assert Place("::1").prefect == "http://[::1]:4200"
    assert not Place("127.0.0.2").shared
    assert "127.0.0.2" in Place("127.0.0.2").hosts


@pytest.mark.parametrize("host", ["127.0.0.1", "127.9.9.9", "::1", "LocalHost", "localhost.", "a.localhost"])
def test_loopback_is_known_by_all_its_names(host):
    assert is_loopback(host)
    assert not is_loopback(f"{host}.example.org".replace("..", "."))


@pytest.mark.parametrize(
    ("text", "told"),
    [
        ("gpu:4200", "without the port 4200"),
        ("http://gpu", "without http://"),
        ("a b", "no name"),
        ("", "empty"),
    ],
)
def test_a_host_stands_alone(text, told):
    with pytest.raises(ValueError, match=told):
        parse_host(text)
    assert parse_host("[::1]") == parse_host("::1") == "::1"


@pytest.mark.parametrize(
    "arguments", [("--host", "0.0.0.0:4200"), ("--host", "gpu:1:2"), ("--public", "http://x")]
)
def test_a_wrong_host_to_listen_at_is_named(touchstone, arguments):
    status, _, told = touchstone("up", *arguments)
    assert status == 2
    assert f"error: {arguments[0]} {arguments[1]!r}: " in told


@pytest.mark.parametrize("address", ["gpu:4200/api", "http://gpu:4200:1/api", "http://[::1/api", "ftp://gpu"])
def test_a_wrong_address_of_prefect_is_named(touchstone, monkeypatch, address):
    monkeypatch.setenv("PREFECT_API_URL", address)
    with pytest.raises(UsageError, match=r"PREFECT_API_URL .* is not the address of a Prefect server"):
        require_prefect()


@pytest.mark.parametrize("address", ["gpu:5000", "http://gpu:5000:8", "http://10.0.0:5000"])
def test_a_wrong_address_of_mlflow_is_named(tmp_path, address):
    with pytest.raises(
        UsageError, match=r"the MLflow store .* could not be opened: .*Check MLFLOW_TRACKING_URI"
    ):
        open_tracking(tmp_path / "mlruns", address)

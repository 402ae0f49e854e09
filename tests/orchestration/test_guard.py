"""Requests that a foreign page sends through its reader's browser, or that bring no secret, do nothing."""

import json

import httpx
import pytest
import websockets.sync.client
from starlette.applications import Starlette
from starlette.responses import PlainTextResponse
from starlette.routing import Route, WebSocketRoute
from starlette.testclient import TestClient
from starlette.websockets import WebSocketDisconnect
from websockets.exceptions import ConnectionClosedError, InvalidStatus

from flows.server import readiness
from flows.server.guard import Guard
from flows.server.servers import Place, origins
from tests import shared
from tests.commands import LOGIN, entered
from tests.orchestration.attacks import EVIL, REBOUND, attack

SOCKET = "ws://127.0.0.1:4200/socket"
SECRET = "a-secret-of-many-characters"
FOREIGN_NAMES = (
    EVIL,
    f"{EVIL}:4200",
    "localhost.evil.example",
    "127.0.0.1.nip.io",
    "169.254.169.254",
    "",
    "[::1",
)


@pytest.fixture
def guarded():
    """Gives a factory of clients of a guarded application, which notes the paths that it has seen."""

    def make(secret=None, hosts=("localhost", "127.0.0.1", "::1")):
        seen = []

        async def answer(request):
            seen.append(request.url.path)
            return PlainTextResponse("done")

        async def talk(socket):
            seen.append(socket.url.path)
            await socket.accept()
            await socket.send_text("hello")
            await socket.close()

        app = Starlette(
            routes=[
                WebSocketRoute("/socket", talk),
                Route("/{rest:path}", answer, methods=["GET", "POST", "OPTIONS"]),
            ]
        )
        client = TestClient(Guard(app, hosts, secret), base_url="http://127.0.0.1:4200")
        client.seen = seen
        return client

    return make


@pytest.mark.parametrize("host", ["localhost", "LOCALHOST:4200", "127.0.0.1:80", "[::1]:4200", "[::1]"])
def test_own_names_are_let_in(guarded, host):
    assert guarded().post("/run", headers={"Host": host}).text == "done"


@pytest.mark.parametrize("host", FOREIGN_NAMES)
@pytest.mark.parametrize("method", ["GET", "POST", "OPTIONS"])
def test_foreign_names_are_refused_before_anything_is_done(guarded, host, method):
    client = guarded()
    assert client.request(method, "/health", headers={"Host": host}).status_code == 403
    assert client.seen == []


@pytest.mark.parametrize(
    "origin",
    [f"http://{EVIL}", "null", "http://localhost:8888", "http://127.0.0.1", "http://[::1", "file://"],
)
def test_foreign_pages_are_refused(guarded, origin):
    """One of another port of this machine is foreign too."""
    client = guarded(SECRET)
    for method in ("GET", "POST", "OPTIONS"):
        answer = client.request(method, "/run", headers={"Origin": origin}, auth=("touchstone", SECRET))
        assert answer.status_code == 403
    assert client.seen == []


@pytest.mark.parametrize("origin", ["http://127.0.0.1:4200", "https://127.0.0.1:4200"])
def test_its_own_pages_are_let_in(guarded, origin):
    """Behind a proxy they come by TLS."""
    assert guarded().post("/run", headers={"Origin": origin}).text == "done"


def test_sockets_are_guarded_too(guarded):
    client = guarded()
    with client.websocket_connect(SOCKET) as socket:
        assert socket.receive_text() == "hello"
    for headers in ({"Host": EVIL}, {"Origin": f"http://{EVIL}"}):
        with pytest.raises(WebSocketDisconnect), client.websocket_connect(SOCKET, headers=headers):
            pass
    assert client.seen == ["/socket"]


@pytest.mark.parametrize(
    ("login", "status"),
    [
        (("touchstone", SECRET), 200),
        (("touchstone", SECRET[:-1]), 401),
        (("touchstone", SECRET + "a"), 401),
        (("admin", SECRET), 401),
        (("touchstone", ""), 401),
        (("touchstöne", "ŝecret"), 401),
        (None, 401),
    ],
)
def test_who_does_not_know_the_secret_is_asked_for_it(guarded, login, status):
    client = guarded(SECRET)
    answer = client.get("/run", auth=login)
    assert answer.status_code == status
    assert client.seen == ([] if status == 401 else ["/run"])
    assert ("WWW-Authenticate" in answer.headers) == (status == 401)


@pytest.mark.parametrize(
    "header", ["Basic", "Basic !!!", "Basic é", f"Bearer {SECRET}", "basic dG91Y2hzdG9uZQ=="]
)
def test_a_login_that_is_none_is_no_error(guarded, header):
    assert guarded(SECRET).get("/run", headers={"Authorization": header.encode()}).status_code == 401


def test_whether_it_is_well_may_be_asked_without(guarded):
    client = guarded(SECRET)
    assert client.get("/health").text == "done"
    assert client.get("/health/../run").status_code == 401
    assert client.get("/run/health").status_code == 401


def test_no_foreign_page_may_frame_it(guarded):
    assert guarded().get("/").headers["X-Frame-Options"] == "SAMEORIGIN"


def test_a_server_goes_by_the_names_of_where_it_listens():
    assert set(Place().hosts) == {"localhost", "127.0.0.1", "::1"}
    assert "10.1.2.3" not in Place("10.1.2.4").hosts
    assert {"10.1.2.4", "lab.example"} <= set(Place("10.1.2.4", public=("lab.example",)).hosts)
    assert {"127.0.0.1", "localhost"} <= set(Place("0.0.0.0").hosts)
    assert EVIL not in Place("0.0.0.0").hosts
    assert origins(["::1"], "4200")[1] == "http://[::1]:4200"


# What a page did before there was a guard, asked of real servers


def test_prefect_refuses_foreign_pages_and_who_has_no_secret():
    address = shared.prefect()
    assert attack(address, REBOUND) == {403}
    assert attack(address, REBOUND, LOGIN) == {403}
    assert attack(address, {"Origin": f"http://{EVIL}"}, LOGIN) == {403}
    assert attack(address) == {401}
    assert attack(address, auth=("touchstone", "guessed-guessed-guessed")) == {401}
    named = httpx.post(f"{address}/flows/filter", json={"flows": {"name": {"any_": ["evil"]}}}, auth=LOGIN)
    assert named.json() == []


def test_no_page_is_told_that_it_may_read_prefects_answers():
    answer = httpx.options(
        f"{shared.prefect()}/flows/",
        headers={"Origin": f"http://{EVIL}", "Access-Control-Request-Method": "POST"},
        auth=LOGIN,
    )
    assert answer.status_code == 403
    assert not [name for name in answer.headers if name.lower().startswith("access-control")]


def test_prefects_streams_are_guarded():
    address = shared.prefect().replace("http://", "ws://") + "/events/in"
    with (
        pytest.raises(InvalidStatus, match="403"),
        websockets.sync.client.connect(address, additional_headers={"Origin": f"http://{EVIL}"}),
    ):
        pass
    with websockets.sync.client.connect(address, subprotocols=["prefect"]) as socket:
        socket.send(json.dumps({"type": "auth", "token": "guessed"}))
        with pytest.raises(ConnectionClosedError, match="Invalid token"):
            socket.recv()


@pytest.mark.slow
def test_mlflow_refuses_foreign_pages_and_who_has_no_secret():
    address, _ = shared.mlflow()
    paths = ("/", "/api/2.0/mlflow/experiments/create", "/ajax-api/2.0/mlflow/experiments/create", "/graphql")
    for path in paths:
        for headers, auth, expected in (
            (REBOUND, LOGIN, 403),
            ({"Origin": "http://localhost:8888"}, LOGIN, 403),
            ({}, None, 401),
        ):
            for method in ("GET", "POST"):
                answer = httpx.request(
                    method, f"{address}{path}", headers=headers, auth=auth, json={"name": "evil"}
                )
                assert answer.status_code == expected, (method, path)
    assert httpx.get(address, auth=LOGIN).is_success
    assert httpx.get(f"{address}/health").is_success


def test_server_of_a_single_command_is_guarded_while_it_lives(tmp_path, monkeypatch):
    monkeypatch.setattr(readiness, "_own", [])
    with entered(tmp_path, {"TOUCHSTONE_HOME": str(tmp_path)}, shared.prefect()):
        readiness.begin_prefect()
        (server,) = readiness._own
        try:
            readiness.prefect_is_ready()
            import os

            address = os.environ["PREFECT_API_URL"]
            login = tuple(os.environ["PREFECT_API_AUTH_STRING"].split(":"))
            assert login != LOGIN
            assert attack(address, REBOUND, login) == {403}
            assert attack(address) == {401}
            assert httpx.get(f"{address}/admin/version", auth=login).is_success
        finally:
            readiness._end(server)

"""`touchstone up --postgres`: both stores in a PostgreSQL server of the test's own."""

import pytest

from flows.server.postgres import databases
from flows.server.servers import free_port
from tasks.errors import UsageError
from tests.orchestration.sites import started_up, stop
from tests.postgres import MissingError, postgres_server

PASSWORD = "PLANTED p@ss/word:#1"


@pytest.mark.parametrize(
    "address", ["mysql://host/name", "postgresql://host", "postgresql:///name", "postgresql://host/a/b"]
)
def test_an_address_that_is_none_is_refused(address):
    with pytest.raises(UsageError, match="expected postgresql://USER:PASSWORD@HOST:PORT/NAME"):
        databases(address)


def test_a_server_that_is_not_there_is_told_without_the_password():
    with pytest.raises(UsageError) as raised:
        databases(f"postgresql://user:hidden@127.0.0.1:{free_port()}/touchstone")
    assert "hidden" not in str(raised.value)
    assert "touchstone_prefect and touchstone_mlflow" in str(raised.value)


@pytest.fixture
def postgres():
    """The port of a server that asks the user `touchstone` for a password."""
    try:
        with postgres_server(PASSWORD) as port:
            yield port
    except MissingError as missing:
        pytest.skip(str(missing))


@pytest.mark.slow
@pytest.mark.timeout(600)
def test_pipeline_on_postgres_survives_a_restart_password_free(postgres, tmp_path):
    arguments = ("--postgres", f"postgresql://touchstone@127.0.0.1:{postgres}/touch")
    home = tmp_path / "home"
    home.mkdir()
    for again in (False, True):
        site = started_up(home, *arguments, PGPASSWORD=PASSWORD)
        try:
            site("deploy")
            outcome = site("run", "only.yaml", "--pools", "--set", "pretrain.steps=4")
        finally:
            assert stop(site.processes[0]) == 0, (home / "up.log").read_text()
        assert {stage["cached"] for stage in outcome["stages"]} == {again}
    assert not (home / "mlruns" / "mlflow.db").exists()
    told = [path for path in home.rglob("*") if path.is_file() and b"PLANTED" in path.read_bytes()]
    assert told == []

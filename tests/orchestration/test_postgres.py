"""`touchstone up --postgres`: both stores in a PostgreSQL server of the test's own."""

import os
import pwd
import shutil
import subprocess
from pathlib import Path

import pytest

from flows.postgres import databases
from flows.servers import free_port, is_free
from tasks.errors import UsageError
from tests.orchestration.sites import started_up, stop, until

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
def postgres(tmp_path):
    """The port of a server that asks the user `touchstone` for a password."""
    programs = sorted(Path("/usr/lib/postgresql").glob("*/bin/initdb"))
    initdb = shutil.which("initdb") or (str(programs[-1]) if programs else None)
    if initdb is None:
        pytest.skip("needs PostgreSQL's initdb and postgres")
    as_who = {}
    if os.geteuid() == 0:  # as root it will not run
        try:
            pwd.getpwnam("postgres")
        except KeyError:
            pytest.skip("needs a user postgres, as PostgreSQL does not run as root")
        as_who = {"user": "postgres", "group": "postgres"}
    place, port = Path(tmp_path.parts[0], "tmp", f"touchstone-postgres-{os.getpid()}"), free_port()
    place.mkdir()
    (place / "password").write_text(PASSWORD)
    if as_who:
        shutil.chown(place, **as_who)
        shutil.chown(place / "password", **as_who)
    made = [initdb, "--pgdata", str(place / "data"), "--username", "touchstone", "--auth", "scram-sha-256"]
    subprocess.run(
        [*made, "--pwfile", str(place / "password")], check=True, capture_output=True, cwd=place, **as_who
    )
    command = [str(Path(initdb).with_name("postgres")), "-D", str(place / "data"), "-p", str(port)]
    command += ["-c", "listen_addresses=127.0.0.1", "-c", f"unix_socket_directories={place}"]
    server = subprocess.Popen(
        command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, cwd=place, **as_who
    )
    try:
        until(lambda: not is_free("127.0.0.1", port), 30)
        yield port
    finally:
        server.terminate()
        server.wait(30)
        shutil.rmtree(place)


@pytest.mark.slow
@pytest.mark.timeout(600)
def test_a_pipeline_on_postgres_is_found_again_after_a_restart_and_the_password_nowhere(postgres, tmp_path):
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

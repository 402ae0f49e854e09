"""A PostgreSQL server of the tests' own, on loopback."""

import os
import pwd
import shutil
import subprocess
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from flows.server.servers import free_port, is_free
from tests.orchestration.sites import until


class MissingError(Exception):
    """PostgreSQL, or a user that it runs as, is not on this machine."""


@contextmanager
def postgres_server(password: str) -> Iterator[int]:
    """The port of a server that asks the user `touchstone` for a password. Raises MissingError."""
    programs = sorted(Path("/usr/lib/postgresql").glob("*/bin/initdb"))
    initdb = shutil.which("initdb") or (str(programs[-1]) if programs else None)
    if initdb is None:
        raise MissingError("needs PostgreSQL's initdb and postgres")
    as_who = {}
    if os.geteuid() == 0:  # as root it will not run
        try:
            pwd.getpwnam("postgres")
        except KeyError:
            raise MissingError("needs a user postgres, as PostgreSQL does not run as root") from None
        as_who = {"user": "postgres", "group": "postgres"}
    place, port = Path(tempfile.mkdtemp(prefix="touchstone-postgres-", dir="/tmp")), free_port()
    (place / "password").write_text(password)
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

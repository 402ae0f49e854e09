"""Runs a Prefect server in a process of its own: what `python -P prefect_app.py HOST PORT` starts.

Half of what a server takes to come up is Python looking for garbage among the objects of two thousand
modules, of which there is none: it looks once everything is there, and at what comes later.
"""

import asyncio
import gc
import os
import sqlite3
import sys
from contextlib import closing
from pathlib import Path
from typing import TYPE_CHECKING

gc.disable()

if TYPE_CHECKING:
    import uvicorn

from flows.compat import EPHEMERAL  # noqa: E402
from flows.server.access import SECRET, SECRET_FILE, USER, required_secret  # noqa: E402
from flows.server.guard import Guard, told_hosts  # noqa: E402
from tasks.errors import UsageError  # noqa: E402

QUIET = 3.0  # seconds until old runs are forgotten
GRACE = 3  # seconds that requests have at the end


def main() -> None:
    """Serve until SIGTERM; settings are read from the environment, as Prefect does.

    Prefect asks for the secret itself: its UI has a page for that.
    """
    host, port = sys.argv[1:]
    try:
        secret = required_secret()
    except UsageError as error:
        sys.exit(f"error: {error}")
    os.environ["PREFECT_SERVER_API_AUTH_STRING"] = f"{USER}:{secret}"
    for name in (SECRET, SECRET_FILE):
        os.environ.pop(name, None)

    import uvicorn
    from prefect.server.api.server import create_app

    _make_database()
    app = Guard(create_app(), told_hosts())
    gc.freeze()
    gc.enable()
    server = uvicorn.Server(
        uvicorn.Config(
            app,
            host=host,
            port=int(port),
            log_level="error",
            lifespan="on",
            timeout_graceful_shutdown=GRACE,
        )
    )
    asyncio.run(_serve(server))


def _make_database() -> None:
    """Make Prefect's own SQLite database under another name first: nobody repairs half of one."""
    from prefect.server.database.configurations import AioSqliteConfiguration
    from prefect.server.database.dependencies import temporary_database_config
    from prefect.settings import PREFECT_API_DATABASE_CONNECTION_URL, temporary_settings
    from sqlalchemy.engine import make_url

    from tasks.machine.locks import holding

    address = make_url(str(PREFECT_API_DATABASE_CONNECTION_URL.value()))
    if address.get_backend_name() != "sqlite" or address.database in (None, "", ":memory:"):
        return
    path = Path(address.database)
    path.parent.mkdir(parents=True, exist_ok=True)
    with holding(f"{path}.lock"):
        for left in path.parent.glob(f"{path.name}.part*"):  # by a kill
            left.unlink()
        if path.exists():
            return
        part = path.with_name(f"{path.name}.part")
        making = str(address.set(database=str(part)))
        with (
            temporary_settings({PREFECT_API_DATABASE_CONNECTION_URL: making}),
            temporary_database_config(AioSqliteConfiguration(connection_url=making)),
        ):
            asyncio.run(_migrate())
        with closing(sqlite3.connect(part)) as database:
            database.execute("PRAGMA wal_checkpoint(TRUNCATE)")
        part.replace(path)


async def _migrate() -> None:
    from prefect.server.database import provide_database_interface

    database = provide_database_interface()
    await database.create_db()
    await (await database.engine()).dispose()


async def _serve(server: "uvicorn.Server") -> None:
    """Serve; Prefect's services do the rest, but the server of a single command has none that forgets."""
    forgetting = asyncio.create_task(_forget_old_runs()) if EPHEMERAL in os.environ else None
    await server.serve()
    if forgetting is not None:
        forgetting.cancel()


async def _forget_old_runs() -> None:
    """What Prefect's own service would do, once, when the command has got its answers."""
    await asyncio.sleep(QUIET)
    from prefect.server.database import provide_database_interface
    from prefect.server.services.db_vacuum import vacuum_old_flow_runs

    await vacuum_old_flow_runs(db=provide_database_interface())


if __name__ == "__main__":
    main()

"""The two databases of a PostgreSQL server: Prefect's and MLflow's, which cannot share one."""

import asyncio
from dataclasses import dataclass
from importlib.util import find_spec
from urllib.parse import SplitResult, urlsplit

import asyncpg

from tasks.errors import UsageError
from tasks.machine.home import without_password

SCHEMES = ("postgresql", "postgres")


@dataclass(frozen=True)
class Databases:
    """Addresses for the drivers of the two."""

    prefect: str
    mlflow: str


def databases(address: str) -> Databases:
    """The databases NAME_prefect and NAME_mlflow of a PostgreSQL server, made if they are missing.

    `address` is postgresql://USER:PASSWORD@HOST:PORT/NAME. Both keep their schema's version in a table of the
    same name, so they cannot share a database. Raises UsageError when the server cannot be reached, does not
    let us in, or does not let us make them.
    """
    parts = urlsplit(address)
    name = parts.path.strip("/")
    try:
        parts.port  # noqa: B018 (it is read where the address is)
    except ValueError as error:
        raise UsageError(f"--postgres {without_password(address)}: {error}") from error
    if parts.scheme not in SCHEMES or not parts.hostname or not name or "/" in name:
        raise UsageError(
            f"--postgres {without_password(address)}: expected postgresql://USER:PASSWORD@HOST:PORT/NAME"
        )
    if find_spec("psycopg2") is None:
        raise UsageError('MLflow needs a driver for PostgreSQL: pip install "touchstone[postgres]"')
    names = [f"{name}_prefect", f"{name}_mlflow"]
    try:
        asyncio.run(_create_missing(parts, names))
    except (OSError, asyncpg.PostgresError, asyncpg.InterfaceError) as error:
        raise UsageError(
            f"--postgres {without_password(address)}: {error or type(error).__name__}. The databases "
            f"{' and '.join(names)} are made when the user may, or must be there"
        ) from error
    prefect, mlflow = names
    return Databases(_at(parts, "postgresql+asyncpg", prefect), _at(parts, "postgresql+psycopg2", mlflow))


def _at(parts: SplitResult, scheme: str, name: str) -> str:
    return parts._replace(scheme=scheme, path=f"/{name}").geturl()


async def _create_missing(parts: SplitResult, names: list[str]) -> None:
    connection = await asyncpg.connect(_at(parts, "postgresql", "postgres"), timeout=10)
    try:
        for name in names:
            if not await connection.fetchval("SELECT 1 FROM pg_database WHERE datname = $1", name):
                await connection.execute(f'CREATE DATABASE "{name.replace(chr(34), "")}"')
    finally:
        await connection.close()

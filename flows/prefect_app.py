"""Runs a Prefect server in a process of its own: what `python -P prefect_app.py HOST PORT` starts.

Half of what a server takes to come up is Python looking for garbage among the objects of two thousand
modules, of which there is none: it looks once everything is there, and at what comes later.
"""

import gc
import sys

gc.disable()

import uvicorn  # noqa: E402
from prefect.server.api.server import create_app  # noqa: E402

GRACE = 3  # seconds that requests have at the end


def main() -> None:
    """Serve until SIGTERM; settings are read from the environment, as Prefect does."""
    host, port = sys.argv[1:]
    app = create_app()
    gc.freeze()
    gc.enable()
    uvicorn.run(
        app,
        host=host,
        port=int(port),
        log_level="error",
        lifespan="on",
        timeout_graceful_shutdown=GRACE,
    )


if __name__ == "__main__":
    main()

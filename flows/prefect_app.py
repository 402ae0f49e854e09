"""Runs a Prefect server in a process of its own: what `python -P prefect_app.py HOST PORT` starts.

Half of what a server takes to come up is Python looking for garbage among the objects of two thousand
modules, of which there is none: it looks once everything is there, and at what comes later.
"""

import gc
import os
import sys

gc.disable()

from flows.access import SECRET, SECRET_FILE, USER, required_secret  # noqa: E402
from flows.guard import Guard, told_hosts  # noqa: E402

GRACE = 3  # seconds that requests have at the end


def main() -> None:
    """Serve until SIGTERM; settings are read from the environment, as Prefect does.

    Prefect asks for the secret itself: its UI has a page for that.
    """
    host, port = sys.argv[1:]
    os.environ["PREFECT_SERVER_API_AUTH_STRING"] = f"{USER}:{required_secret()}"
    for name in (SECRET, SECRET_FILE):
        os.environ.pop(name, None)

    import uvicorn
    from prefect.server.api.server import create_app

    app = Guard(create_app(), told_hosts())
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

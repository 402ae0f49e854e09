"""How stages are chained, and the `touchstone` command.

The environment variables are set here, before Prefect reads them. Prefect's own console lines would
interleave with progress bars and print a traceback for every mistake in a data file, so the console
keeps only what is critical; every line still reaches Prefect's server and its UI.

What Prefect keeps is this checkout's own: in the user's home, every checkout would share one database, and
the newest Prefect among them would migrate it for all.
"""

import logging
import os

from tasks.machine.home import home

VERSION = "0.1.0"

for _name, _value in {
    "DO_NOT_TRACK": "1",
    "MLFLOW_HTTP_REQUEST_MAX_RETRIES": "5",  # a server that is gone for a minute is waited for
    "PREFECT_LOGGING_EXTRA_LOGGERS": "tasks,flows",
    "PREFECT_LOGGING_TO_API_WHEN_MISSING_FLOW": "ignore",
    "PREFECT_LOGGING_HANDLERS_CONSOLE_LEVEL": "CRITICAL",
    "PREFECT_SERVER_ANALYTICS_ENABLED": "false",
    "PREFECT_SERVER_EPHEMERAL_STARTUP_TIMEOUT_SECONDS": "120",
    "PREFECT_CLI_PROMPT": "false",
    "PREFECT_HOME": str(home() / "mlruns" / "prefect"),
}.items():
    os.environ.setdefault(_name, _value)

logging.getLogger(__name__).setLevel(logging.INFO)  # Prefect adds its handler and leaves the level to us

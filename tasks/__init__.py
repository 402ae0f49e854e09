"""What each stage does. One room per stage; nothing here knows how stages are chained.

The environment variables are set here, before any library reads them: a run phones nobody, and
MLflow's model catalogue does not wait for a network that may not be there. Proxies that libraries cannot read
and caches that they cannot write to are settled here too.
"""

import os

from tasks.compat.lean_mlflow import import_mlflow_lean
from tasks.machine.caches import settle as settle_caches
from tasks.machine.proxies import settle as settle_proxies

for _name, _value in {
    "DO_NOT_TRACK": "1",
    "HF_DATASETS_DISABLE_PROGRESS_BARS": "1",
    "HF_HUB_DISABLE_PROGRESS_BARS": "1",
    "HF_HUB_DISABLE_TELEMETRY": "1",
    "MLFLOW_DISABLE_TELEMETRY": "true",
    "MLFLOW_ENABLE_ARTIFACTS_PROGRESS_BAR": "false",
    "MLFLOW_MODEL_CATALOG_URI": "",
    "MLFLOW_SUPPRESS_PRINTING_URL_TO_STDOUT": "true",  # standard output belongs to --json
    "TOKENIZERS_PARALLELISM": "true",
    "TRANSFORMERS_VERBOSITY": "error",
}.items():
    os.environ.setdefault(_name, _value)

settle_proxies()
settle_caches()
import_mlflow_lean()

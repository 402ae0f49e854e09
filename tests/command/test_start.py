"""What every process is told before it imports Prefect and MLflow, and what a look-up leaves out."""

import os
import subprocess
import sys

import pytest

from tests.commands import CHECKOUT

HEAVY = (
    "datasets",
    "matplotlib",
    "pandas",
    "peft",
    "prefect",
    "scipy",
    "sklearn",
    "torch",
    "transformers",
    "trl",
)


@pytest.fixture
def python(tmp_path):
    """Python in a process of its own, at home in a folder of the test; gives the lines that it prints."""
    (tmp_path / "deployments").symlink_to(CHECKOUT / "deployments")

    def run(program, **environment):
        inherited = {name: value for name, value in os.environ.items() if name != "PREFECT_HOME"}
        done = subprocess.run(
            [sys.executable, "-c", program],
            env=inherited | {"TOUCHSTONE_HOME": str(tmp_path), "PYTHONPATH": str(CHECKOUT)} | environment,
            cwd=tmp_path,
            capture_output=True,
            text=True,
            timeout=120,
        )
        assert done.returncode == 0, done.stderr
        return done.stdout.splitlines()

    return run


def test_prefect_state_stays_in_the_checkout_unless_set_apart(python, tmp_path):
    program = "import flows; from prefect.settings import PREFECT_HOME; print(PREFECT_HOME.value())"
    assert python(program) == [str(tmp_path / "mlruns" / "prefect")]
    own = tmp_path / "own"
    assert python(program, PREFECT_HOME=str(own)) == [str(own)]


LOOK_UPS = """
import contextlib, io, sys
from flows.command.cli import main

def imported(*command):
    sys.argv = ["touchstone", *command]
    with contextlib.redirect_stdout(io.StringIO()), contextlib.redirect_stderr(io.StringIO()):
        try:
            main()
        except SystemExit:
            pass
    print(" ".join(command), *(name for name in {heavy} if name in sys.modules), sep=" ", flush=True)

imported("--help")
imported("run", "--help")
imported("profiles")
print("help", *(name for name in ("httpx", "mlflow", "numpy") if name in sys.modules))
imported("models")
imported("report")
for command in ("chat", "serve", "export"):
    imported(command, "no-such-model")
from flows.judging.comparison import compared
from flows.judging.judged import audited, judged
from flows.judging.inputs import parse_comparison_input
from tasks.record.stage import find
print("sides and records", *(name for name in {heavy} if name in sys.modules))
"""


def test_look_up_imports_no_training_drawing_or_orchestration(python):
    assert python(LOOK_UPS.format(heavy=HEAVY)) == [
        "--help",
        "run --help",
        "profiles",
        "help",
        "models",
        "report",
        "chat no-such-model",
        "serve no-such-model",
        "export no-such-model",
        "sides and records",
    ]


def test_whoever_packs_a_model_gets_all_of_mlflow(python):
    program = (
        "import sys, tasks.record.tracking\n"
        "print('pandas' in sys.modules)\n"
        "from mlflow.models import ModelSignature, infer_signature\n"
        "import pandas\n"
        "print(infer_signature(pandas.DataFrame({'text': ['a']})).inputs)\n"
    )
    assert python(program) == ["False", "['text': string (required)]"]

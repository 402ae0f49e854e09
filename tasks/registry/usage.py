"""How to use a registered model, in two lines of Python, for MLflow's pages of it."""

from tasks.registry.versions import CHAMPION
from tasks.show.markdown import fenced

NEEDS = (
    "Set `MLFLOW_TRACKING_URI` to the address of this page, and to sign in `MLFLOW_TRACKING_USERNAME` and "
)
NEEDS += "`MLFLOW_TRACKING_PASSWORD`; the packages that it needs are in its `requirements.txt`."


def snippet(name: str, which: str) -> str:
    """Lines of Python; `which` is how a version follows the name: `@champion`, `/3`."""
    return f"""\
import mlflow
print(mlflow.pyfunc.load_model({f"models:/{name}{which}"!r}).predict(["your text"]))"""


def reward_description(name: str) -> str:
    """Of a registered reward model."""
    code = fenced([("", snippet(name, "/1"))], "python", margin=0)
    return (
        "A reward model that Touchstone trained on pairs of a chosen and a rejected response: it says what a "
        "response is worth, as a number without bounds. Each version tells how many test pairs it puts in "
        f"order.\n\n{code}\n\nA text is a whole conversation in the template that the model was trained in, "
        f"its end token included; each version has one as its input example. {NEEDS}\n"
    )


def model_description(name: str) -> str:
    """Of a registered model: what its aliases mean, and how the champion is used."""
    code = fenced([("", snippet(name, f"@{CHAMPION}"))], "python", margin=0)
    return (
        "A model that Touchstone trains and judges. The alias `champion` is on the version to use, "
        f"`candidate` on the newest that may take its place.\n\n{code}\n\n"
        "A model that writes text continues a prompt in the template that it was trained in; each version "
        f"has one as its input example. An encoder-decoder takes a source as it stands.\n\n{NEEDS}\n"
    )

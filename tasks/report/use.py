"""The card on what to do with the model: where it is, and the lines of Python that load it."""

import json
from collections.abc import Iterator
from typing import Any

from tasks.classify.tasks import card_of
from tasks.machine.json_files import Json
from tasks.report.kinds import is_classified, is_pretrained_only, is_seq2seq
from tasks.show.document import Block, Code, Fact, Facts, Keep, Section

LONGEST = 80  # characters of an example


def section(report: Json, cost: Json) -> Iterator[Section]:
    """Nothing without a record of where the model is."""
    if cost["model"]:
        yield Section("Use this model", list(_blocks(report, cost["model"])))


def _blocks(report: Json, model: Json) -> Iterator[Block]:
    facts = [Fact("Model folder", model["folder"], "safetensors and tokenizer, as Transformers reads them")]
    if not is_pretrained_only(report):
        named = f"{report['promotion']['name']}/{report['promotion']['version']}"
        facts.insert(0, Fact("In MLflow's registry", f"models:/{named}"))
        if is_seq2seq(report):
            answers = f"touchstone generate {named} ROWS -o FILE"
            facts.append(Fact("Give it sources", answers, is_code=True))
        elif not is_classified(report) or card_of(report["evaluation"]).takes_text:
            facts.append(Fact("Talk to it", f"touchstone chat {named}", is_code=True))
        if not is_classified(report) and not is_seq2seq(report):
            facts.append(Fact("Serve it", f"touchstone serve {named}", is_code=True))
        facts.append(Fact("Take it elsewhere", f"touchstone export {named} --to folder", is_code=True))
    yield Facts(facts)
    yield Code(_snippet(report, model), "python", Keep(terminal=0))


def _snippet(report: Json, model: Json) -> str:
    if is_pretrained_only(report):
        return (
            "from transformers import pipeline\n\n"
            f'write = pipeline("text-generation", {_quoted(model["folder"])})\n'
            'write("Once upon a time", max_new_tokens=40)'
        )
    promotion = report["promotion"]
    uri = _quoted(f"models:/{promotion['name']}/{promotion['version']}")
    head = f"import mlflow\n\nmlflow.set_tracking_uri({_quoted(model['tracking'])})\n"
    if is_classified(report):
        inputs = card_of(report["evaluation"]).inputs(report["examples"]["rows"])
        return f"{head}model = mlflow.pyfunc.load_model({uri})\nmodel.predict([{_quoted(inputs)}])"
    asked = _quoted(_example(report))
    if is_seq2seq(report):
        return f"{head}model = mlflow.pyfunc.load_model({uri})\nmodel.predict([{asked}])"
    return (
        f"{head}respond = mlflow.transformers.load_model({uri})\n"
        f'respond([{{"role": "user", "content": {asked}}}], max_new_tokens=40)'
    )


def _example(report: Json) -> str:
    """The first sample that is short, as a prompt to try."""
    asked = ("\n".join(filter(None, (row["instruction"], row["input"]))) for row in report["samples"]["rows"])
    return next((text for text in asked if len(text) <= LONGEST), "What can you do?")


def _quoted(value: Any) -> str:
    """A literal that Python and JSON read alike."""
    return json.dumps(value, ensure_ascii=False, allow_nan=False)

"""Rows, audits and attempts at the judge stage, for the trials of everything that judges."""

import json

from tasks.config import JudgeConfig
from tasks.config import on as config_on
from tasks.judge.ask.answers import ANSWERS
from tasks.judge.ask.identities import digests_of
from tasks.judge.audit.outputs import AuditReport
from tasks.judge.protocol.responses import ResponseRow
from tasks.judge.score.stage import judge
from tasks.record.stage import StageRun
from tests.chat_server import CONTENTS
from tests.ollama_server import OllamaServer
from tests.openai_server import OpenAIServer

OLLAMA, OPENAI = "ollama:llama3.2", f"openai:{OpenAIServer.models[0]}"
DIGEST = OllamaServer.digest
SERVERS = {"ollama": OllamaServer, "openai": OpenAIServer}

# Faults by what they come to, for each protocol
PASSING = {
    "ollama": ["429", "500", "503", "drop"],
    "openai": ["429", "500", "503", "drop", "loading"],
}
READ = ("score_4.0", "fenced", "tilde_fenced", "thinking", "thought", "thinking_fenced", "half_character")
SAID = sorted(CONTENTS.keys() - set(READ))
UNUSABLE = {
    "ollama": ["broken_body", "error_body", "loading", "not_done", *SAID],
    "openai": ["broken_body", "error_body", "null", "refusal", "picture", *SAID],
}
FINAL = ["400", "cut_prompt", "no_count"]
HALF_CHARACTER = CONTENTS["half_character"]

AUDIT = {
    "mode": "scores",
    "criterion": None,
    "falsifiable": True,
    "version": "0.32.15",
    "known_by": "digest",
    "form": "anchored",
    "prompt_version": "p",
    "refusals": [],
    "verdict": "pass",
    "rows": 30,
    "of": 110,
    "answers": 600,
    "missing_because": [],
    "gates": [],
    "controls": [],
}
"""What an audit says of a judge that passed it; the judge and its digest are still to be named."""


def each(faults):
    """Every (protocol, fault) of a mapping from protocols to their faults."""
    return [(protocol, fault) for protocol, own in faults.items() for fault in own]


def row_of(index=0, **changes):
    instruction = f"Name capital number {index}."
    return {
        "id": index,
        "instruction": instruction,
        "input": "",
        "output": f"The capital is City{index}.",
        "prompt": f"Below is an instruction.\n\n### Instruction:\n{instruction}\n\n### Response:\n",
        "response": f"It is called City{index}, the capital.",
        "tokens": 9,
        "cut": False,
    } | changes


def rows_of(count):
    return [row_of(index) for index in range(count)]


def as_row(**changes):
    value = row_of(0, **changes)
    names = ("id", "instruction", "input", "output", "prompt", "response")
    return ResponseRow(*(value[name] for name in names))


def serving(protocol, **options):
    """A server that asks nobody to wait."""
    return SERVERS[protocol](**{"retry_after": None} | options)


def on(server, **config):
    """What an attempt is told to be judged by that server's model, which was audited."""
    if isinstance(server, OllamaServer):
        own = {"scorer": OLLAMA, "host": server.address, "digest": server.digest}
    else:
        own = {"scorer": config.get("scorer", OPENAI), "base_url": server.url}
        if "digest" not in config:
            own["digest"] = digests_of(JudgeConfig(**own))[own["scorer"]]
    return own | {"attempts": 3, "timeout": 5.0} | config


class Trial:
    """One attempt at the stage in a folder of its own, sharing the answers with those before it.

    Every judge has passed an audit on every criterion; `audits` changes it by name, None takes it away.
    """

    def __init__(self, folder, rows, *, digest=DIGEST, audits=None, tracking=None, **config):
        self.config = JudgeConfig(**{"resamples": 100} | config)
        self.input = folder / "responses"
        self.input.mkdir(exist_ok=True)
        lines = [row if isinstance(row, str) else json.dumps(row, ensure_ascii=False) for row in rows]
        (self.input / "responses.jsonl").write_text("\n".join(lines) + "\n", encoding="utf-8")
        self.audits = {}
        for place, (scorer, criterion) in enumerate(self.config.asked):
            name = config_on(scorer, criterion and criterion.name)
            changes = (audits or {}).get(name, {})
            on_criterion = {"falsifiable": criterion.is_falsifiable} if criterion else {}
            if changes is not None:
                self.audits[f"audit_{place}"] = _audit_in(
                    folder / f"audit_{place}",
                    scorer,
                    {"digest": digest, "criterion": criterion and criterion.name} | on_criterion | changes,
                )
        self.progress = []
        run_id = tracking.client.create_run(tracking.experiment_id).info.run_id if tracking else None
        self.run = StageRun(
            out=folder / "out",
            auxiliary=folder / "auxiliary",
            checkpoint=folder / "checkpoint",
            shared=folder / "shared",
            tracking=tracking,
            run_id=run_id,
            progress=lambda *report: self.progress.append(report),
        )

    def __call__(self):
        judge(self.config, self.run, responses=self.input, **self.audits)
        return self

    @property
    def lines(self):
        return [json.loads(line) for line in (self.run.out / "scores.jsonl").read_text().split("\n")[:-1]]

    @property
    def scores(self):
        """Those of the headline, in order."""
        return [line[self.config.headline] for line in self.lines]

    @property
    def summary(self):
        return json.loads((self.run.out / "scores.json").read_text())

    @property
    def judged(self):
        """The headline's numbers, a judge's or the panel's."""
        return self.summary["scores"][-1]

    @property
    def calls(self):
        return [
            json.loads(line) for line in (self.run.auxiliary / "calls.jsonl").read_text().split("\n")[:-1]
        ]

    @property
    def judges(self):
        return json.loads((self.run.out / "judge.json").read_text())["judges"]

    @property
    def answers(self):
        return self.run.shared / ANSWERS


def _audit_in(folder, scorer, changes):
    folder.mkdir(exist_ok=True)
    AuditReport(**AUDIT | {"scorer": scorer} | changes).write(folder)
    return folder

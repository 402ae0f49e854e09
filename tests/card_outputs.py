"""Small outputs of every stage before the report, in the words of the stages that write them, and a card."""

import json
from html.parser import HTMLParser
from io import StringIO

from rich.console import Console

from tasks.config import PANEL, ReportConfig, on
from tasks.record.manifest import digest_of
from tasks.record.stage import StageRun
from tasks.record.work import Reference
from tasks.report import report
from tasks.report.document import as_document
from tasks.show.markdown import as_markdown
from tasks.show.terminal import show

METRIC, BLEU, JUDGE, OTHER = "metric:chrf", "metric:bleu", "ollama:llama3.2:3b", "openai:qwen2.5"
HOSTILE = [
    "<script>alert(1)</script>",
    '"><img src=x onerror=alert(1)> & <b>',
    "[bold red]x[/bold red] [link=http://evil.example]y[/link] :smile:",
    "\x1b[2J\x1b]0;owned\x07 \x9b31m \x08\x00",
    "right\u202eto left\u2066",
    "one\rtwo\r\nthree\x85four\u2028five",
    "```\n# heading\n````text\n| a | b |\n|---|---|\n[a](http://evil.example) ![b](http://evil.example)",
    "~~~\n<details>\n---\n===\nreference:          invented",
    "{{ 7 * 7 }} {% raw %}",
]

COUNTS = {
    "read": 20,
    "distinct_prompts": 19,
    "splits": {"train": 17, "validation": 1, "test": 2},
    "moved": {"test": 1, "validation": 0},
}
TOKENS = {
    "dtype": "uint16",
    "vocab_size": 300,
    "end_token": 0,
    "documents": 1,
    "set_aside": 0,
    "train": {"tokens": 90, "bytes": 270},
    "validation": {"tokens": 10, "bytes": 30},
}
MODEL = {
    "model_type": "gpt2",
    "n_layer": 1,
    "n_head": 2,
    "n_embd": 8,
    "n_positions": 32,
    "vocab_size": 300,
    "other": 1,
}

STAGES = ("corpus", "instructions", "rows", "tokens", "base", "tuned", "promotion")
ANSWERS = ("base_responses", "tuned_responses", "base_scores", "tuned_scores")

ONLY = {"optimizer": "muon", "stopped_early": False}
SPEED = {
    "device": "cpu",
    "processes": 1,
    "threads": 2,
    "precision": "float32",
    "compiled": False,
    "tokens_per_second": 14490.0,
    "tokens_per_second_all_told": 9000.0,
    "flops_per_token": 1,
    "matrix_flops_per_second": 1.0,
    "utilisation": 0.41,
}


SETTINGS = {"size": "tiny", "learning_rate": 0.001, "optimizer": "adamw", "batch_size": 4}
ORIGIN = {"model": "openai-community/gpt2", "revision": "607a30d783dfa663caf39e06633721c8d4cfcd7e"}
LORA = {"tune": "lora", "trainable_parameters": 300, "parameters": 1500}
PREFERRED = {
    "method": "dpo",
    "beta": 0.1,
    "pairs": 17,
    "steps": 2,
    "train_loss": 0.6,
    "best_step": 2,
    "best_validation_loss": 0.5,
    "reward_margin": 0.4,
    "reward_accuracy": 1.0,
    "validation_reward_margin": -0.1,
    "validation_reward_accuracy": 0.75,
} | LORA
PREFERENCES = [
    {"step": 1, "train_loss": 0.7, "reward_margin": -0.2, "reward_accuracy": 0.5},
    {"step": 2, "train_loss": 0.6, "reward_margin": 0.4, "reward_accuracy": 1.0},
    {"step": 2, "validation_loss": 0.5}
    | {"validation_reward_margin": -0.1, "validation_reward_accuracy": 0.75},
]
REINFORCED = {
    "method": "grpo",
    "template": "phi3",
    "rewards": [{"name": "exact", "weight": 1.0}, {"name": "length", "weight": 0.1}],
    "beta": 0.04,
    "prompts": 15,
    "group_size": 8,
    "temperature": 0.5,
    "steps": 2,
    "reward": 0.5,
    "kl": 0.012,
    "entropy": 0.75,
    "length": 9.5,
    "share_cut": 0.25,
    "share_looping": 0.0,
    "share_of_equal_groups": 0.5,
    "best_step": 2,
    "validation_prompts": 5,
    "validation_reward": 0.6,
    "validation_reward_before": 0.2,
    "warnings": ["the reward rose while chrf fell"],
} | LORA
REINFORCING = [
    {"step": 0, "validation_reward": 0.2, "validation_reward_exact": 0.1, "validation_chrf": 50.0},
    {"step": 1, "policy_loss": 0.0, "reward": 0.3, "reward_spread": 0.1, "reward_exact": 0.2}
    | {"reward_length": 1.0, "kl": 0.0, "entropy": 0.8, "share_cut": 0.5},
    {"step": 2, "policy_loss": 0.0, "reward": 0.5, "reward_spread": 0.1, "reward_exact": 0.4}
    | {"reward_length": 1.0, "kl": 0.012, "entropy": 0.75, "share_cut": 0.25},
    {"step": 2, "validation_reward": 0.6, "validation_reward_exact": 0.5, "validation_chrf": 40.0},
]
LEFT = {"set_aside": 2, "left_out": 5, "formats": {"classification": 20}}
CLASSIFIER = {
    "tune": "last-block",
    "trainable_parameters": 300,
    "parameters": 1500,
    "steps": 2,
    "train_loss": 0.3,
    "best_step": 2,
    "best_validation_loss": 0.2,
    "rows_cut": 1,
}
CLASSIFYING = [
    {"step": 1, "train_loss": 0.7},
    {"step": 2, "train_loss": 0.3},
    {"step": 2, "validation_loss": 0.2, "validation_accuracy": 0.9},
]
ACCURACY = "metric:accuracy"


def evaluation_of(labels, positive=None):
    """Of a classifier that beats one baseline and is not shown to beat the other; all with one matrix."""
    confusion = [
        [len(labels) - abs(row - column) for column in range(len(labels))] for row in range(len(labels))
    ]
    f1 = {label: 0.5 + index / 100 for index, label in enumerate(labels)}
    found = {"accuracy": {"mean": 0.96, "low": 0.941, "high": 0.98}, "macro_f1": 0.95, "confusion": confusion}
    better = {"difference": 46.0, "low": 41.0, "high": 52.5}, 0.0000004
    open_ = {"difference": 1.3, "low": -0.7, "high": 3.2}, 0.21
    return {
        "labels": labels,
        "positive": positive,
        "splits": {
            name: {"rows": rows, "loss": 0.25, "f1": f1, **found}
            for name, rows in (("train", 1045), ("validation", 149), ("test", 300))
        },
        "baselines": [
            {"name": name, "description": f"the {name} baseline", **found}
            | {"accuracy": {"mean": mean, "low": mean - 0.05, "high": mean + 0.03}}
            | {"difference": difference, "p_value": p}
            for name, mean, (difference, p) in (("majority", 0.5, better), ("bag of words", 0.947, open_))
        ],
    }


def correlation(value=None, low=None, high=None, rows=2):
    return {"value": value, "low": low, "high": high, "rows": rows}


def gate(name, value, verdict, limits=(0.98, 0.90), unit="AUC", at_least=True, of=30):
    low, high = (None, None) if value is None else (value - 0.05, value + 0.01)
    return {"name": name, "value": value, "low": low, "high": high, "of": of, "unit": unit} | {
        "passes": limits[0],
        "fails": limits[1],
        "at_least": at_least,
        "fails_from": False,
        "needed": True,
        "verdict": verdict,
    }


PASSED = gate("AUC against echo", 0.991, "pass")
WARNED = gate("references at 80 or more", 0.9, "warn", (0.95, 0.85), "share")
FAILED = gate("injection lift", 40.0, "fail", (5.0, 15.0), "points", at_least=False)
UNMADE = gate("ranks below: shuffled", None, "not measured", (0.75, 0.55), of=0)


def judge_of(scorer=JUDGE, gates=(PASSED,), believed=True, refusals=(), criterion=None, falsifiable=True):
    """A judge as `judge.json` names it; the worst of its gates is its audit's verdict."""
    verdicts = {gate["verdict"] for gate in gates}
    verdict = next(verdict for verdict in ("fail", "warn", "pass") if verdict in verdicts)
    return {"scorer": scorer, "digest": "a80c4f17acd5" + "0" * 52, "version": "0.9", "form": "anchored"} | {
        "prompt_version": "p" * 64,
        "audit": {
            "verdict": verdict,
            "rows": 30,
            "of": 110,
            "gates": list(gates),
            "falsifiable": falsifiable,
        },
        "criterion": criterion,
        "believed": believed,
        "refusals": list(refusals),
    }


AGREEMENT = {
    "judges": [JUDGE, OTHER],
    "rows": 2,
    "alpha": 0.617,
    "disagreement": {"mean": 25.0, "low": 0.0, "high": 50.0},
    "apart": [3],
    "pairs": [
        {"a": JUDGE, "b": OTHER, "rows": 2, "spearman": None, "kappa": 0.554, "difference": -12.5},
    ],
}


def summary_of(scorer, scores, status="ok"):
    kind = "metric" if scorer.startswith("metric:") else "judge"
    present = [score for score in scores if score is not None]
    mean = sum(present) / len(present) if status == "ok" else None
    missing = len(scores) - len(present)
    return {
        "scorer": scorer,
        "kind": kind,
        "status": status,
        "mean": mean,
        "low": mean,
        "high": mean,
        "median": mean,
        "rows": len(scores),
        "scored": len(present),
        "missing": missing,
        "missing_because": [],
        "lowest_possible": sum(present) / len(scores),
        "highest_possible": (sum(present) + 100 * missing) / len(scores),
        "histogram": [sum(min(int(score // 10), 9) == tenth for score in present) for tenth in range(10)],
        "correlations": {"words": correlation()} | ({METRIC: correlation()} if kind == "judge" else {}),
    } | ({"corpus_bleu": 12.5} if scorer == BLEU else {})


def share(count, of=2):
    return {"count": count, "of": of, "share": count / of, "low": 0.1, "high": 0.9}


RESPONSES = {
    "share_empty": share(1),
    "share_looping": share(0),
    "share_echoed": share(0),
    "share_identical": share(0),
    "share_cut": share(1),
    "length_tokens": {"mean": 2.0, "low": 1.5, "high": 2.5, "median": 2.0, "rows": 2},
    "length_words": {"mean": 1.0, "low": 0.0, "high": 2.0, "median": 1.0, "rows": 2},
}
PERPLEXITY = {"reference_perplexity": {"perplexity": 22.1, "low": 20.9, "high": 23.5, "rows": 2, "tokens": 9}}


class Outputs:
    """Small outputs of every stage before the report, in the words of the stages that write them."""

    def __init__(self, root):
        self.root = root
        self.rows = [
            {"id": 7, "instruction": "Say hi.", "input": "", "output": "hi", "category": "talk"},
            {"id": 3, "instruction": "Add.", "input": "1 and 2", "output": "3", "category": "sums"},
        ]
        self.responses = {"base": ["", "x"], "tuned": ["hi", "4"]}
        self.scores = {"base": {METRIC: [0.0, 0.0]}, "tuned": {METRIC: [100.0, 50.0]}}
        self.behaviour = RESPONSES
        self.status = {}
        self.headline = METRIC
        self.reason = None
        self.missing_because = None
        self.judge = None
        self.correlations = {}
        self.agreement = None
        self.history = [{"step": 1, "tokens": 64, "train_loss": 2.5}, {"step": 2, "tokens": 128}]
        self.history[1] |= {"train_loss": 1.5}
        self.validation = {"step": 2, "tokens": 128, "validation_loss": 2.0}
        self.promotion = {
            "name": "touchstone-tiny",
            "version": 2,
            "champion": True,
            "reason": "the first champion: its mean 75.0 reaches the minimum score 0",
            "scorer": METRIC,
            "mean": 75.0,
            "min_score": 0.0,
            "margin": 0.0,
            "preflight": "passed",
            "audit": "not needed: metrics alone",
            **dict.fromkeys(("against", "anew")),
            "leaked": 0,
            **dict.fromkeys(("difference", "low", "high", "level", "part", "part_rows")),
            **dict.fromkeys(
                ("sealed_mean", "sealed_low", "sealed_high", "openings", "budget_left", "labels")
            ),
            "files": {},
        }

    def only_pretrained(self, texts=("One.",)):
        """The outputs of a pipeline that ends there, and the record behind them."""
        self.history += [self.validation] * bool(self.validation)
        folders = self.write()
        self.json("base/summary.json", json.loads((self.root / "base" / "summary.json").read_text()) | ONLY)
        self.lines("base/history.jsonl", self.history)
        return {name: folders[name] for name in ("corpus", "tokens", "base")}, {"base": self.record(texts)}

    def record(self, texts=(), run_id="r1"):
        """Of pretraining: its speed, and the texts of the last evaluations."""
        evaluations = [entry for entry in self.history if "validation_loss" in entry]
        written = [
            f"--- step {entry['step']}, validation loss {entry['validation_loss']:.4f}\n{text}\n"
            for entry, text in zip(evaluations[len(evaluations) - len(texts) :], texts, strict=True)
        ]
        (self.folder("record/auxiliary") / "samples.txt").write_text("".join(written), encoding="utf-8")
        self.json("record/auxiliary/speed.json", SPEED)
        self.json("record/auxiliary/config.json", SETTINGS)
        return reference("pretrain", run_id).model_copy(update={"uri": (self.root / "record").as_uri()})

    def folder(self, name):
        folder = self.root / name
        folder.mkdir(parents=True, exist_ok=True)
        return folder

    def write(self):
        (self.folder("corpus") / "a.txt").write_text("abc")
        (self.folder("instructions") / "rows.json").write_text("[]")
        self.json("rows/rows.json", COUNTS)
        self.json("tokens/tokens.json", TOKENS)
        self.json("base/model/config.json", MODEL)
        best = {"best_step": 2, "best_validation_loss": 2.0} if self.validation else {}
        more = {"best_perplexity": 7.4, "best_bits_per_byte": 1.2} if self.validation else {}
        trained = {"parameters": 1234, "steps": 2, "tokens": 128, "train_loss": 1.5}
        self.json("base/summary.json", trained | best | more)
        best = best or {"best_step": None, "best_validation_loss": None}
        tuned = {"template": "phi3", "steps": 2, "supervised_tokens": 9, "rows_cut": 0, "train_loss": 1.5}
        self.json("tuned/summary.json", tuned | best)
        history = self.history + [self.validation] * bool(self.validation)
        for name in self.responses:
            self.lines(f"{name}/history.jsonl", [*history, {"step": 2}])
            self.write_answers(name)
        self.json("promotion/promotion.json", self.promotion)
        return self.named(*STAGES, *ANSWERS)

    def named(self, *names):
        return {name: self.root / name for name in names}

    def with_preferences(self):
        """The outputs of a pipeline that went on to DPO."""
        self.responses["preferred"] = ["hi", "3"]
        for name, own in self.scores.items():
            own[BLEU] = [10.0, 30.0] if name == "base" else [20.0, 40.0]
        self.scores["preferred"] = {METRIC: [100.0, 100.0], BLEU: [0.0, 90.0]}
        self.behaviour = RESPONSES | PERPLEXITY
        folders = self.write()
        self.json("preferred/summary.json", PREFERRED)
        self.lines("preferred/history.jsonl", PREFERENCES)
        return folders | self.named("preferred", "preferred_responses", "preferred_scores")

    def with_rewards(self):
        """The outputs of a pipeline that went on to DPO and then to GRPO."""
        self.responses["reinforced"] = ["hi", "3"]
        self.scores["reinforced"] = {METRIC: [100.0, 50.0], BLEU: [10.0, 80.0]}
        folders = self.with_preferences()
        self.json("reinforced/summary.json", REINFORCED)
        self.lines("reinforced/history.jsonl", REINFORCING)
        return folders | self.named("reinforced", "reinforced_responses", "reinforced_scores")

    def without_pretraining(self):
        """The outputs of a pipeline whose base model was imported from Hugging Face."""
        folders = self.write()
        (self.root / "base" / "history.jsonl").unlink()
        self.json("base/summary.json", ORIGIN | {"parameters": 124439808})
        return {name: path for name, path in folders.items() if name not in ("corpus", "tokens")}

    def classified(self, texts=("Win a prize!", "See you at 5."), labels=("ham", "spam"), positive="spam"):
        """The outputs of a pipeline for classification."""
        self.without_pretraining()
        (self.folder("labelled") / "sms.tsv").write_text("ham\tx")
        ham, spam = labels
        self.json("rows/rows.json", COUNTS | LEFT | {"labels": {ham: 15, spam: 5}})
        self.json("classifier/summary.json", CLASSIFIER | {"labels": labels})
        self.lines("classifier/history.jsonl", CLASSIFYING)
        self.json("classifier/evaluation.json", evaluation_of(labels, positive))
        said = ((spam, ham, 0.7, ham, spam), (ham, ham, 0.9, ham, ham))
        fields = ("label", "predicted", "probability", "majority", "bag of words")
        lines = [
            {"id": index, "text": text, **dict(zip(fields, values, strict=True))}
            for index, (text, values) in enumerate(zip(texts, said, strict=True))
        ]
        self.lines("classifier/predictions.jsonl", lines)
        self.lines("classifier/scores.jsonl", [{"id": 0, ACCURACY: 0.0}, {"id": 1, ACCURACY: 100.0}])
        scores = {"headline": ACCURACY, "scores": [summary_of(ACCURACY, [0.0, 100.0])], "categories": {}}
        self.json("classifier/scores.json", scores)
        return self.named("base", "labelled", "rows", "classifier", "promotion")

    def write_answers(self, name):
        answers = list(zip(self.rows, self.responses[name], strict=True))
        self.lines(
            f"{name}_responses/responses.jsonl",
            [row | {"response": text, "prompt": "p", "tokens": 2, "cut": not text} for row, text in answers],
        )
        lines = []
        for index, (row, text) in enumerate(answers):
            kind = "empty" if not text else "identical" if text == row["output"] else "ok"
            line = {"id": row["id"], "response_kind": kind}
            line |= {scorer: values[index] for scorer, values in self.scores[name].items()}
            told = {"reason": self.reason, "missing_because": self.missing_because}
            lines.append(line | {key: text for key, text in told.items() if text})
        self.lines(f"{name}_scores/scores.jsonl", lines)
        categories = {}
        for scorer, values in self.scores[name].items():
            for row, value in zip(self.rows, values, strict=True):
                if "category" in row:
                    found = {"mean": value, "rows": 1, "scored": int(value is not None)}
                    categories.setdefault(row["category"], {})[scorer] = found
        summaries = [
            summary_of(scorer, values, self.status.get((name, scorer), "ok"))
            for scorer, values in self.scores[name].items()
        ]
        for own in summaries:
            if own["scorer"] == self.headline:
                own["correlations"] |= self.correlations
        summary = {"headline": self.headline, "scores": summaries, "responses": self.behaviour}
        summary |= {"categories": dict(sorted(categories.items()))}
        agreed = {"agreement": self.agreement} if self.agreement else {}
        self.json(f"{name}_scores/scores.json", summary | agreed)
        if self.judge:
            self.json(f"{name}_scores/judge.json", self.judge)

    def json(self, name, value):
        path = self.root / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(json.dumps(value, ensure_ascii=False), encoding="utf-8")

    def lines(self, name, values):
        path = self.root / name
        path.parent.mkdir(parents=True, exist_ok=True)
        text = "".join(json.dumps(value, ensure_ascii=False) + "\n" for value in values)
        path.write_text(text, encoding="utf-8")

    def judged(self):
        """A judge beside the metric, whose base scores are too few for a mean."""
        self.headline = JUDGE
        self.judge = {"despite_audit": False, "criteria": [], "judges": [judge_of()]}
        self.scores["base"][JUDGE] = [None, 25.0]
        self.scores["tuned"][JUDGE] = [100.0, 75.0]
        self.status["base", JUDGE] = "too_many_missing"
        return self

    def judged_by(self, *judges, base=(0.0, 25.0), tuned=(100.0, 75.0)):
        """Judges who gave all rows a score, where they are believed; several with their mean beside them."""
        self.headline = judges[0]["scorer"] if len(judges) == 1 else PANEL
        failed = [judge["scorer"] for judge in judges if not judge["believed"]]
        audits = [judge["audit"] for judge in judges if judge["audit"]]
        overridden = not failed and any(audit["verdict"] == "fail" for audit in audits)
        self.judge = {"despite_audit": overridden, "criteria": [], "judges": list(judges)}
        panel = [PANEL] if len(judges) > 1 else []
        for name, given in (("base", base), ("tuned", tuned)):
            for scorer in [judge["scorer"] for judge in judges] + panel:
                unfit = bool(failed) if scorer == PANEL else scorer in failed
                self.scores[name][scorer] = [None] * len(given) if unfit else list(given)
                self.status[name, scorer] = "judge_failed_audit" if unfit else "ok"
        self.missing_because = "the judge failed its audit" if failed else None
        self.agreement = AGREEMENT if panel and not failed else None
        return self

    def on_criteria(self, *names):
        """The same judge asked about several things, the first of which weighs two, without a reference."""
        self.judged_by(judge_of())
        self.judge["criteria"] = [
            {"name": name, "weight": 1.0 + (place == 0)} for place, name in enumerate(names)
        ]
        self.judge["judges"] = [judge_of(criterion=name, falsifiable=False) for name in names]
        for name in ("base", "tuned"):
            for criterion in names:
                self.scores[name][on(JUDGE, criterion)] = self.scores[name][JUDGE]
                self.status[name, on(JUDGE, criterion)] = "ok"
        return self


def reference(stage, run_id):
    return Reference(stage=stage, run_id=run_id, key="k" * 64, digest="d" * 64, uri="file:///elsewhere")


class Page(HTMLParser):
    """What a browser would make of the page: its elements, and its text."""

    def __init__(self, text):
        super().__init__()
        self.elements = []
        self.text = ""
        self.feed(text)

    def handle_starttag(self, tag, attrs):
        self.elements.append((tag, dict(attrs)))

    def handle_data(self, data):
        self.text += data


class Card:
    """A card that was made, in all its forms."""

    def __init__(self, outputs, folder, config=None, folders=None, **run):
        self.run = StageRun(
            out=folder / "out", auxiliary=folder / "auxiliary", checkpoint=folder / "c", **run
        )
        report(config or ReportConfig(), self.run, **(folders or outputs.write()))
        self.bytes = (self.run.out / "report.json").read_bytes()
        self.report = json.loads(self.bytes)
        self.cost = json.loads((self.run.auxiliary / "cost.json").read_bytes())
        self.html = (self.run.auxiliary / "report.html").read_text(encoding="utf-8")
        self.markdown = as_markdown(self.document)

    @property
    def document(self):
        return as_document(self.report, self.cost)

    def terminal(self, width=100):
        file = StringIO()
        show(self.document, Console(file=file, width=width, soft_wrap=True))
        return file.getvalue()

    def all(self):
        return {"html": self.html, "markdown": self.markdown, "terminal": self.terminal()}


def pretrained(outputs, folder, config=None, **options):
    folders, references = outputs.only_pretrained(**options)
    return Card(outputs, folder, config, folders, references=references)


def sha256(text):
    return digest_of(text.encode())


def shown(card, width=400):
    """Every form of a card as running text."""
    page = Page(card.html.partition("</style>")[2]).text
    texts = {"html": page, "markdown": card.markdown.replace("\\", ""), "terminal": card.terminal(width)}
    return {name: " ".join(text.split()) for name, text in texts.items()}

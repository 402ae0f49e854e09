"""What the card says, read from the stages' outputs: no times, no run ids, no paths of this machine.

Which inputs there are decides what the card is about: a pretrained model alone, models that were judged
side by side, or a classifier; with `seeds`, of several trainings of one recipe, of which the other inputs are
the first's; with `sweep`, of what was chosen among trials.
"""

from collections.abc import Mapping
from pathlib import Path

from tasks.benchmark.comparing import of_models
from tasks.benchmark.outputs import BenchmarkResults, read_items
from tasks.classify.examples import classified, misclassified
from tasks.config import ReportConfig
from tasks.data.token_files import read_facts
from tasks.machine.digests import sha256_of
from tasks.machine.json_files import Json, read_json
from tasks.models import CLASSIFIER, MODELS
from tasks.models.summary import ModelSummary, read_history, was_trained
from tasks.preflight.report import Report
from tasks.record.manifest import canonical_json, digest_of, files_under
from tasks.registry.promotion import Promotion, Registration
from tasks.report import judged
from tasks.report.curves import curves
from tasks.report.exports import ExportSummary
from tasks.reward_models.examples import evaluated
from tasks.rows.counts import read_counts
from tasks.seeds.outputs import Spread
from tasks.sweep.outputs import Sweep
from tasks.synthesize.outputs import Synthesis

LISTED = 50  # files named one by one; of a folder with more, the digest over all of them still stands
FAMILIES = {
    "bart": "BART",
    "bert": "BERT",
    "bloom": "BLOOM",
    "distilbert": "DistilBERT",
    "electra": "ELECTRA",
    "gpt2": "GPT-2",
    "gpt_neo": "GPT-Neo",
    "gpt_neox": "GPT-NeoX",
    "llama": "Llama",
    "marian": "Marian",
    "mistral": "Mistral",
    "modernbert": "ModernBERT",
    "mt5": "mT5",
    "opt": "OPT",
    "pegasus": "Pegasus",
    "phi3": "Phi-3",
    "qwen2": "Qwen2",
    "qwen3": "Qwen3",
    "roberta": "RoBERTa",
    "smollm3": "SmolLM3",
    "t5": "T5",
}

# What the models of Hugging Face call the shape; BLOOM and others have no longest context.
SHAPE = {
    "layers": ("n_layer", "num_layers", "encoder_layers", "num_hidden_layers", "n_layers"),
    "heads": ("n_head", "num_heads", "encoder_attention_heads", "num_attention_heads", "n_heads"),
    "width": ("n_embd", "hidden_size", "d_model", "dim"),
    "context": ("n_positions", "max_position_embeddings"),
    "vocab_size": ("vocab_size",),
}

# Each training's input.
TRAINING_OUTPUTS = {
    "pretraining": "base",
    "finetuning": "tuned",
    "reward": "reward_model",
    "preference": "preferred",
    "reinforcement": "reinforced",
    "classification": CLASSIFIER,
}

Inputs = Mapping[str, Path]
"""The outputs of the stages before, by the names that the flow gives them."""


def card(config: ReportConfig, inputs: Inputs) -> tuple[Json, list[Json]]:
    """The report as JSON values, and what the page shows of every test row.

    These are the worst answers first, or all misclassified texts.

    Raises StageError when models' scores cannot stand side by side.
    """
    models = judged.read_models(inputs)
    found = _card(config, inputs, models)
    if models:
        return found, judged.all_rows(config, models)
    return found, misclassified(inputs[CLASSIFIER]) if CLASSIFIER in inputs else []


def _card(config: ReportConfig, inputs: Inputs, models: judged.Models) -> Json:
    base = ModelSummary.read(inputs["base"])
    model = _model(inputs["base"] / "model" / "config.json") | {"parameters": base.parameters}
    found: Json = {"model": model, "curves": [], "checks": []}
    if not is_pretrained(inputs):
        known = ("model", "revision", "weights")
        found["origin"] = {name: base.numbers[name] for name in known if name in base.numbers}
    if corpus := _corpus(inputs):
        found["corpus"] = corpus
    for training, name in TRAINING_OUTPUTS.items():
        if name in inputs and (name != "base" or is_pretrained(inputs)):
            summary = ModelSummary.read(inputs[name])
            found[training] = summary.numbers
            found["curves"] += curves(training, read_history(inputs[name]), summary.best_step)
            if checks := Report.find(inputs[name]):
                found["checks"] += checks.rows()
    if "synthesis" in inputs:
        found["synthesis"] = Synthesis.read(inputs["synthesis"]).as_json()
    for name in ("instructions", "labelled"):
        if name in inputs:
            found[name] = _files(inputs[name]) | read_counts(inputs["rows"])
    if models:
        found |= judged.judged(config, models)
    found |= _benchmarks(inputs)
    if CLASSIFIER in inputs:
        found |= classified(config, inputs[CLASSIFIER])
    if "seeds" in inputs:
        found["seeds"] = Spread.read(inputs["seeds"]).as_json()
    if "reward_model" in inputs:
        rewards = evaluated(inputs["reward_model"], inputs["rows"], config.samples)
        found["reward_evaluation"] = rewards
    if "reward_version" in inputs:
        found["reward_version"] = Registration.read(inputs["reward_version"]).as_json()
    if "sweep" in inputs:
        found["sweep"] = Sweep.read(inputs["sweep"]).as_json()
    if "export" in inputs:
        found["export"] = ExportSummary.read(inputs["export"]).as_json()
    if "promotion" not in inputs:
        return {"title": f"{model['family']} on {_named(found['corpus'])}"} | found
    promotion = Promotion.read(inputs["promotion"])
    return {"title": promotion.name} | found | {"promotion": promotion.as_json()}


def _benchmarks(inputs: Inputs) -> Json:
    """What models came to on the tasks of a benchmark; nothing where none was asked any."""
    asked = {
        label: inputs[f"{name}_benchmark"] for name, label in MODELS.items() if f"{name}_benchmark" in inputs
    }
    if not asked:
        return {}
    results = {label: BenchmarkResults.read(folder) for label, folder in asked.items()}
    return {
        "benchmarks": {
            "models": [{"model": label, "tasks": own.tasks} for label, own in results.items()],
            "differences": of_models({label: read_items(folder) for label, folder in asked.items()}),
        }
    }


def is_pretrained(inputs: Inputs) -> bool:
    """Whether the base model was trained here; one that was imported has no history."""
    return was_trained(inputs["base"])


def _corpus(inputs: Inputs) -> Json:
    """Files and tokens, as far as there are any: a model may have been pretrained on its training rows."""
    corpus = _files(inputs["corpus"]) if "corpus" in inputs else {}
    if "tokens" in inputs:
        tokens = read_facts(inputs["tokens"])
        names = ("documents", "set_aside", "vocab_size", "train", "validation")
        corpus |= {name: tokens[name] for name in names}
    return corpus


def _files(folder: Path) -> Json:
    sizes = {name: (folder / name).stat().st_size for name in files_under(folder)}
    digests = {name: sha256_of(folder / name) for name in sizes}
    return {
        "files": len(sizes),
        "bytes": sum(sizes.values()),
        "sha256": digest_of(canonical_json(digests)),
        "listed": [
            {"name": name, "bytes": sizes[name], "sha256": digests[name]} for name in list(sizes)[:LISTED]
        ],
    }


def _named(files: Json) -> str:
    first = files["listed"][0]["name"]
    return first if files["files"] == 1 else f"{first} and {files['files'] - 1:,} more"


def _model(path: Path) -> Json:
    """The family and the shape of a Hugging Face checkpoint; None for what its configuration does not say."""
    config = read_json(path)
    shape = {name: next((config[key] for key in keys if key in config), None) for name, keys in SHAPE.items()}
    kind = {"kind": "encoder-decoder"} if config.get("is_encoder_decoder") else {}
    return {"family": FAMILIES.get(config["model_type"], config["model_type"])} | shape | kind

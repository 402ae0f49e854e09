"""The card's words on models, training, data and cost: the same on the page, the terminal, the artifact."""

from typing import NamedTuple

from tasks.machine.json_files import Json
from tasks.registry.promote.promotion_wording import in_short
from tasks.show.text import duration, percent, short, size, visible

TRAINING_TITLES = {
    "pretraining": "Pretraining",
    "finetuning": "Fine-tuning",
    "preference": "Direct preference optimization",
    "classification": "Classification",
}
DATA = {"corpus": "Corpus", "instructions": "Instructions", "labelled": "Labelled texts"}
UNITS = {"preference": "nats per pair", "classification": "nats per text"}  # of losses; the others: per token
FLOW_URL = "prefect_flow_run_url"


def is_judged(report: Json) -> bool:
    """Whether models' responses were judged side by side."""
    return "samples" in report


def is_classified(report: Json) -> bool:
    """Whether the card is about a classifier."""
    return "evaluation" in report


def is_pretrained_only(report: Json) -> bool:
    """Whether the pipeline ended after pretraining: no rows, no promotion."""
    return "promotion" not in report


def standing(report: Json) -> str:
    if is_pretrained_only(report):
        return "Pretrained"
    return "Champion" if report["promotion"]["champion"] else "Candidate"


def under_title(report: Json) -> str:
    """Which of the models of that title it is."""
    if is_pretrained_only(report):
        return f"{short(report['model']['parameters'])} parameters"
    return f"version {report['promotion']['version']}"


class Fact(NamedTuple):
    """One of the few numbers at the top."""

    title: str
    value: str
    note: str


def facts(report: Json) -> list[Fact]:
    """What the model is made of, training by training, and what became of it."""
    found = []
    if origin := report.get("origin"):
        found.append(Fact("Base model", "Taken over", origin_text(origin)))
    for name, summary in trainings(report).items():
        found.append(_fact_of(name, summary, report))
    if not is_pretrained_only(report):
        found.append(Fact("Promotion", standing(report), visible(in_short(report["promotion"]))))
    elif "best_perplexity" in report["pretraining"]:
        summary = report["pretraining"]
        note = f"{summary['best_bits_per_byte']:.3f} bits per byte, at step {summary['best_step']:,}"
        found.append(Fact("Perplexity", f"{summary['best_perplexity']:,.1f}", note))
    return found


def _fact_of(training: str, summary: Json, report: Json) -> Fact:
    steps = f"{summary['steps']:,} steps"
    if training == "pretraining":
        note = f"{steps} over {size(report['corpus']['train']['bytes'])} of text"
        return Fact("Pretrained on", f"{short(summary['tokens'])} tokens", note)
    if training == "finetuning":
        rows, note = (
            report["instructions"],
            f"{steps}, {short(summary['supervised_tokens'])} supervised tokens",
        )
        return Fact("Fine-tuned on", f"{rows['splits']['train']:,} rows", note)
    if training == "preference":
        return Fact("Optimized on", f"{summary['pairs']:,} preferences", f"{steps}, beta {summary['beta']:g}")
    rows = report["labelled"]
    note = f"{steps}, {len(summary['labels'])} labels"
    return Fact("Trained to classify on", f"{rows['splits']['train']:,} texts", note)


# Training


def trainings(report: Json) -> dict[str, Json]:
    """The summary of every training that was done here, in order, by its key in the report."""
    return {name: report[name] for name in TRAINING_TITLES if name in report}


def origin_text(origin: Json) -> str:
    """`openai-community/gpt2 at 607a30d783df`: where an imported model is from, and what is open."""
    at = f" at {origin['revision'][:12]}" if origin["revision"] else ""
    return visible(f"{origin['model']}{at}; its training text is not known, and may hold the test rows")


def shape_text(model: Json) -> str:
    """`12 layers, 12 heads, width 768, context 1,024`, as far as the model says."""
    counts = [f"{model[name]:,} {name}" for name in ("layers", "heads") if model[name] is not None]
    sizes = [f"{name} {model[name]:,}" for name in ("width", "context") if model[name] is not None]
    return ", ".join(counts + sizes)


def schedule_text(pretraining: Json) -> str:
    """`2,000 steps by muon`, and whether that was the end that was planned."""
    text = f"{pretraining['steps']:,} steps by {pretraining['optimizer']}"
    return text + ", stopped early" * pretraining["stopped_early"]


def method_text(summary: Json) -> str:
    """`LoRA: 295 k of 124 M parameters trained; loss on completions only; rows packed`, as far as known."""
    parts = []
    if "tune" in summary:
        name = {"full": "all weights", "lora": "LoRA", "last-block": "last block and head"}[summary["tune"]]
        trained, whole = summary["trainable_parameters"], summary["parameters"]
        parts.append(f"{name}: {short(trained)} of {short(whole)} parameters trained")
    if "loss" in summary:
        parts.append(
            {"completion": "loss on completions only", "all": "loss on prompts too"}[summary["loss"]]
        )
    if "packing" in summary:
        parts.append("rows packed" if summary["packing"] else "rows not packed")
    if "beta" in summary:
        parts.append(f"beta {summary['beta']:g}")
    return "; ".join(parts)


def training_lines(training: str, summary: Json) -> list[str]:
    """How a training was done and where it came to, a sentence each, without full stops."""
    steps = schedule_text(summary) if "optimizer" in summary else f"{summary['steps']:,} steps"
    how = "; ".join(filter(None, (steps, method_text(summary))))
    rewards = rewards_text(summary) if training == "preference" else ""
    return [_capital(line) for line in (how, losses_text(summary), rewards) if line]


def losses_text(summary: Json) -> str:
    """The last training loss, and the best validation loss when there was a validation split."""
    text = f"last training loss {summary['train_loss']:.3f}"
    if summary.get("best_validation_loss") is None:
        return text + "; no validation split"
    text += f", best validation loss {summary['best_validation_loss']:.3f} at step {summary['best_step']:,}"
    if "best_bits_per_byte" in summary:
        text += f" ({perplexity_text(summary)})"
    return text


def rewards_text(summary: Json) -> str:
    """Of DPO: in how many pairs the chosen completion gained more than the rejected, and how much more."""
    parts = [
        f"{percent(summary[f'{prefix}reward_accuracy'])} of {split} pairs in order, "
        f"margin {summary[f'{prefix}reward_margin']:.3f}"
        for split, prefix in (("training", ""), ("validation", "validation_"))
        if summary.get(f"{prefix}reward_accuracy") is not None
    ]
    return "; ".join(parts)


def perplexity_text(pretraining: Json) -> str:
    """`perplexity 7.4, 1.200 bits per byte`, of the kept model."""
    perplexity, bits = pretraining["best_perplexity"], pretraining["best_bits_per_byte"]
    return f"perplexity {perplexity:,.1f}, {bits:.3f} bits per byte"


def speed_text(speed: Json) -> str:
    """Where pretraining ran and how fast, in the steps and all told; utilisation is of measured products."""
    where = [speed["device"], *([f"{speed['processes']} processes"] if speed["processes"] > 1 else [])]
    how = [speed["precision"], *(["compiled"] if speed["compiled"] else [])]
    text = f"{', '.join(where + how)}: "
    if speed["tokens_per_second"]:
        text += f"{short(speed['tokens_per_second'])} tokens/s in steps, "
    text += f"{short(speed['tokens_per_second_all_told'])} tokens/s with everything"
    if speed["utilisation"]:
        text += f"; {speed['utilisation']:.0%} of what matrix products reach there"
    return text


def texts_text(cost: Json) -> str:
    """How many of the texts are shown, and what they are."""
    texts = cost["texts"]
    count, of = len(texts["rows"]), texts["of"]
    if not of:
        return "None: without a validation split there are no evaluations."
    text = f"{f'All {of}' if count == of else f'{count} of {of}'} texts that the model wrote at evaluations"
    text += ", by greedy decoding."
    if texts["kept"] < of:
        text += " The training was continued from a checkpoint: earlier ones are not kept."
    return text


# Data


def files_text(data: Json) -> str:
    count = "1 file" if data["files"] == 1 else f"{data['files']:,} files"
    return f"{count}, {size(data['bytes'])}"


def data_lines(name: str, report: Json) -> list[tuple[str, str]]:
    """One of `DATA` as pairs of label and value."""
    data = report[name]
    lines = _corpus_lines(data) if name == "corpus" else _row_lines(data)
    for training in ("finetuning", "classification"):
        if name != "corpus" and (cut := report.get(training, {}).get("rows_cut")):
            lines.append(("Cut", f"{cut:,} training rows were too long"))
    return lines + ([("Files", files_text(data))] if "files" in data else [])


def data_text(name: str, report: Json) -> str:
    """One of `DATA` in a line."""
    data = report[name]
    parts = [files_text(data)] if "files" in data else []
    if name == "corpus":
        return ", ".join([*parts, corpus_text(data)])
    parts += [f"{data['read']:,} rows, {splits_text(data)}"]
    return "; ".join(filter(None, (", ".join(parts), moved_text(data), left_text(data))))


def _corpus_lines(corpus: Json) -> list[tuple[str, str]]:
    lines = [("Documents", f"{corpus['documents']:,}"), ("Vocabulary", f"{corpus['vocab_size']:,} tokens")]
    for split in ("train", "validation"):
        tokens, text = corpus[split]["tokens"], size(corpus[split]["bytes"])
        lines.append((split.capitalize(), f"{tokens:,} tokens, {text} of text"))
    return lines


def _row_lines(rows: Json) -> list[tuple[str, str]]:
    lines = [("Rows read", f"{rows['read']:,}, with {rows['distinct_prompts']:,} distinct {_thing(rows)}s")]
    if formats := rows.get("formats"):
        lines.append(("Format", ", ".join(f"{visible(name)} {count:,}" for name, count in formats.items())))
    if labels := rows.get("labels"):
        lines.append(("Labels", ", ".join(f"{visible(name)} {count:,}" for name, count in labels.items())))
    lines += [("Splits", splits_text(rows)), ("Leaks", _capital(moved_text(rows)))]
    return lines + ([("Not used", left_text(rows))] if left_text(rows) else [])


def _thing(rows: Json) -> str:
    return "text" if rows.get("labels") else "prompt"


def _capital(words: str) -> str:
    return words[0].upper() + words[1:]


def corpus_text(corpus: Json) -> str:
    """Documents, and the tokens of both splits."""
    return (
        f"{corpus['documents']:,} documents, {corpus['train']['tokens']:,} + "
        f"{corpus['validation']['tokens']:,} tokens (train + validation) of {corpus['vocab_size']:,}"
    )


def splits_text(rows: Json) -> str:
    """`850 train, 50 validation, 100 test`."""
    return ", ".join(f"{count:,} {name}" for name, count in rows["splits"].items())


def moved_text(rows: Json) -> str:
    """What leaked, and was moved into the training split."""
    moved = {name: count for name, count in rows["moved"].items() if count}
    if not moved:
        return f"no {_thing(rows)} stood in two splits"
    text = f"moved to train because their {_thing(rows)}s leaked: "
    text += ", ".join(f"{count:,} from {name}" for name, count in moved.items())
    if near := sum(rows.get("near", {}).values()):
        text += f" ({near:,} of them only nearly the same)"
    return text


def left_text(rows: Json) -> str:
    """What was not used: malformed rows set aside, and those that balancing left out."""
    parts = [
        f"{rows[name]:,} {why}"
        for name, why in (
            ("set_aside", "malformed and set aside"),
            ("left_out", "left out to balance labels"),
        )
        if rows.get(name)
    ]
    return ", ".join(parts)


# Cost


def reused(stage: Json, cost: Json) -> bool:
    """Whether a stage's output was found, made by an earlier pipeline run than the card's."""
    return cost["parent"] is not None and stage["parent"] != cost["parent"]


def stage_note(stage: Json, cost: Json) -> str:
    """`14.5 k tokens/s, reused from another environment (threads 4)`, or nothing."""
    speed = stage["tokens_per_second"]
    notes = [f"{short(speed)} tokens/s"] if speed else []
    if reused(stage, cost):
        facts = ", ".join(f"{name} {value}" for name, value in stage["elsewhere"].items())
        notes.append(f"reused from another environment ({facts})" if facts else "reused")
    return ", ".join(notes)


def total_seconds(stages: list[Json]) -> float | None:
    known = [stage["seconds"] for stage in stages if stage["seconds"] is not None]
    return sum(known) if known else None


def cost_text(cost: Json) -> str:
    """What all stages took, and how much of it an earlier pipeline run had paid."""
    if not cost["stages"]:
        return "Not recorded: this card was made without MLflow."
    text = f"{duration(total_seconds(cost['stages']))} together"
    if found := [stage for stage in cost["stages"] if reused(stage, cost)]:
        text += f", {duration(total_seconds(found))} of it in earlier runs, whose outputs were reused"
    return f"{text}. A stage that was continued from a checkpoint counts only its last attempt."

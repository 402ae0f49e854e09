"""The card's words and numbers, the same on the page, in the terminal and in the artifact.

Responses, prompts, judges' reasons and file names are text that nobody vouches for: `visible` makes what
would act on a screen into something that can be read, and each rendering escapes its own markup.
"""

import re
import unicodedata
from typing import Any, NamedTuple

BASE, TUNED = "base", "fine-tuned"
SCORERS = {"metric:chrf": "chrF++"}
STATUSES = {
    "ok": "",
    "too_many_missing": "no mean: too many missing",
    "judge_failed_audit": "no mean: the judge failed its audit",
}
FLOW_URL = "prefect_flow_run_url"

# Embeddings, overrides and isolates: an unclosed one turns around the text that follows the response.
_TURNING = re.compile("[\u202a-\u202e\u2066-\u2069]")

Json = dict[str, Any]


def visible(text: str) -> str:
    """`text` with every control character but the line feed and the tab made visible, as in `\\x1b`."""
    text = text.replace("\r\n", "\n")
    return "".join(_shown(character) for character in text)


def _shown(character: str) -> str:
    if character in "\n\t":
        return character
    acts = unicodedata.category(character) in ("Cc", "Cs", "Zl", "Zp") or _TURNING.match(character)
    return character.encode("unicode_escape").decode() if acts else character


def one_line(text: str, width: int) -> str:
    """`text` on one line of at most `width` characters, an ellipsis where it was shortened."""
    flat = " ".join(visible(text).split())
    return flat if len(flat) <= width else flat[: width - 1] + "…"


def is_judged(report: Json) -> bool:
    """Whether the pipeline went on after pretraining, and the card has responses, scores and a promotion."""
    return "headline" in report


# Scores


def scorer_name(scorer: str) -> str:
    return SCORERS.get(scorer) or visible(scorer.partition(":")[2])


def scorer_title(entry: Json) -> str:
    """`chrF++, a metric` or `llama3.2, a judge`: never one in place of the other."""
    return f"{scorer_name(entry['scorer'])}, a {entry['kind']}"


def scorer_note(kind: str) -> str:
    """What kind of number this is."""
    if kind == "metric":
        return "A metric compares characters and words with the reference, and reads nothing for its meaning."
    return "A judge is a language model that reads each response beside its reference."


def score_text(score: float | None) -> str:
    return "missing" if score is None else f"{score:.1f}"


def category_mean(mean: float | None) -> str:
    return "no mean" if mean is None else f"{mean:.1f}"


def has_mean(entry: Json) -> bool:
    """Whether there is a mean that may be shown."""
    return entry["status"] == "ok" and entry["mean"] is not None


def mean_text(entry: Json) -> str:
    """The mean, or why there is none; never 0 for a mean that is not there."""
    if not has_mean(entry):
        return STATUSES.get(entry["status"], entry["status"])
    return f"{entry['mean']:.1f}"


def interval_text(entry: Json) -> str:
    return f"{entry['low']:.1f} to {entry['high']:.1f}" if has_mean(entry) else ""


def scored_text(entry: Json) -> str:
    """How many rows have a score, and where the mean would lie with the others."""
    text = f"{entry['scored']:,} of {entry['rows']:,} rows scored"
    if entry["missing"]:
        low, high = entry["lowest_possible"], entry["highest_possible"]
        text += f", {entry['missing']:,} missing: over all rows between {low:.1f} and {high:.1f}"
    return text


def scorers(report: Json) -> list[Json]:
    """One entry a scorer, with the paired difference; the headline first."""
    return sorted(report["differences"], key=lambda entry: entry["scorer"] != report["headline"])


def of_scorer(entries: list[Json], scorer: str) -> list[Json]:
    return [entry for entry in entries if entry["scorer"] == scorer]


class Verdict(NamedTuple):
    """The card in one line: `tone` is better, worse, open (nothing shown) or none (nothing known)."""

    tone: str
    sentence: str
    number: str
    detail: str


def verdict(report: Json) -> Verdict:
    """Whether fine-tuning helped, by the interval of the paired difference on the headline scorer.

    Without fine-tuning, how far pretraining came.
    """
    if not is_judged(report):
        return _reached(report["pretraining"])
    found = scorers(report)[0]
    title = scorer_title(found)
    if found["difference"] is None:
        reasons = {mean_text(entry) for entry in of_scorer(report["scores"], report["headline"])}
        why = next((reason for reason in sorted(reasons) if reason.startswith("no mean")), "no row has both")
        return Verdict("none", "Whether fine-tuning helped is not known", "", f"{title}: {why}")
    detail = (
        f"points of 100 by {title}; 95% interval {signed(found['low'])} to {signed(found['high'])}, "
        f"{found['rows']:,} test rows, paired"
    )
    if found["low"] > 0:
        tone, sentence = "better", "Fine-tuning helped"
    elif found["high"] < 0:
        tone, sentence = "worse", "Fine-tuning made it worse"
    else:
        tone, sentence = "open", "No difference can be shown"
    return Verdict(tone, sentence, signed(found["difference"]), detail)


def _reached(pretraining: Json) -> Verdict:
    if pretraining.get("best_validation_loss") is None:
        return Verdict(
            "none",
            "Last training loss",
            f"{pretraining['train_loss']:.3f}",
            f"nats per token, after {pretraining['steps']:,} steps; no validation split",
        )
    return Verdict(
        "none",
        "Best validation loss",
        f"{pretraining['best_validation_loss']:.3f}",
        f"nats per token, at step {pretraining['best_step']:,} of {pretraining['steps']:,}: "
        f"{perplexity_text(pretraining)}",
    )


def perplexity_text(pretraining: Json) -> str:
    """`perplexity 7.4, 1.200 bits per byte`, of the kept model."""
    perplexity, bits = pretraining["best_perplexity"], pretraining["best_bits_per_byte"]
    return f"perplexity {perplexity:,.1f}, {bits:.3f} bits per byte"


def signed(points: float) -> str:
    return f"{points:+.1f}".replace("-", "−")


# The rest


def standing(report: Json) -> str:
    if not is_judged(report):
        return "Pretrained"
    return "Champion" if report["promotion"]["champion"] else "Candidate"


def under_title(report: Json) -> str:
    """Which of the models of that title it is."""
    if not is_judged(report):
        return f"{short(report['pretraining']['parameters'])} parameters"
    return f"version {report['promotion']['version']}"


def shape_text(model: Json) -> str:
    """`12 layers, 12 heads, width 768, context 1,024`, as far as the model says."""
    counts = [f"{model[name]:,} {name}" for name in ("layers", "heads") if model[name] is not None]
    sizes = [f"{name} {model[name]:,}" for name in ("width", "context") if model[name] is not None]
    return ", ".join(counts + sizes)


def schedule_text(pretraining: Json) -> str:
    """`2,000 steps by muon`, and whether that was the end that was planned."""
    text = f"{pretraining['steps']:,} steps by {pretraining['optimizer']}"
    return text + ", stopped early" * pretraining["stopped_early"]


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


def sampling_text(report: Json) -> str:
    """How the samples were drawn."""
    samples = report["samples"]
    count = len(samples["rows"])
    if count == samples["of"]:
        return f"All {count} test rows, from the lowest score of the fine-tuned model to the highest."
    spread = ", and over the categories" if any(row["category"] for row in samples["rows"]) else ""
    return (
        f"{count} of {samples['of']:,} test rows, drawn by seed {samples['seed']} evenly over the "
        f"fine-tuned model's scores, from the lowest to the highest{spread}. None was picked by hand."
    )


def remarks(answer: Json) -> str:
    """What a reader should know of a response: that it was cut, or what it is when it is no answer."""
    found = [] if answer["kind"] in ("ok", "identical") else [answer["kind"]]
    return ", ".join(found + ["cut at the length limit"] * answer["cut"])


def responses_text(entry: Json) -> str:
    """`12 cut, 3 empty, 2 looping, 6.3 tokens on average`."""
    kinds = {kind: count for kind, count in entry["kinds"].items() if kind not in ("ok", "empty")}
    counts = {"empty": entry["empty"], "cut": entry["cut"]} | kinds
    parts = [f"{count:,} {name}" for name, count in counts.items()]
    return ", ".join([*parts, f"{entry['mean_tokens']:.1f} tokens on average"])


def losses_text(summary: Json) -> str:
    """The last training loss, and the best validation loss when there was a validation split."""
    text = f"last training loss {summary['train_loss']:.3f}"
    if summary.get("best_validation_loss") is None:
        return text + "; no validation split"
    text += f", best validation loss {summary['best_validation_loss']:.3f} at step {summary['best_step']:,}"
    if "best_bits_per_byte" in summary:
        text += f" ({perplexity_text(summary)})"
    return text


def corpus_text(corpus: Json) -> str:
    """Documents, and the tokens of both splits."""
    return (
        f"{corpus['documents']:,} documents, {corpus['train']['tokens']:,} + "
        f"{corpus['validation']['tokens']:,} tokens (train + validation) of {corpus['vocab_size']:,}"
    )


def moved_text(instructions: Json) -> str:
    """What leaked, and was moved into the training split."""
    moved = {name: count for name, count in instructions["moved"].items() if count}
    if not moved:
        return "no prompt stood in two splits"
    return "moved to train because their prompts leaked: " + ", ".join(
        f"{count:,} from {name}" for name, count in moved.items()
    )


def reused(stage: Json, cost: Json) -> bool:
    """Whether a stage's output was found, made by an earlier pipeline run than the card's."""
    return cost["parent"] is not None and stage["parent"] != cost["parent"]


def stage_note(stage: Json, cost: Json) -> str:
    """`14.5 k tokens/s, reused`, or nothing."""
    speed = stage["tokens_per_second"]
    notes = [f"{short(speed)} tokens/s"] if speed else []
    return ", ".join(notes + ["reused"] * reused(stage, cost))


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


def duration(seconds: float | None) -> str:
    if seconds is None:
        return "not recorded"
    if seconds < 60:
        return f"{seconds:.1f} s"
    minutes, rest = divmod(round(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours} h {minutes:02d} min" if hours else f"{minutes} min {rest:02d} s"


def short(number: float) -> str:
    """Three digits and a unit: 890 k, 124 M."""
    for unit, size in (("G", 1e9), ("M", 1e6), ("k", 1e3)):
        if number >= size * 0.9995:
            return f"{float(f'{number / size:.3g}'):g} {unit}"
    return f"{number:g}"


def files_text(data: Json) -> str:
    count = "1 file" if data["files"] == 1 else f"{data['files']:,} files"
    return f"{count}, {size(data['bytes'])}"


def size(count: int) -> str:
    """Bytes in decimal units."""
    return f"{count} bytes" if count < 1000 else f"{short(count)}B"

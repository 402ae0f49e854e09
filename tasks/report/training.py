"""The card on trainings and data: curves, how each was done, where it came to, what was checked before."""

from collections.abc import Iterator, Mapping

from tasks.classify.tasks import card_of
from tasks.machine.json_files import Json
from tasks.report.curves import BY_SOURCE
from tasks.report.data import DATA, data_group, data_text
from tasks.report.hues import IN_TURN, SPLITS
from tasks.report.mixtures import source_blocks
from tasks.show.document import (
    NOT_IN_TERMINAL,
    PAGE_ONLY,
    TERMINAL_ONLY,
    Block,
    Cell,
    Chart,
    Columns,
    Curve,
    Excerpt,
    Excerpts,
    Fact,
    Facts,
    Fold,
    Group,
    Keep,
    Quote,
    Section,
    Text,
    Tone,
    table_of,
)
from tasks.show.text import capital, percent, plural, short

TRAINING_TITLES = {
    "pretraining": "Pretraining",
    "finetuning": "Fine-tuning",
    "reward": "Reward model",
    "preference": "Direct preference optimization",
    "reinforcement": "Reinforcement",
    "classification": "Classification",
}
TOKEN = "nats per token"
UNITS = {"reward": "nats per pair", "preference": "nats per pair"}  # of losses that are not per token
SHARES = (
    "accuracy",
    "F1",
    "masked accuracy",
    "reward accuracy",
    "share cut",
    "share looping",
)  # from 0 to 1, whatever was measured
TEXTS = 3  # in the terminal
SETTINGS = {
    "size": "size {}",
    "context": "context {}",
    "epochs": "{:g} epochs",
    "mask_rate": "{:.0%} masked",
    "masking": "by {}",
    "batch_size": "batch {}",
    "accumulation": "accumulation {}",
    "learning_rate": "learning rate {:g}",
    "muon_learning_rate": "learning rate of Muon {:g}",
    "weight_decay": "weight decay {:g}",
    "template": "template {}",
    "max_length": "at most {} tokens a row",
    "precision": "{}",
    "seed": "seed {}",
}
CHECK_TONES: dict[str, Tone] = {"failed": "worse", "warning": "open", "passed": ""}
TO_ACT_ON = {"failed": 0, "warning": 1}


def sections(report: Json, cost: Json) -> Iterator[Section]:
    """Every training with its curves, the checks before it, and what it was made from."""
    yield Section("Training", list(_training(report, cost)))
    if checks := report.get("checks"):
        yield Section("Checks before training", list(_checks(checks)))
    if cost.get("texts"):
        yield Section("Samples", list(_texts(report, cost)))
    names = [name for name in DATA if name in report]
    lines = [Text(f"{DATA[name]}: {data_text(name, report)}", keep=TERMINAL_ONLY) for name in names]
    yield Section(
        "Data", [*lines, Columns([data_group(name, report) for name in names], keep=NOT_IN_TERMINAL)]
    )


def _training(report: Json, cost: Json) -> Iterator[Block]:
    model = report["model"]
    facts = [Fact("Model", f"{short(model['parameters'])} parameters", shape_text(model))]
    if origin := report.get("origin"):
        facts.append(Fact("Base model", origin_text(origin), "imported"))
    if cost["speed"]:
        facts.append(Fact("Pretraining ran on", speed_text(cost["speed"])))
    yield Facts(facts, keep=NOT_IN_TERMINAL)
    yield from (
        Text(f"{fact.title}: {fact.value}{f', {fact.note}' if fact.note else ''}", keep=TERMINAL_ONLY)
        for fact in facts
    )
    yield Columns([_group(name, summary, report, cost) for name, summary in trainings(report).items()])


def _group(training: str, summary: Json, report: Json, cost: Json) -> Group:
    unit = unit_of(training, summary, report)
    charts = [_chart(curve, unit) for curve in report["curves"] if curve["training"] == training]
    how, *results = training_lines(training, summary)
    settings = cost["settings"].get(training)
    how = "; ".join(filter(None, (how, settings_text(settings) if settings else "")))
    blocks: list[Block] = [Text(f"{line}.", "muted") for line in (how, *results)]
    blocks.append(Columns(charts))
    if sources := summary.get("sources"):
        blocks += source_blocks(sources)
    if settings:
        facts = [Fact(name, str(value)) for name, value in settings.items()]
        blocks.append(Fold("All settings", [Facts(facts)]))
    return Group(TRAINING_TITLES[training], blocks, is_wide=len(charts) > 1)


def unit_of(training: str, summary: Json, report: Json) -> str:
    """What the training's losses are measured in."""
    if training == "classification":
        return card_of(report["evaluation"]).unit
    if summary.get("objective") == "masked":
        return "nats per masked token"
    return UNITS.get(training, TOKEN)


def _chart(curve: Json, unit: str) -> Chart:
    """One quantity of `curves.py`, a loss in this unit; outside the page only losses and rewards."""
    quantity = curve["quantity"].capitalize()
    if curve["quantity"] in ("loss", BY_SOURCE):
        quantity += f", {unit}"
    curves = [_line(curve["quantity"], place, line) for place, line in enumerate(curve["lines"])]
    keep = Keep() if curve["quantity"] in ("loss", BY_SOURCE, "score", "reward") else PAGE_ONLY
    return Chart(quantity, curve["x"], curves, curve["kept"], curve["quantity"] in SHARES, keep=keep)


def _line(quantity: str, place: int, line: Json) -> Curve:
    if quantity == BY_SOURCE:
        return Curve(line["name"], IN_TURN[place % len(IN_TURN)], line["points"], line["measured"])
    name = {"train": "training"}.get(line["name"], line["name"])
    return Curve(name, SPLITS[line["name"]], line["points"], line["measured"])


def settings_text(settings: Mapping[str, object]) -> str:
    """`batch 16, learning rate 0.001, ...`: the settings that a reader looks for first."""
    masked = settings.get("objective") == "masked"
    known = {name: settings.get(name) for name in SETTINGS if masked or not name.startswith("mask")}
    if settings.get("optimizer") != "muon":
        known.pop("muon_learning_rate")
    if known.get("accumulation") == 1:
        known.pop("accumulation")
    if known.get("precision") == "auto":
        known.pop("precision")
    return ", ".join(SETTINGS[name].format(value) for name, value in known.items() if value is not None)


def _checks(checks: list[Json]) -> Iterator[Block]:
    """Every check by name, those to act on first; in the terminal those alone."""
    first = sorted(checks, key=lambda check: TO_ACT_ON.get(check["verdict"], len(TO_ACT_ON)))
    failed, warned, passed = (
        sum(check["verdict"] == verdict for check in checks) for verdict in (*TO_ACT_ON, "passed")
    )
    told = f"{passed} of {len(checks)} checks passed" + (f", {failed} failed" if failed else "")
    told += f", {warned} warned" if warned else ""
    others = len(checks) - passed - failed - warned
    yield Text(told + (f"; {others} only state a number or did not apply." if others else "."))
    rows = [
        {
            "check": capital(check["check"]),
            "training": check["training"],
            "result": Cell(check["verdict"], tone=CHECK_TONES.get(check["verdict"], "muted")),
            "found": check["found"],
            "expected": check["expected"],
        }
        for check in first
    ]
    yield Fold("All checks", [table_of(rows)], is_open=bool(failed + warned))
    if failed + warned:
        yield table_of(rows[: failed + warned], keep=Keep(page=0))


def _texts(report: Json, cost: Json) -> Iterator[Block]:
    """What the model wrote at evaluations."""
    best = report["pretraining"].get("best_step")
    rows = [
        Excerpt(
            f"Step {row['step']:,}" + ", the kept model" * (row["step"] == best),
            [Quote("text", row["text"])],
            score=f"{row['validation_loss']:.3f}",
        )
        for row in cost["texts"]["rows"]
    ]
    yield Text(f"{texts_text(cost, report['pretraining'])} The number is the validation loss.", "muted")
    yield Excerpts(rows, is_spread=True, empty="", keep=Keep(terminal=TEXTS))


# Training


def trainings(report: Json) -> dict[str, Json]:
    """The summary of every training that was done here, in order, by its key in the report."""
    return {name: report[name] for name in TRAINING_TITLES if name in report}


def origin_text(origin: Json) -> str:
    """`openai-community/gpt2 at 607a30d783df`: where an imported model is from, and what is open."""
    if "weights" in origin:
        return f"{origin['model']}, drawn here: it had read nothing before the rows"
    at = f" at {origin['revision'][:12]}" if origin["revision"] else ""
    return f"{origin['model']}{at}; its training text is not known, and may hold the test rows"


def shape_text(model: Json) -> str:
    """`12 layers, 12 heads, width 768, context 1,024`, as far as the model says."""
    counts = [plural(model[f"{name}s"], name) for name in ("layer", "head") if model[f"{name}s"] is not None]
    sizes = [f"{name} {model[name]:,}" for name in ("width", "context") if model[name] is not None]
    stacks = "encoder and decoder of " if model.get("kind") == "encoder-decoder" else ""
    return stacks + ", ".join(counts + sizes)


def schedule_text(pretraining: Json) -> str:
    """`2,000 steps by muon`, and whether that was the end that was planned."""
    text = f"{plural(pretraining['steps'], 'step')} by {pretraining['optimizer']}"
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
    if "rewards" in summary:
        parts.append(f"{summary['method'].upper()} on {rewarded_text(summary)}")
        parts.append(f"groups of {summary['group_size']} at temperature {summary['temperature']:g}")
    if "beta" in summary:
        parts.append(f"beta {summary['beta']:g}")
    return "; ".join(parts)


def training_lines(training: str, summary: Json) -> list[str]:
    """How a training was done and where it came to, a sentence each, without full stops."""
    steps = schedule_text(summary) if "optimizer" in summary else plural(summary["steps"], "step")
    how = "; ".join(filter(None, (steps, method_text(summary))))
    if training == "reinforcement":
        lines = [how, *reinforced_lines(summary)]
    else:
        lines = [how, losses_text(summary), sources_losses_text(summary)]
        lines.append(rewards_text(summary) if "reward_accuracy" in summary else "")
    return [capital(line) for line in lines if line]


def rewarded_text(summary: Json) -> str:
    """`exact + 0.1 length`: the rewards with their weights."""
    terms = [
        own["name"] if own["weight"] == 1 else f"{own['weight']:g} {own['name']}"
        for own in summary["rewards"]
    ]
    return " + ".join(terms)


def reinforced_lines(summary: Json) -> list[str]:
    """Where reinforcement came to: on validation prompts, in its last step, and what to look at."""
    last = (
        f"in the last step reward {summary['reward']:.3f}, KL {summary['kl']:.3f} nats per token, entropy "
        f"{summary['entropy']:.2f}, {percent(summary['share_cut'])} of responses cut, "
        f"{percent(summary['share_looping'])} looping, {percent(summary['share_of_equal_groups'])} of groups "
        "of one reward, which teach nothing"
    )
    if summary["best_step"] is None:
        return [f"{last}; no validation split", *summary["warnings"]]
    kept = (
        f"reward of greedy responses to {plural(summary['validation_prompts'], 'validation prompt')}: "
        f"{summary['validation_reward_before']:.3f} before, {summary['validation_reward']:.3f} at step "
        f"{summary['best_step']:,}, which was kept"
    )
    return [kept, last, *summary["warnings"]]


def losses_text(summary: Json) -> str:
    """The last training loss, and the best validation loss when there was a validation split."""
    text = f"last training loss {summary['train_loss']:.3f}"
    if summary.get("best_validation_loss") is None:
        return text + "; no validation split"
    if "keep_by" in summary:
        return f"{text}, {kept_text(summary)}"
    text += f", best validation loss {summary['best_validation_loss']:.3f} at step {summary['best_step']:,}"
    if measures := measures_text(summary):
        text += f" ({measures})"
    return text


def sources_losses_text(summary: Json) -> str:
    """`validation loss of the kept weights by source: of own.json 1.234, of others.json 2.345`."""
    losses = summary.get("source_losses", {})
    told = ", ".join(f"of {name} {loss:.3f}" for name, loss in losses.items())
    return f"validation loss of the kept weights by source: {told}" if told else ""


def kept_text(summary: Json) -> str:
    """By what score the weights were kept, and whether the lowest loss would have kept others."""
    text = (
        f"kept by {summary['keep_by']} on {plural(summary['keep_rows'], 'validation row')}: "
        f"{summary['best_validation_score']:.1f} at step {summary['best_step']:,}, where the validation "
        f"loss is {summary['best_validation_loss']:.3f}"
    )
    if "lowest_loss_step" in summary:
        return f"{text}; that is lowest at step {summary['lowest_loss_step']:,}, whose responses score less"
    return f"{text}, its lowest"


def rewards_text(summary: Json) -> str:
    """In how many pairs the chosen response is worth more than the rejected, and how much; of DPO, gained."""
    parts = [
        f"{percent(summary[f'{prefix}reward_accuracy'])} of {split} pairs in order, "
        f"margin {summary[f'{prefix}reward_margin']:.3f}"
        for split, prefix in (("training", ""), ("validation", "validation_"))
        if summary.get(f"{prefix}reward_accuracy") is not None
    ]
    return "; ".join(parts)


def measures_text(pretraining: Json) -> str:
    """`perplexity 7.4, 1.200 bits per byte`, of the kept model; empty where there is no more than a loss.

    Of masked tokens: `41.0% of the masked tokens right, pseudo-perplexity 12.3`, which is no perplexity.
    """
    if "best_masked_accuracy" in pretraining:
        right, pseudo = pretraining["best_masked_accuracy"], pretraining["best_pseudo_perplexity"]
        return f"{percent(right)} of the masked tokens right, pseudo-perplexity {pseudo:,.1f}"
    if "best_bits_per_byte" in pretraining:
        perplexity, bits = pretraining["best_perplexity"], pretraining["best_bits_per_byte"]
        return f"perplexity {perplexity:,.1f}, {bits:.3f} bits per byte"
    return ""


def speed_text(speed: Json) -> str:
    """Where pretraining ran and how fast, in the steps and all told; utilisation is of measured products."""
    where = [speed["device"], *([f"{speed['processes']} processes"] if speed["processes"] > 1 else [])]
    how = [speed["precision"], *(["compiled"] if speed["compiled"] else [])]
    text = f"{', '.join(where + how)}: "
    if speed["tokens_per_second"]:
        text += f"{short(speed['tokens_per_second'])} tokens/s in steps, "
    text += f"{short(speed['tokens_per_second_all_told'])} tokens/s with everything"
    if speed["utilisation"]:
        text += f"; {speed['utilisation']:.0%} of this machine's measured matmul peak"
    return text


def texts_text(cost: Json, summary: Json) -> str:
    """How many of the texts are shown, and what they are."""
    texts = cost["texts"]
    count, of = len(texts["rows"]), texts["of"]
    if not of:
        return "None: without a validation split there are no evaluations."
    shown = f"All {of}" if count == of else f"{count} of {of}"
    if summary.get("objective") == "masked":
        text = f"{shown} evaluations: a text with its masked tokens numbered, and for each the token that "
        text += "stood there and the likeliest fillings."
    else:
        text = f"{shown} texts that the model wrote at evaluations, by greedy decoding."
    if texts["kept"] < of:
        text += " The training was continued from a checkpoint: earlier ones are not kept."
    return text


# Data

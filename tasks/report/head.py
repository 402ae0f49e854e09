"""The head of the card: its badge, what is badly wrong, and the few numbers that a reader looks for first."""

import math
from collections.abc import Iterator, Mapping

from tasks.classify.tasks import card_of
from tasks.judge.score import scores_wording as scores
from tasks.machine.json_files import Json
from tasks.registry.promote.promotion_wording import in_short
from tasks.report.kinds import is_classified, is_judged, is_pretrained_only
from tasks.report.training import origin_text, rewarded_text, shape_text, trainings
from tasks.reward_models import card as reward_models
from tasks.show.document import Badge, Fact, Verdict
from tasks.show.text import capital, percent, plural, short, size

MANY = 0.5  # share of the responses above which something is badly wrong
LOW = 20.0  # points of 100, below which a champion is worth a warning
WRONG = {
    "share_empty": "are empty",
    "share_looping": "repeat themselves without end",
    "share_echoed": "only echo the prompt",
    "share_cut": "are cut at the length limit",
}
LOW_BY_NATURE = {scores.BLEU}  # of metrics that are low for good texts too


def subtitle(report: Json) -> str:
    """Which of the models of that title it is."""
    if is_pretrained_only(report):
        return f"{short(report['model']['parameters'])} parameters"
    return f"version {report['promotion']['version']}"


def badge(report: Json, verdict: Verdict, *, is_alarming: bool) -> Badge:
    """What became of the model; a champion that is not shown to be good is not praised for it."""
    if is_pretrained_only(report):
        return Badge("Pretrained")
    promotion = report["promotion"]
    if not promotion["champion"]:
        return Badge("Candidate")
    if promotion["against"] is not None:
        return Badge(f"Champion: better than {promotion['against']}", "" if is_alarming else "better")
    if verdict.tone == "better" and not is_alarming:
        return Badge("Champion: the first", "better")
    return Badge("Champion by default")


def alarms(report: Json) -> Iterator[str]:
    """What is so wrong that no number below is worth reading before it."""
    failed = [check for check in report.get("checks", ()) if check["verdict"] == "failed"]
    if failed:
        names = ", ".join(f"{check['check']} ({check['training']})" for check in failed)
        yield f"{plural(len(failed), 'check')} failed before training, which went on all the same: {names}."
    if "pretraining" in report:
        yield from _untrained(report)
    if is_judged(report):
        yield from _bad_responses(report["responses"][-1])
    if is_classified(report):
        yield from card_of(report["evaluation"]).alarms(report["evaluation"])
    if not is_pretrained_only(report):
        yield from _low_champion(report["promotion"])


def _untrained(report: Json) -> Iterator[str]:
    loss, uniform = report["pretraining"].get("best_validation_loss"), math.log(report["model"]["vocab_size"])
    if loss is not None and loss >= uniform:
        yield (
            f"The validation loss of pretraining, {loss:.3f}, is no better than {uniform:.3f}, that of "
            "guessing every token alike."
        )


def _bad_responses(entry: Mapping) -> Iterator[str]:
    for name, words in WRONG.items():
        share = entry.get(name)
        if share and share["of"] and share["count"] > MANY * share["of"]:
            yield f"{scores.share_text(share)} responses of the {entry['model']} model {words}."


def _low_champion(promotion: Json) -> Iterator[str]:
    mean = promotion["mean"] if promotion["sealed_mean"] is None else promotion["sealed_mean"]
    if promotion["champion"] and mean is not None and mean < LOW and promotion["scorer"] not in LOW_BY_NATURE:
        yield (
            f"This is the champion with {mean:.1f} of 100 by {promotion['scorer']}. Set promote.min_score, "
            f"now {promotion['min_score']:g}, to what a model must reach to be of use."
        )


def notes(report: Json) -> list[str]:
    """Why the model was promoted, or was not."""
    return [] if is_pretrained_only(report) else [f"{capital(report['promotion']['reason'])}."]


def facts(report: Json, cost: Json) -> Iterator[Fact]:
    """What the model is made of, training by training, what became of it, and when."""
    model = report["model"]
    yield Fact("Model", f"{short(model['parameters'])} parameters", shape_text(model))
    if origin := report.get("origin"):
        yield Fact("Base model", "Random weights" if "weights" in origin else "Imported", origin_text(origin))
    for name, summary in trainings(report).items():
        yield _fact_of(name, summary, report)
    if not is_pretrained_only(report):
        standing = "Champion" if report["promotion"]["champion"] else "Candidate"
        yield Fact("Promotion", standing, in_short(report["promotion"]))
    elif "best_pseudo_perplexity" in (summary := report["pretraining"]):
        note = f"pseudo-perplexity {summary['best_pseudo_perplexity']:,.1f}, at step {summary['best_step']:,}"
        yield Fact("Masked tokens right", percent(summary["best_masked_accuracy"]), note)
    elif "best_perplexity" in summary:
        note = f"{summary['best_bits_per_byte']:.3f} bits per byte, at step {summary['best_step']:,}"
        yield Fact("Perplexity", f"{summary['best_perplexity']:,.1f}", note)
    if is_pretrained_only(report) and cost["speed"] and cost["speed"]["tokens_per_second"]:
        speed = cost["speed"]
        yield Fact(
            "Speed",
            f"{short(speed['tokens_per_second'])} tokens/s",
            f"{speed['device']}, {speed['precision']}",
        )
    if cost["date"]:
        day, _, clock = cost["date"].partition(" ")
        yield Fact("Made", day, clock)


def _fact_of(training: str, summary: Json, report: Json) -> Fact:
    steps = f"{summary['steps']:,} steps"
    if training == "pretraining":
        note = f"{steps} over {size(report['corpus']['train']['bytes'])} of text"
        return Fact("Pretrained on", f"{short(summary['tokens'])} tokens", note)
    if training == "finetuning":
        count = f"{report['instructions']['splits']['train']:,} rows"
        note = f"{steps}, {short(summary['supervised_tokens'])} supervised tokens"
        return Fact("Fine-tuned on", count, note)
    if training == "reinforcement":
        note = f"{steps}, rewards {rewarded_text(summary)}"
        return Fact("Reinforced on", f"{summary['prompts']:,} prompts", note)
    if training == "reward":
        return Fact("Reward model", reward_models.summary_text(report["reward_evaluation"]), steps)
    if training == "preference":
        return Fact("Optimized on", f"{summary['pairs']:,} preferences", f"{steps}, beta {summary['beta']:g}")
    card = card_of(report["evaluation"])
    count = f"{report['labelled']['splits']['train']:,} {card.thing}s"
    return Fact("Trained to classify on", count, f"{steps}, {card.size(summary)}")

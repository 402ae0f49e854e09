"""The card as a document: which sections there are, and in which order."""

from collections.abc import Iterator, Sequence

from tasks.classify.tasks import card_of
from tasks.machine.json_files import Json
from tasks.registry.promote.promotion_wording import checked_text, decision_rows
from tasks.report import benchmarks, cost_section, exports, head, scores, seeds, training, use
from tasks.report.kinds import is_classified, is_judged, is_pretrained_only
from tasks.report.verdict import verdict
from tasks.reward_models.card import section as reward_section
from tasks.show.document import NOT_IN_TERMINAL, TERMINAL_ONLY, Document, Fact, Facts, Section, Text
from tasks.show.text import capital
from tasks.sweep.document import card_section as sweep_section
from tasks.synthesize.document import card_section as synthesis_section


def as_document(report: Json, cost: Json, rows: Sequence[Json] = ()) -> Document:
    """The card. `rows` are all test rows, the worst first, which only the page shows and the report lacks."""
    found, alarms = verdict(report), list(head.alarms(report))
    return Document(
        kind="report card",
        title=report["title"],
        subtitle=head.subtitle(report),
        badge=head.badge(report, found, is_alarming=bool(alarms)),
        alarms=alarms,
        verdict=found,
        notes=head.notes(report),
        facts=list(head.facts(report, cost)),
        facts_keep=NOT_IN_TERMINAL,
        sections=list(_sections(report, cost, rows)),
    )


def _sections(report: Json, cost: Json, rows: Sequence[Json]) -> Iterator[Section]:
    yield from use.section(report, cost)
    if "sweep" in report:
        yield sweep_section(report["sweep"])
    if "seeds" in report:
        yield seeds.section(report)
    if is_judged(report):
        yield from scores.sections(report, rows)
    yield from benchmarks.section(report)
    if is_classified(report):
        yield from card_of(report["evaluation"]).sections(report, rows)
    if not is_pretrained_only(report):
        decision = [Fact(name, value) for name, value in decision_rows(report["promotion"])]
        in_short = Text(f"{capital(checked_text(report['promotion']))}.", keep=TERMINAL_ONLY)
        yield Section("Promotion", [in_short, Facts(decision, keep=NOT_IN_TERMINAL)])
    if "reward_evaluation" in report:
        yield reward_section(report["reward_evaluation"], report.get("reward_version"))
    if "synthesis" in report:
        yield synthesis_section(report["synthesis"], report["instructions"].get("synthetic"))
    yield from exports.section(report)
    yield from training.sections(report, cost)
    yield from cost_section.sections(cost)

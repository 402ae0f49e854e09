"""How often people preferred which model, as a document."""

from collections import Counter
from collections.abc import Sequence

from tasks.judge.votes.rows import preference_rows
from tasks.judge.votes.store import Vote
from tasks.show.document import Cell, Document, Section, Text, table_of
from tasks.show.text import plural
from tasks.statistics.intervals import share_of

RULE = (
    "A pair of models a row, over the votes of everybody. The share is of the votes that preferred one of "
    "the two, with its 95% interval; where that holds 50%, the votes do not show which is better."
)


def document(votes: Sequence[Vote]) -> Document:
    """Every pair of models that was voted on, the one with the most votes first."""
    tallies: dict[tuple[str, str], Counter[str]] = {}
    for vote in votes:
        models = vote.exchange.models
        pair = tuple(sorted(models))
        places = {"a": models[0], "b": models[1]}
        choice = places.get(vote.preferred, vote.preferred)
        tallies.setdefault(pair, Counter())[choice] += 1
    ordered = sorted(tallies.items(), key=lambda entry: -entry[1].total())
    blind = sum(vote.exchange.blind for vote in votes)
    rows = len(preference_rows(votes))
    told = f"{plural(len(votes), 'vote')}, {blind:,} of them blind; rows of preference: {rows:,}."
    return Document(
        kind="votes",
        title="Votes",
        sections=[
            Section(
                "Which model was preferred",
                [Text(told), table_of([_cells(*one) for one in ordered], empty="nobody has voted yet")]
                + ([Text(RULE, "muted")] if votes else []),
            )
        ],
    )


def _cells(pair: tuple[str, str], tally: Counter[str]) -> dict[str, str | Cell]:
    first, second = pair
    share = share_of(tally[first], tally[first] + tally[second])
    shown = Cell("none")
    if share["share"] is not None:
        between = f"{100 * share['low']:.0f}% to {100 * share['high']:.0f}%"
        tone = "better" if share["low"] > 0.5 else "worse" if share["high"] < 0.5 else ""
        shown = Cell(f"{100 * share['share']:.0f}%", between, tone)
    return {
        "model": first,
        "against": second,
        "preferred": f"{tally[first]:,}",
        "the other": f"{tally[second]:,}",
        "as good": f"{tally['tie']:,}",
        "neither": f"{tally['neither']:,}",
        "share": shown,
    }

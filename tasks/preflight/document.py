"""A preflight as a document: the checks by name, those that failed first, and what is trained on."""

from tasks.machine.json_files import Json
from tasks.machine.secrets import redacted
from tasks.show.document import Badge, Block, Cell, Code, Document, Section, Tone, Verdict, table_of

WORST_FIRST = ["failed", "warning", "info", "passed", "skipped"]
TONES: dict[str, Tone] = {"failed": "worse", "warning": "open", "info": "", "passed": "", "skipped": "muted"}


def document(outcome: Json) -> Document:
    """`outcome` holds the `checks`, and a decoded example of each training where there are `examples`."""
    results = outcome["checks"]
    trainings = dict.fromkeys(result["training"] for result in results)
    counts = {verdict: sum(result["verdict"] == verdict for result in results) for verdict in WORST_FIRST}
    told = ", ".join(f"{count} {verdict}" for verdict, count in counts.items() if count)
    failed = counts["failed"]
    return Document(
        kind="preflight",
        title="Preflight",
        badge=Badge("failed", "worse") if failed else Badge("passed", "better"),
        verdict=Verdict(
            tone="worse" if failed else "none",
            sentence=f"{failed} of {len(results)} checks failed" if failed else "No check failed",
            detail=f"({told or 'there were none'})",
        ),
        sections=[
            *(Section(f"Checks of {training}", [_table(results, training)]) for training in trainings),
            *(
                Section(f"What is trained on: {training}", [Code(redacted(example))])
                for training, example in outcome.get("examples", {}).items()
            ),
        ],
    )


def _table(results: list[Json], training: str) -> Block:
    own = [result for result in results if result["training"] == training]
    return table_of(
        [
            {
                "check": result["check"],
                "verdict": Cell(result["verdict"], tone=TONES[result["verdict"]]),
                "measured": redacted(result["found"]),
                "passes": redacted(result["expected"]),
                "where": redacted(result["where"]),
            }
            for result in sorted(own, key=lambda result: WORST_FIRST.index(result["verdict"]))
        ]
    )

"""A preflight as a document: the checks by name, those that failed first, and what is trained on."""

from tasks.machine.json_files import Json
from tasks.machine.secrets import redacted
from tasks.show.document import Badge, Block, Cell, Code, Document, Section, Tone, Verdict, table_of

WORST_FIRST = ["failed", "noted", "passed", "skipped"]
TONES: dict[str, Tone] = {"failed": "worse", "noted": "", "passed": "", "skipped": "muted"}


def document(outcome: Json) -> Document:
    """`outcome` holds the `proofs`, and a decoded example of each training where there are `examples`."""
    proofs = outcome["proofs"]
    trainings = dict.fromkeys(proof["training"] for proof in proofs)
    counts = {verdict: sum(proof["verdict"] == verdict for proof in proofs) for verdict in WORST_FIRST}
    told = ", ".join(f"{count} {verdict}" for verdict, count in counts.items() if count)
    failed = counts["failed"]
    return Document(
        kind="preflight",
        title="Preflight",
        badge=Badge("failed", "worse") if failed else Badge("passed", "better"),
        verdict=Verdict(
            tone="worse" if failed else "none",
            sentence=f"{failed} of {len(proofs)} checks failed" if failed else "No check failed",
            detail=f"({told or 'there were none'})",
        ),
        sections=[
            *(Section(f"Checks of {training}", [_table(proofs, training)]) for training in trainings),
            *(
                Section(f"What is trained on: {training}", [Code(redacted(example))])
                for training, example in outcome.get("examples", {}).items()
            ),
        ],
    )


def _table(proofs: list[Json], training: str) -> Block:
    own = [proof for proof in proofs if proof["training"] == training]
    return table_of(
        [
            {
                "check": proof["proof"],
                "verdict": Cell(proof["verdict"], tone=TONES[proof["verdict"]]),
                "measured": redacted(proof["found"]),
                "passes": redacted(proof["expected"]),
                "where": redacted(proof["where"]),
            }
            for proof in sorted(own, key=lambda proof: WORST_FIRST.index(proof["verdict"]))
        ]
    )

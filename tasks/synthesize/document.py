"""A synthesis as a document: what was asked of whom, which filter took how many rows, and samples."""

from collections.abc import Iterator, Sequence

from tasks.machine.json_files import Json
from tasks.show.document import (
    NOT_IN_TERMINAL,
    Block,
    Bullet,
    Bullets,
    Cell,
    Document,
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
    table_of,
)
from tasks.show.text import capital, percent, plural

KINDS = {
    "questions": "questions and answers from passages",
    "answers": "answers to given questions",
    "rewordings": "rewordings of given rows",
    "preferences": "preferred and rejected answers to given questions",
}
SHOWN_IN_TERMINAL = 2
KNOWN_BY_NAME = "its server tells no digest of its weights"


def document(synthesis: Json, seconds: float | None = None) -> Document:
    """Everything that is known of one synthesis; `seconds` are those of the answers that were waited for."""
    return Document(
        kind="synthesis",
        title=capital(KINDS[synthesis["kind"]]),
        subtitle=in_short(synthesis),
        facts=facts(synthesis, seconds),
        sections=[
            Section("What became of the rows", list(funnel(synthesis))),
            Section("Rows that are kept", list(kept_rows(synthesis))),
            Section("Rows that were set aside", list(rejected_rows(synthesis))),
        ],
    )


def in_short(synthesis: Json) -> str:
    names = " and ".join(dict.fromkeys(writer["model"] for writer in synthesis["writers"]))
    asked, kept = synthesis["asked"], synthesis["kept"]
    return f"{kept:,} of {asked:,} rows that {names} was asked for are kept ({percent(kept / asked)})"


def facts(synthesis: Json, seconds: float | None = None) -> list[Fact]:
    found = [
        Fact(
            "Model" if place == 0 else "And",
            writer["model"],
            f"at temperature {writer['temperature']:g}; digest {writer['digest'][:12]}"
            + (f"; {KNOWN_BY_NAME}" if writer["known_by"] == "name" else ""),
        )
        for place, writer in enumerate(synthesis["writers"])
    ]
    sources = synthesis["sources"]
    if synthesis["documents"]:
        of = f"of {plural(synthesis['documents'], 'document')}"
        found.append(Fact("Asked about", plural(sources, "passage"), of))
    else:
        found.append(Fact("Asked about", plural(sources, "given row")))
    found.append(Fact("Prompt", synthesis["prompt"], f"digest {synthesis['prompt_digest'][:12]}"))
    found.append(Fact("Seed", str(synthesis["seed"])))
    if synthesis["language"]:
        found.append(Fact("Language", synthesis["language"]))
    tokens = [sum(writer[name] for writer in synthesis["writers"]) for name in ("prompt_tokens", "tokens")]
    found.append(Fact("Tokens", f"{tokens[0]:,} read, {tokens[1]:,} written"))
    if seconds is not None:
        found.append(
            Fact("Time of answers", f"{seconds:,.0f} s", "summed over requests; kept answers took none")
        )
    if judge := synthesis.get("judge"):
        said = f"its audit on {plural(judge['rows'], 'row')}: {judge['verdict']}"
        found.append(Fact("Decided by", judge["judge"], f"{said}; digest {judge['digest'][:12]}"))
    return found


def funnel(synthesis: Json) -> Iterator[Block]:
    """How many rows each filter left, in their order."""
    asked = synthesis["asked"]
    rows = [{"filter": "asked for", "set aside": "", "left": Cell(f"{asked:,}", shade=1.0)}]
    rows += [
        {
            "filter": one["title"],
            "set aside": Cell(f"{one['set_aside']:,}", tone="" if one["set_aside"] else "muted"),
            "left": Cell(f"{one['left']:,}", shade=one["left"] / asked),
        }
        for one in synthesis["filters"]
    ]
    yield table_of(rows)
    titles = {one["name"]: one["title"] for one in synthesis["filters"]}
    told = [
        Bullet(f"{titles[name]}: {one['reason']} ({one['count']:,} rows)")
        for name, reasons in synthesis["reasons"].items()
        for one in reasons
    ]
    if told:
        yield Fold("Reasons that several rows share", [Bullets(told)])


def kept_rows(synthesis: Json) -> Iterator[Block]:
    rows = synthesis["samples"]
    if rows:
        yield Text(f"{plural(len(rows), 'row')}, spread over all {synthesis['kept']:,}.", "muted")
    yield Excerpts(
        [_excerpt(row) for row in rows], empty="no row is kept", keep=Keep(terminal=SHOWN_IN_TERMINAL)
    )


def rejected_rows(synthesis: Json) -> Iterator[Block]:
    yield Excerpts(
        [_excerpt(row) for row in synthesis["rejected"]],
        with_remarks=True,
        empty="no row was set aside",
        keep=Keep(terminal=SHOWN_IN_TERMINAL),
    )


def _excerpt(row: Json) -> Excerpt:
    asked: list[Quote] = []
    if row["instruction"]:
        asked.append(Quote("question", row["instruction"]))
    if row["input"] and row["input"] != row.get("passage"):
        asked.append(Quote("input", row["input"]))
    if "passage" in row:
        asked.append(Quote("passage", row["passage"]))
    remarks = [row["why"]] if "filter" in row else []
    if "chosen" in row:
        answers = [
            Quote("chosen", row["chosen"], "teal"),
            Quote("rejected", row["rejected"], "amber", remarks=remarks),
        ]
    else:
        answers = [Quote("answer", row["output"], "teal", remarks=remarks, empty="no answer")]
    return Excerpt(f"row {row['id']}, {row['source']}", asked, answers)


def card_section(synthesis: Json, tested: Json | None) -> Section:
    """On a report card; `tested` counts the made rows of each split."""
    blocks: list[Block] = [Text(f"{in_short(synthesis)}.")]
    if tested:
        blocks.append(Text(split_text(tested), "open" if tested["test"] else ""))
    blocks.append(Facts(facts(synthesis), keep=NOT_IN_TERMINAL))
    blocks += funnel(synthesis)
    samples: Sequence[Block] = list(kept_rows(synthesis))
    blocks.append(Group("Samples", samples))
    return Section("Rows made by a model", blocks)


def split_text(made: Json) -> str:
    """What became of the rows in the splits."""
    said = f"{made['train']:,} of them are trained on"
    if made["test"] or made["validation"]:
        return (
            f"{said}, {made['validation']:,} choose the best weights, and {made['test']:,} are test rows, as "
            "rows.test_synthetic asks for: scores on those say how well the model answers what another model "
            "asks, by that model's answers."
        )
    left = made["left_out"]
    return f"{said}; none is a test row" + (
        f", and {left:,} were left out, since they are near what is tested." if left else "."
    )

"""Benchmarks as a document, and as a section of the card: accuracy beside chance, and bits per byte."""

from collections.abc import Iterator, Mapping, Sequence

from tasks.benchmark.outputs import BITS, MEASURE, NORMED
from tasks.machine.json_files import Json
from tasks.show.document import (
    NOT_IN_TERMINAL,
    Block,
    Cell,
    Document,
    Fold,
    Group,
    Hue,
    Section,
    Text,
    Tone,
    table_of,
)
from tasks.show.text import capital, percent, percents, plural, signed
from tasks.statistics.verdicts import shows

RULE = (
    "Nothing is generated: an answer is chosen whose text the model finds likeliest behind the question. "
    "Intervals are of 95%. Chance is what guessing among the choices gets right."
)
BITS_RULE = (
    "Bits per byte of the right answers: how surprising the model finds their text, whatever the other "
    "choices are. It tells models apart whose accuracy is that of chance; less is better."
)
NORMED_RULE = "The likeliest choice a character: long choices are less likely for being long."
SEVERAL = 20  # comparisons of which one is shown by luck


def document(models: Mapping[str, Sequence[Json]], differences: Sequence[Json] = ()) -> Document:
    """What `models`, by name, came to on each task; `differences` as `of_models` makes them."""
    first = next(iter(models.values()))
    return Document(
        kind="benchmark",
        title=f"Benchmarks: {plural(len(first), 'task')}, {sum(task['asked'] for task in first):,} rows",
        sections=list(_sections(models, differences, {})),
    )


def card_section(found: Json, hues: Mapping[str, Hue]) -> Section:
    """The section of the card, of `models` and `differences`; models have their own colours there."""
    models = {one["model"]: one["tasks"] for one in found["models"]}
    accuracy, bits = _sections(models, found["differences"], hues)
    return Section("Benchmarks", [*accuracy.blocks, Group(bits.title, bits.blocks)])


def _sections(
    models: Mapping[str, Sequence[Json]], differences: Sequence[Json], hues: Mapping[str, Hue]
) -> Iterator[Section]:
    yield Section("Accuracy", list(_accuracies(models, differences, hues)))
    yield Section("Bits per byte of the right answers", list(_bits(models, differences, hues)))


def _accuracies(
    models: Mapping[str, Sequence[Json]], differences: Sequence[Json], hues: Mapping[str, Hue]
) -> Iterator[Block]:
    yield Text(RULE, "muted", NOT_IN_TERMINAL)
    tasks = list(zip(*models.values(), strict=True))
    rows = []
    for own in tasks:
        row: dict[str, str | Cell] = {"task": own[0]["name"], **_facts(own[0])}
        row |= {_column(name): _accuracy(one[MEASURE], name, hues) for name, one in _named(models, own)}
        rows.append(row | _differences(differences, own[0]["name"], MEASURE))
    yield table_of(rows)
    yield from (Text(told, "open") for told in _chances(models))
    yield from (Text(told, "muted") for told in _notes(models, differences))
    normed = [
        {"task": own[0]["name"]}
        | {_column(name): _accuracy(one[NORMED], name, hues) for name, one in _named(models, own)}
        | _differences(differences, own[0]["name"], NORMED)
        for own in tasks
        if NORMED in own[0]
    ]
    if normed:
        blocks = [Text(NORMED_RULE, "muted"), table_of(normed)]
        yield Fold("Accuracy by length", blocks)


def _bits(
    models: Mapping[str, Sequence[Json]], differences: Sequence[Json], hues: Mapping[str, Hue]
) -> Iterator[Block]:
    yield Text(BITS_RULE, "muted", NOT_IN_TERMINAL)
    rows = []
    for own in zip(*models.values(), strict=True):
        row: dict[str, str | Cell] = {"task": own[0]["name"]}
        for name, one in _named(models, own):
            found = one[BITS]
            interval = f"{found['low']:.3f} to {found['high']:.3f}"
            row[_column(name)] = Cell(f"{found['mean']:.3f}", interval, hue=hues.get(name, ""))
        rows.append(row | _differences(differences, own[0]["name"], BITS))
    yield table_of(rows)


def _facts(task: Json) -> dict[str, str]:
    of = f" of {task['rows']:,}" if task["asked"] < task["rows"] else ""
    shots = f", {plural(task['shots'], 'example')} each" if task["shots"] else ""
    return {"rows": f"{task['asked']:,}{of}{shots}", "chance": percent(task["chance"])}


def _named(models: Mapping[str, Sequence[Json]], own: Sequence[Json]) -> Iterator[tuple[str, Json]]:
    yield from zip(models, own, strict=True)


def _column(model: str) -> str:
    return model or "the model"


def _accuracy(found: Json, model: str, hues: Mapping[str, Hue]) -> Cell:
    return Cell(percent(found["mean"]), percents(found["low"], found["high"]), hue=hues.get(model, ""))


def _differences(differences: Sequence[Json], task: str, measure: str) -> dict[str, Cell]:
    """In points of 100; of bits the fewer."""
    cells = {}
    for found in differences:
        if found["task"] != task:
            continue
        if measure not in found:  # the bits of a single row
            cells[f"{found['model']}, fewer than {found['against']}"] = Cell("one row shows none")
            continue
        own = found[measure]
        tone: Tone = shows(own, own["p"])
        if measure == BITS:
            column = f"{found['model']}, fewer than {found['against']}"
            told, ends = f"{own['difference']:+.3f}", f"{own['low']:+.3f} to {own['high']:+.3f}"
        else:
            column = f"{found['model']} minus {found['against']}"
            told = signed(100 * own["difference"])
            ends = f"{signed(100 * own['low'])} to {signed(100 * own['high'])}"
        cells[column] = Cell(told.replace("-", "−"), ends.replace("-", "−"), tone)
    return cells


def _chances(models: Mapping[str, Sequence[Json]]) -> Iterator[str]:
    """Of each model the tasks on which it is not shown to do better than guessing."""
    for name, tasks in models.items():
        if low := [task["name"] for task in tasks if not task["above_chance"]]:
            yield (
                f"{capital(_column(name))}: not above chance on {', '.join(low)}. The interval of its "
                "accuracy reaches down to what guessing gets right; bits per byte tell such models apart."
            )


def _notes(models: Mapping[str, Sequence[Json]], differences: Sequence[Json]) -> Iterator[str]:
    for name, tasks in models.items():
        for task in tasks:
            if task["cut"]:
                yield (
                    f"{capital(_column(name))}, {task['name']}: {plural(task['cut'], 'question')} longer "
                    "than the model's context, of which the end alone was read."
                )
            if task["unknown"]:
                yield (
                    f"{capital(_column(name))}, {task['name']}: {plural(task['unknown'], 'row')} with "
                    "choices of characters or words that the tokenizer does not know: to it all are one."
                )
    if len(differences) > 1:
        yield (
            f"{len(differences)} comparisons stand here, each with its own interval: of {SEVERAL} between "
            "equal models, one is expected to show a difference."
        )

"""The card on a classifier, whatever its task: what it says of the headline, of baselines, of examples."""

from collections.abc import Iterator, Mapping, Sequence
from typing import Any, ClassVar, Literal

from tasks.classify.outputs import ACCURACY
from tasks.machine.json_files import Json
from tasks.show.document import (
    PAGE_ONLY,
    Block,
    Cell,
    Excerpt,
    Excerpts,
    Fact,
    Fold,
    Interval,
    Intervals,
    Keep,
    Point,
    Quote,
    Section,
    Table,
    Text,
    table_of,
)
from tasks.show.text import percent, percents, signed
from tasks.statistics.verdicts import shows

MOST_ROWS = 500  # wrong answers on the page


class Card:
    """What people read of a task. Fields that a task leaves out are those of labels."""

    measures: ClassVar[Mapping[str, str]] = {ACCURACY: ACCURACY, "macro_f1": "macro F1"}
    """What is compared, and what people call it; the headline, which has an interval, comes first."""
    test: ClassVar[str] = "exact McNemar"
    """The paired test by which scores of rows are compared."""
    score: ClassVar[str] = ""
    """What a row's score is, where its mean is not the headline: `the F1 of a sentence`."""
    thing: ClassVar[str] = "text"
    unit: ClassVar[str] = "nats per text"
    """Of the loss."""
    wrong: ClassVar[str] = "misclassified"
    hub: ClassVar[tuple[str, str]] = ("text-classification", "Text classification")
    """The task as a hub calls it, and as people do."""
    baseline_numbers: ClassVar[tuple[str, ...] | None] = None
    """Those that `evaluation.json` has of a baseline; None: all that are measured."""

    has_labels: ClassVar[bool] = True
    """Whether the model's outputs are labels that people know by name."""
    takes_text: ClassVar[bool] = True
    """Whether a text alone is enough to ask the model, as in a chat."""
    usage: ClassVar[str] = ""
    """Lines of Python that ask the model in FOLDER, where no pipeline of Transformers does."""

    @property
    def measure(self) -> str:
        return next(iter(self.measures))

    @property
    def headline(self) -> str:
        """What people call it."""
        return self.measures[self.measure]

    @property
    def of_scores(self) -> str:
        """Of what differences are, where that is not the headline: `in the F1 of a sentence `."""
        return f"in {self.score} " if self.score else ""

    def sections(self, report: Json, rows: Sequence[Json]) -> Iterator[Section]:
        """The sections about the classifier; `rows` are all wrong answers, the surest mistake first."""
        evaluation = report["evaluation"]
        title = f"{self.headline[0].upper()}{self.headline[1:]} on the test split"
        yield Section(title, list(self.headlines(evaluation)))
        yield Section(*self.split_section(evaluation))
        yield from self.own_sections(evaluation)
        yield Section("Examples", list(self.examples(report, rows)))

    def split_section(self, evaluation: Json) -> tuple[str, list[Block]]:
        return "Splits", [self.splits(evaluation)]

    def own_sections(self, evaluation: Json) -> Iterator[Section]:
        """What this task alone has to show; nothing by default."""
        del evaluation
        yield from ()

    def alarms(self, evaluation: Json) -> Iterator[str]:
        """What is so wrong that no number is worth reading before it; nothing by default."""
        del evaluation
        yield from ()

    def size(self, summary: Json) -> str:
        """What the classifier learned to tell apart, in a few words."""
        return f"{len(summary['labels'])} labels"

    def is_right(self, example: Json) -> bool:
        return example["predicted"] == example["label"]

    def inputs(self, examples: Sequence[Json]) -> Json:
        """What `mlflow.pyfunc` is given, to be copied from the card."""
        is_paired = any("text_pair" in row for row in examples)
        paired = {"text_pair": "The prize is yours."} if is_paired else {}
        return {"text": "You have won!"} | paired

    # The parts of sections

    def headlines(self, evaluation: Json) -> Iterator[Text | Intervals]:
        """The classifier beside its baselines, and what the paired tests show."""
        test = evaluation["splits"]["test"]
        yield Text(
            f"Beside baselines on the same {test['rows']:,} {self.thing}s. The line is the 95% interval. "
            "What counts is how much better the classifier is than the strongest baseline.",
            "muted",
            Keep(terminal=0),
        )
        rows = [self._headline("classifier", test)]
        for one in evaluation["baselines"]:
            rows.append(self._headline(one["name"], one, one["description"]))
        yield Intervals(rows, unit="%")
        if self.score:
            yield Text(f"Differences are of {self.score}, paired.", "muted")
        for one in evaluation["baselines"]:
            yield Text(f"{comparison(one)}: {comparison_detail(one, self.test)}")

    def _headline(self, name: str, numbers: Json, description: str = "") -> Interval:
        found = numbers[self.measure]
        others = "; ".join(
            f"{title} {numbers[measure]:.3f}"
            for measure, title in self.measures.items()
            if measure != self.measure
        )
        low, mean, high = (100 * found[part] for part in ("low", "mean", "high"))
        return Interval(
            name,
            percent(found["mean"]),
            headline_interval(found),
            "amber" if name == "classifier" else "slate",
            [Point(mean)],
            low,
            high,
            under="; ".join(filter(None, (others, description))),
        )

    def splits(self, evaluation: Json) -> Table:
        return table_of(
            [
                {
                    "split": name,
                    f"{self.thing}s": f"{split['rows']:,}",
                    self.headline: Cell(
                        percent(split[self.measure]["mean"]), headline_interval(split[self.measure])
                    ),
                    **{
                        title: f"{split[measure]:.3f}"
                        for measure, title in self.measures.items()
                        if measure != self.measure
                    },
                    "loss": f"{split['loss']:.3f}",
                }
                for name, split in evaluation["splits"].items()
            ]
        )

    def examples(self, report: Json, rows: Sequence[Json]) -> Iterator[Text | Excerpts | Fold]:
        yield Text(self._examples_text(report), "muted")
        yield Excerpts([self.excerpt(row) for row in report["examples"]["rows"]], keep=Keep(terminal=3))
        if len(rows) > len([row for row in report["examples"]["rows"] if not self.is_right(row)]):
            shown = [self.table_row(row) for row in rows[:MOST_ROWS]]
            more = f", the first {MOST_ROWS:,}" if len(rows) > MOST_ROWS else ""
            title = f"All {len(rows):,} {self.wrong} {self.thing}s, the surest mistake first{more}"
            yield Fold(title, [table_of(shown)], keep=PAGE_ONLY)

    def excerpt(self, row: Json) -> Excerpt:
        """A row with what it was given by all."""
        is_right = self.is_right(row)
        truth, given, *others = self.facts(row)
        return Excerpt(
            f"Row {row['id']}",
            list(self.quotes(row)),
            facts=[truth, given, *others],
            score="right" if is_right else self.wrong,
            tone="" if is_right else "worse",
        )

    def quotes(self, row: Json) -> Iterator[Quote]:
        yield Quote("text", row["text"])
        if "text_pair" in row:
            yield Quote("second text", row["text_pair"])

    def facts(self, row: Json) -> list[Fact]:
        """The right answer, the classifier's, those of the baselines."""
        found = [
            Fact("label", row["label"]),
            Fact("classifier", row["predicted"], percent(row["probability"])),
        ]
        return found + [Fact(name, said) for name, said in row["baselines"].items()]

    def table_row(self, row: Json) -> dict[str, Any]:
        """A wrong answer in the table of all."""
        return {
            "row": str(row["id"]),
            "label": row["label"],
            "predicted": Cell(row["predicted"], percent(row["probability"]), tone="worse"),
            "text": row["text"],
            **({"second text": row["text_pair"]} if "text_pair" in row else {}),
        }

    def _examples_text(self, report: Json) -> str:
        """How the examples were chosen."""
        examples = report["examples"]
        of = f"of {examples['of']:,} test {self.thing}s"
        shown = sum(not self.is_right(row) for row in examples["rows"])
        wrong = examples["wrong"]
        if not wrong:
            text = f"None {of} is {self.wrong}"
        elif shown == wrong:
            text = f"All {wrong:,} {self.wrong} {of}, the surest mistake first"
        else:
            text = f"{shown} of the {wrong:,} {self.wrong} {of}, evenly from the surest mistake on"
        if right := len(examples["rows"]) - shown:
            text += f"; then {right} of the others, the least sure first"
        return text + ". None was picked by hand."


def measure_of(evaluation: Json) -> str:
    """The name of the headline among the numbers of an `evaluation.json`."""
    return evaluation.get("measure", ACCURACY)


def headline_interval(found: Json) -> str:
    return percents(found["low"], found["high"])


def strongest(evaluation: Json) -> Json:
    """The baseline with the highest headline on the test rows: the one that must be beaten."""
    measure = measure_of(evaluation)
    return max(evaluation["baselines"], key=lambda baseline: baseline[measure]["mean"])


def verdict_on(baseline: Json) -> Literal["better", "worse", "open"]:
    """What the paired test shows of the classifier against a baseline."""
    return shows(baseline["difference"], baseline["p_value"])


def comparison(baseline: Json) -> str:
    """`Better than bag of words`, or that this cannot be shown."""
    return comparison_of(verdict_on(baseline), baseline["name"])


def comparison_of(shown: str, name: str) -> str:
    """The same of what is shown, and a name that can be."""
    return {
        "better": f"Better than {name}",
        "worse": f"Worse than {name}",
        "open": f"Not shown to be better than {name}",
    }[shown]


def comparison_detail(baseline: Json, test: str = Card.test) -> str:
    """`+2.3 points, 95% interval +0.5 to +4.2; exact McNemar p = 0.012`."""
    found = baseline["difference"]
    holds = ", which holds 0" if shows(found) == "open" else ""
    return (
        f"{signed(found['difference'])} points, 95% interval {signed(found['low'])} to "
        f"{signed(found['high'])}{holds}; {test} {p_text(baseline['p_value'])}"
    )


def p_text(p: float) -> str:
    return "p < 0.001" if p < 0.001 else f"p = {p:.3f}"

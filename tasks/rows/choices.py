"""Multiple choice: a prompt and choices of which one is right, in the forms of the known data sets."""

from tasks.data.reading import short, type_of, whole_characters
from tasks.rows.fields import Fields, Format
from tasks.rows.row_kind import Row, RowKind

FEWEST = 2


def choice_row(fields: Fields) -> Row:
    """`prompt`, maybe the `context` that it asks about, `choices`, and `answer`: the place of the right one.

    The right one is named by its place from 0, by its letter, by the name that the choices have (ARC), or by
    its text. Raises RowError where that names none, or could name two.
    """
    context = fields.text("context", required=False)
    prompt = fields.text("prompt", required="context" not in fields.columns)
    if not prompt.strip():
        context, prompt = "", context
    if not prompt.strip():
        raise fields.fault("there is neither a prompt nor a context; expected what the choices answer")
    texts, names = _choices(fields)
    return {
        "prompt": prompt,
        **({"context": context} if context.strip() else {}),
        "choices": texts,
        "answer": _answer(fields, texts, names),
    }


def _choices(fields: Fields) -> tuple[list[str], list[str]]:
    """The choices' texts and names; of those that have none the letters."""
    value, column = fields.value("choices"), fields.columns["choices"]
    names = None
    if isinstance(value, dict) and isinstance(value.get("text"), list):
        value, names = value["text"], value.get("label")
    elif isinstance(value, list) and value and all(isinstance(each, dict) for each in value):
        value, names = [each.get("text") for each in value], [each.get("label") for each in value]
    if not isinstance(value, list) or len(value) < FEWEST:
        raise fields.fault(
            f"{column!r} should be a list of {FEWEST} choices or more, found {type_of(value)}: {short(value)}"
        )
    for number, choice in enumerate(value, 1):
        if not isinstance(choice, str) or not choice.strip():
            raise fields.fault(f"choice {number} should be text, found {type_of(choice)}: {short(choice)}")
        whole_characters(fields.where, f"choice {number}", choice)
    if names is None:
        return value, [chr(ord("A") + place) for place in range(len(value))]
    if len(names) != len(value) or len(set(map(str, names))) < len(names):
        raise fields.fault(f"the labels of {column!r} are {short(names)}; expected one for each choice")
    return value, [str(name) for name in names]


def _answer(fields: Fields, choices: list[str], names: list[str]) -> int:
    value, column = fields.value("label"), fields.columns["label"]
    if isinstance(value, float) and value.is_integer():
        value = int(value)
    if isinstance(value, bool) or not isinstance(value, int | str) or value in ("", -1):
        raise fields.fault(
            f"{column!r} should say which choice is right, found {type_of(value)}: {short(value)}"
        )
    said = str(value).strip()
    if isinstance(value, int) and said not in names:
        readings = {value} if 0 <= value < len(choices) else set()
    else:
        named = names.index(said) if said in names else None
        place = int(said) if said.isdecimal() and named is None else None
        same = [place for place, choice in enumerate(choices) if choice.strip() == said]
        readings = {each for each in (named, place, *same) if each is not None and each < len(choices)}
    if len(readings) != 1:
        found = "names none of" if not readings else "could name several of"
        raise fields.fault(
            f"{column!r} is {short(value)!r}, which {found} the {len(choices)} choices; expected a place "
            f"from 0 to {len(choices) - 1}, one of {', '.join(names)}, or a choice's text"
        )
    (right,) = readings
    if choices.count(choices[right]) > 1:
        raise fields.fault(
            f"the right choice, {short(choices[right])!r}, stands there twice; expected it once"
        )
    return right


def _parts(row: Row) -> dict[str, str]:
    asked = {name: row[name] for name in ("context", "prompt") if name in row}
    return asked | {"choices": "\n".join(row["choices"])}


KIND = RowKind(
    "choices",
    mark="choices",
    parts=_parts,
    answer=lambda row: row["choices"][row["answer"]],
    sources=("context",),
)
FORMAT = Format(
    "choices",
    choice_row,
    {
        "choices": ("options", "endings"),
        "label": ("answer", "answerkey", "answer_key", "correct", "target", "gold"),
    },
    {
        "prompt": ("question", "query", "question_stem", "startphrase", "ctx", "goal"),
        "context": ("article", "passage", "premise"),
    },
    level=0,
)

"""What is wrong with settings, in a line."""

import difflib
import typing
from collections.abc import Iterable
from typing import Any

from pydantic import BaseModel, ValidationError


def explain(error: ValidationError, model: type[BaseModel], *stage: str) -> str:
    """Every fault in one line: the key, what was found, and the key that was probably meant.

    `stage` is where in a profile the model stands.

    A fault inside a list also makes the list look empty: only the innermost is told.
    """
    locations = [details["loc"] for details in error.errors()]
    return "; ".join(
        _fault(details, model, stage)
        for details in error.errors()
        if not any(other != details["loc"] == other[: len(details["loc"])] for other in locations)
    )


def _fault(details: Any, model: type[BaseModel], stage: tuple[str, ...]) -> str:
    *parents, last = details["loc"] or ("",)
    name = ".".join(map(str, (*stage, *details["loc"])))
    if details["type"] == "extra_forbidden":
        known = _fields_at(model, parents)
        close = difflib.get_close_matches(str(last), known, n=1)
        hint = (
            f"did you mean {'.'.join([*stage, *map(str, parents), close[0]])}?"
            if close
            else f"there are {', '.join(known)}"
        )
        return f"there is no setting {name}; {hint}"
    message = details["msg"].removeprefix("Value error, ")
    found = "" if details["type"] in ("value_error", "missing") else f", found {details['input']!r}"
    return f"{name}: {message}{found}" if name else f"{message}{found}"


def _fields_at(model: type[BaseModel], location: Iterable[Any]) -> list[str]:
    for step in location:
        if isinstance(step, int):
            continue
        inner = _model_in(model.model_fields[step].annotation) if step in model.model_fields else None
        if inner is None:
            break
        model = inner
    return sorted(model.model_fields)


def _model_in(annotation: Any) -> type[BaseModel] | None:
    if isinstance(annotation, type) and issubclass(annotation, BaseModel):
        return annotation
    return next((found for part in typing.get_args(annotation) if (found := _model_in(part))), None)

"""Tools in conversations, in the one form that chat templates read: OpenAI's, with arguments as an object."""

import json
from typing import Any

from tasks.data.reading import RowError, short, type_of


def calls_of(where: str, what: str, value: Any) -> list[dict[str, Any]]:
    """The calls of a turn: OpenAI's `tool_calls` or `function_call`, or ShareGPT's `function_call` as text.

    Raises RowError for a call without a name, or whose arguments are no object.
    """
    value = _parsed(where, f"the call of {what}", value)
    calls = value if isinstance(value, list) else [value]
    return [_call(where, what, call) for call in calls]


def tools_of(where: str, column: str, value: Any) -> list[dict[str, Any]]:
    """The tools that could be called, of a column that lists them, as JSON text too. Empty where it is."""
    if value is None or value == "":
        return []
    tools = _parsed(where, repr(column), value)
    if not isinstance(tools, list):
        raise RowError(where, f"{column!r} should be a list of tools, found {type_of(value)}: {short(value)}")
    return [_tool(where, column, tool) for tool in tools]


def _call(where: str, what: str, call: Any) -> dict[str, Any]:
    function = call.get("function", call) if isinstance(call, dict) else None
    if not isinstance(function, dict) or not isinstance(function.get("name"), str) or not function["name"]:
        raise RowError(where, f"{what} calls a tool without a name: {short(call)}")
    given = function.get("arguments")
    arguments = _parsed(where, f"the arguments of {what}", {} if given in (None, "") else given)
    if not isinstance(arguments, dict):
        raise RowError(
            where, f"{what} calls {function['name']!r} with {short(given)}; expected an object of arguments"
        )
    identity = {"id": call["id"]} if isinstance(call.get("id"), str) else {}
    return identity | {"type": "function", "function": {"name": function["name"], "arguments": arguments}}


def _tool(where: str, column: str, tool: Any) -> dict[str, Any]:
    function = tool.get("function", tool) if isinstance(tool, dict) else None
    if not isinstance(function, dict) or not isinstance(function.get("name"), str) or not function["name"]:
        raise RowError(where, f"{column!r} lists a tool without a name: {short(tool)}")
    return {"type": "function", "function": function}


def _parsed(where: str, what: str, value: Any) -> Any:
    if not isinstance(value, str):
        return value
    try:
        return json.loads(value)
    except ValueError as error:
        raise RowError(where, f"{what} should be JSON, found text: {short(value)}") from error

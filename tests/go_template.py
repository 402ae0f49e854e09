"""As much of Go's text/template as Ollama's prompts need: text, range, if, else, eq, fields and strings.

Actions that begin with `{{-` take the white space before them away, those that end with `-}}` that after.
"""

import json
import re

ACTION = re.compile(r"\{\{(-?)\s*(.*?)\s*(-?)\}\}", re.DOTALL)


def render(template, **data):
    """The text that Go would write; names as `.Messages` are those of `data`."""
    nodes, rest = _parse(_pieces(template))
    assert not rest, f"left over: {rest}"
    return "".join(_render(nodes, data))


def _pieces(template):
    """Texts and actions in turn, white space trimmed as the actions say."""
    found, at, trims = [], 0, False
    for action in ACTION.finditer(template):
        text = template[at : action.start()]
        text = text.lstrip() if trims else text
        found.append(("text", text.rstrip() if action[1] else text))
        found.append(("action", action[2]))
        at, trims = action.end(), bool(action[3])
    found.append(("text", template[at:].lstrip() if trims else template[at:]))
    return [piece for piece in found if piece != ("text", "")]


def _parse(pieces):
    """Nodes up to an `else` or an `end`, and the pieces from there on."""
    nodes = []
    while pieces:
        (kind, text), *rest = pieces
        if kind == "action" and (text == "end" or text.split()[0] == "else"):
            return nodes, pieces
        if kind == "action" and text.split()[0] in ("if", "range"):
            node, rest = _block(text, rest)
            nodes.append(node)
        else:
            nodes.append((kind, text))
        pieces = rest
    return nodes, []


def _block(head, pieces):
    word, _, argument = head.partition(" ")
    body, rest = _parse(pieces)
    (_, closing), *rest = rest
    otherwise = []
    if closing.startswith("else if"):
        node, rest = _block(closing.removeprefix("else "), rest)
        return (word, argument, body, [node]), rest
    if closing == "else":
        otherwise, rest = _parse(rest)
        (_, closing), *rest = rest
    assert closing == "end", closing
    return (word, argument, body, otherwise), rest


def _render(nodes, scope):
    for node in nodes:
        match node:
            case "text", text:
                yield text
            case "action", expression:
                yield str(_value(expression, scope))
            case "if", condition, body, otherwise:
                yield from _render(body if _value(condition, scope) else otherwise, scope)
            case "range", over, body, otherwise:
                for item in _value(over, scope):
                    yield from _render(body, item)


def _value(expression, scope):
    if expression.startswith("eq "):
        _, left, right = expression.split(" ", 2)
        return _value(left, scope) == _value(right, scope)
    if expression.startswith('"'):
        return json.loads(expression)
    assert expression.startswith("."), expression
    return scope[expression[1:]]

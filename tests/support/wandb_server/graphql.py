"""GraphQL without a schema: the query's tree is walked over plain values and functions."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from graphql import parse
from graphql.language import ast

from wandb_server import resolvers
from wandb_server.state import State


def execute(state: State, request: Mapping[str, Any]) -> tuple[str, dict[str, Any], set[str]]:
    """The operation's name, its data, and the fields that nothing provides."""
    document = parse(request["query"], no_location=True)
    operations = [d for d in document.definitions if isinstance(d, ast.OperationDefinitionNode)]
    wanted = request.get("operationName")
    operation = next((o for o in operations if o.name and o.name.value == wanted), operations[0])
    variables: dict[str, Any] = {
        v.variable.name.value: _value(v.default_value, {})
        for v in operation.variable_definitions or ()
        if v.default_value
    }
    variables |= request.get("variables") or {}
    fragments = {
        d.name.value: d for d in document.definitions if isinstance(d, ast.FragmentDefinitionNode)
    }
    mutates = operation.operation == ast.OperationType.MUTATION
    root = resolvers.mutations(state) if mutates else resolvers.queries(state)
    walk = _Walk(variables, fragments)
    return (
        operation.name.value if operation.name else "?",
        walk.fields(operation.selection_set, root, ""),
        walk.unknown,
    )


class _Walk:
    """Through one operation."""

    def __init__(self, variables: Mapping[str, Any], fragments: Mapping[str, Any]) -> None:
        self._variables, self._fragments = variables, fragments
        self.unknown: set[str] = set()

    def fields(self, selections: Any, value: Mapping[str, Any], path: str) -> dict[str, Any]:
        """What is selected of an object whose fields are values, or functions of arguments."""
        found: dict[str, Any] = {}
        for selection in selections.selections:
            if not self._included(selection):
                continue
            if isinstance(selection, ast.FieldNode):
                name = selection.name.value
                key = selection.alias.value if selection.alias else name
                found[key] = self._field(selection, name, value, path)
                continue
            inline = isinstance(selection, ast.InlineFragmentNode)
            part = selection if inline else self._fragments[selection.name.value]
            for key, item in self.fields(part.selection_set, value, path).items():
                both = isinstance(found.get(key), dict) and isinstance(item, dict)
                found[key] = {**found[key], **item} if both else item
        return found

    def _field(self, node: ast.FieldNode, name: str, value: Mapping[str, Any], path: str) -> Any:
        if name not in value and name != "__typename":
            self.unknown.add(f"{path}.{name}")
        item = value.get(name)
        if callable(item):
            item = item(
                **{a.name.value: _value(a.value, self._variables) for a in node.arguments or ()}
            )
        return self._selected(node.selection_set, item, f"{path}.{name}")

    def _selected(self, selections: Any, item: Any, path: str) -> Any:
        if selections is None or item is None:
            return item
        if isinstance(item, list):
            return [self._selected(selections, one, path) for one in item]
        return self.fields(selections, item, path)

    def _included(self, node: Any) -> bool:
        given = {
            d.name.value: _value(d.arguments[0].value, self._variables)
            for d in node.directives or ()
        }
        return given.get("include") is not False and given.get("skip") is not True


def _value(node: Any, variables: Mapping[str, Any]) -> Any:
    """A literal or a variable as Python's value."""
    if node is None or isinstance(node, ast.NullValueNode):
        return None
    if isinstance(node, ast.VariableNode):
        return variables.get(node.name.value)
    if isinstance(node, ast.ListValueNode):
        return [_value(item, variables) for item in node.values]
    if isinstance(node, ast.ObjectValueNode):
        return {f.name.value: _value(f.value, variables) for f in node.fields}
    if isinstance(node, ast.IntValueNode):
        return int(node.value)
    return float(node.value) if isinstance(node, ast.FloatValueNode) else node.value

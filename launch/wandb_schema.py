"""The form of a W&B sweep file, as JSON Schema: what may stand in it and of what type.

After W&B's documentation (sweep configuration structure) and the forms that its client takes.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from jsonschema import Draft7Validator
from jsonschema.exceptions import best_match

from launch.values import is_int
from lrscale.errors import UserError, did_you_mean

Schema = dict[str, Any]

_ANY: Schema = {}
_BLOCK: Schema = {"type": "object"}
_TEXT: Schema = {"type": "string"}
_NUMBER: Schema = {"type": "number"}
_POSITIVE: Schema = {"type": "number", "exclusiveMinimum": 0}
_NOT_NEGATIVE: Schema = {"type": "number", "minimum": 0}
_VALUES: Schema = {"type": "array", "minItems": 1}
_ENDS: dict[str, Schema] = {"min": _NUMBER, "max": _NUMBER}
_POSITIVE_ENDS: dict[str, Schema] = {"min": _POSITIVE, "max": _POSITIVE}
_NORMAL: dict[str, Schema] = {"mu": _NUMBER, "sigma": _NOT_NEGATIVE}
_STEP: dict[str, Schema] = {"q": _POSITIVE}

FILE: Schema = {
    "type": "object",
    "required": ["method", "parameters"],
    "properties": {
        "method": {"enum": ["grid", "random", "bayes", "custom"]},
        "parameters": {"type": "object", "minProperties": 1},
        "run_cap": {"type": "integer", "minimum": 1},
        "metric": {"type": "object", "required": ["name"], "properties": {"name": _TEXT}},
        "name": _TEXT,
        "description": _TEXT,
        **dict.fromkeys(("early_terminate", "scheduler", "controller"), _BLOCK),
        **dict.fromkeys(("program", "job", "image_uri", "entity", "project"), _TEXT),
        **dict.fromkeys(("command", "metrics", "apiVersion", "kind"), _ANY),
    },
    "additionalProperties": False,
}


def _parameter(
    required: Mapping[str, Schema], optional: Mapping[str, Schema] | None = None
) -> Schema:
    return {
        "type": "object",
        "required": list(required),
        "properties": {"distribution": _TEXT, **required, **(optional or {})},
        "additionalProperties": False,
    }


PARAMETERS: dict[str, Schema] = {
    "constant": _parameter({"value": _ANY}),
    "categorical": _parameter({"values": _VALUES}),
    "categorical_w_probabilities": _parameter(
        {"values": _VALUES, "probabilities": {"type": "array", "items": _NOT_NEGATIVE}}
    ),
    "int_uniform": _parameter({"min": {"type": "integer"}, "max": {"type": "integer"}}),
    "uniform": _parameter(_ENDS),
    "q_uniform": _parameter(_ENDS, _STEP),
    "log_uniform": _parameter(_ENDS),
    "inv_log_uniform": _parameter(_ENDS),
    "q_log_uniform": _parameter(_ENDS, _STEP),
    "log_uniform_values": _parameter(_POSITIVE_ENDS),
    "inv_log_uniform_values": _parameter(_POSITIVE_ENDS),
    "q_log_uniform_values": _parameter(_POSITIVE_ENDS, _STEP),
    "normal": _parameter({}, _NORMAL),
    "log_normal": _parameter({}, _NORMAL),
    "q_normal": _parameter({}, _NORMAL | _STEP),
    "q_log_normal": _parameter({}, _NORMAL | _STEP),
    "beta": _parameter({}, {"a": _NOT_NEGATIVE, "b": _NOT_NEGATIVE}),
    "q_beta": _parameter({}, {"a": _NOT_NEGATIVE, "b": _NOT_NEGATIVE} | _STEP),
}


def check_file(raw: Any, at: str) -> None:
    """Raises UserError for what is no W&B sweep file; parameters are looked at one by one."""
    _check(raw, FILE, at)


def distribution_of(parameter: Any, at: str) -> str:
    """The name of a parameter's distribution, given or meant. Raises UserError for one of no known
    form."""
    if not isinstance(parameter, Mapping):
        raise UserError(f"{at}: expected {{value: …}}, {{values: […]}}, {{min: …, max: …}} …")
    name = parameter.get("distribution") or _meant(parameter)
    if name not in PARAMETERS:
        raise UserError(f"{at}.distribution: unknown '{name}': {did_you_mean(name, PARAMETERS)}")
    _check(parameter, PARAMETERS[name], at)
    return name


def _meant(parameter: Mapping[str, Any]) -> str:
    if "value" in parameter:
        return "constant"
    if "values" in parameter:
        return "categorical_w_probabilities" if "probabilities" in parameter else "categorical"
    whole = all(is_int(parameter.get(end)) for end in ("min", "max"))
    return "int_uniform" if whole else "uniform"


def _check(value: Any, schema: Schema, at: str) -> None:
    error = best_match(Draft7Validator(schema).iter_errors(value))
    if error is not None:
        inner = "".join(f".{part}" for part in error.absolute_path)
        raise UserError(f"{at}{inner}: {error.message}")

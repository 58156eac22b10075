"""What a run is: its complete decoded configuration, and the identity that follows from it.

A raw configuration is a plain nested mapping (from a sweep file). ``decode`` fills in the
workload's defaults, checks every key against dataclasses and returns a typed object;
``encode`` turns that back into a plain mapping with every default spelled out; ``identity``
hashes it. Decoding happens before hashing, so that a default written out, ``"3"`` for ``3`` or
another order of keys is the same run, and an edited default is another.
"""

from __future__ import annotations

import contextlib
import dataclasses
import difflib
import hashlib
import json
import math
from collections.abc import Iterator, Mapping
from dataclasses import field
from functools import cache
from typing import Annotated, Any, NamedTuple, TypeVar, cast

from pydantic import Field, PydanticUserError, TypeAdapter, ValidationError

from lrscale.errors import ConfigError, Problem, UserError, did_you_mean
from lrscale.plugins import Plugin, any_loaded, plugin_of
from lrscale.registry import Registry, UnknownName, workloads

PositiveInt = Annotated[int, Field(gt=0)]
NonNegativeInt = Annotated[int, Field(ge=0)]
Positive = Annotated[float, Field(gt=0)]
NonNegative = Annotated[float, Field(ge=0)]
Decay = Annotated[float, Field(ge=0, lt=1)]  # momentum and averaging coefficients: [0, 1)
Probability = Annotated[float, Field(ge=0, le=1)]

T = TypeVar("T")


def block(registry: Registry) -> Any:
    """A field that holds a component: ``{name: sgd, lr: 0.1}``, decoded by ``registry``."""
    return field(metadata={"registry": registry})


def unhashed(default: T) -> T:
    """A field that says where or how to run, not what: left out of the run's identity."""
    return field(default=default, metadata={"hashed": False})


def added(default: T, as_before: T) -> T:
    """A field of a later version, left out of the identity while it is as things were before it."""
    return field(default=default, metadata={"as_before": as_before})


def added_section(schema: type[T]) -> T | None:
    """A field of a later version that holds a ``schema``'s keys, or null as before it."""
    return field(default=None, metadata={"section": schema, "as_before": None})


def merge(base: Mapping[str, Any], over: Mapping[str, Any]) -> dict[str, Any]:
    """``over`` laid upon ``base``, block by block; neither is changed.

    A block whose ``name`` differs replaces the one below it, so that no SGD momentum is left
    in Adam; a block of the same name, or with none, merges key by key.
    """
    merged = dict(base)
    for key, value in over.items():
        below = merged.get(key)
        if isinstance(value, Mapping):
            other = isinstance(below, Mapping) and value.get("name", below.get("name")) != (
                below.get("name")
            )
            merged[key] = merge({} if other or not isinstance(below, Mapping) else below, value)
        else:
            merged[key] = value
    return merged


def decode(raw: Mapping[str, Any], known: dict[Any, Any] | None = None) -> Any:
    """The typed configuration of one run: the workload's ``schema``, TrainConfig for most.

    Args:
        known: blocks decoded before, for a caller with many runs that share some; added to.

    Raises:
        ConfigError: every problem at once: unknown keys and names, wrong types, values out of
            range, missing values.
    """
    name = raw.get("workload")
    if not isinstance(name, str):
        raise ConfigError([Problem("workload", "missing", did_you_mean("", workloads.names()))])
    try:
        workload = workloads.get(name)
    except UnknownName as error:
        raise ConfigError([Problem("workload", error.message, error.hint)]) from None
    return decode_as(workload.schema, merge(workload.defaults, raw), known=known)


def decode_as(
    schema: type[T], raw: Mapping[str, Any], at: str = "", known: dict[Any, Any] | None = None
) -> T:
    """``raw`` as an instance of the dataclass ``schema``, checked like a run's configuration.

    Args:
        at: begins the key of every problem, such as ``resources.``.
        known: as of ``decode``.

    Raises:
        ConfigError: every problem at once.
    """
    problems: list[Problem] = []
    config = _decode_dataclass(schema, raw, at, problems, {} if known is None else known)
    if problems:
        raise ConfigError(problems)
    return cast(T, config)


def encode(config: Any) -> dict[str, Any]:
    """The complete configuration as plain JSON values, every default spelled out."""
    plain: dict[str, Any] = {}
    for name, registry, section, *_ in _layout(config):
        value = getattr(config, name)
        if registry is not None:
            plain[name] = {"name": registry.name_of(type(value)), **encode(value)}
        elif section and value is not None:
            plain[name] = encode(value)
        else:
            plain[name] = _plain(value, name)
    return plain


def identity(config: Any, known: dict[int, Any] | None = None) -> str:
    """The run's id: 20 hexadecimal digits of the SHA-256 of its canonical JSON.

    Args:
        known: what was made of blocks before, for a caller with many runs that share some; added
            to.

    Left out are the fields made by ``unhashed`` (paths, devices, tracking) and those made by
    ``added`` while they hold their as-before value. The source of a plugin is part of the identity
    of the runs that use a component of it, and of no other.
    """
    view = _hashed(config, {} if known is None else known)
    text = json.dumps(view, sort_keys=True, separators=(",", ":"), allow_nan=False)
    sources = sorted(plugin.digest for plugin in plugins_of(config))
    return hashlib.sha256("\n".join([text, *sources]).encode()).hexdigest()[:20]


def plugins_of(config: Any) -> list[Plugin]:
    """The plugins that define the workload or a component of a configuration, by name."""
    if not any_loaded():  # nearly always: 5,000 runs need not be looked through
        return []
    found = {plugin.top: plugin for cls in _classes(config) if (plugin := plugin_of(cls))}
    return [found[top] for top in sorted(found)]


def _classes(config: Any) -> Iterator[type[Any]]:
    """The class of a configuration, of its workload and of all components."""
    yield type(config)
    for name, registry, section, *_ in _layout(config):
        value = getattr(config, name)
        if registry is not None or (section and value is not None):
            yield from _classes(value)
        elif name == "workload" and isinstance(value, str):
            yield workloads.get(value)


def check_schema(schema: Any) -> str | None:
    """Why nothing can be decoded to a dataclass, such as a field of an unknown type; else None."""
    try:
        _adapter(schema).validate_python({})
    except ValidationError:  # parameters without a default
        return None
    except PydanticUserError as error:
        if error.code == "class-not-fully-defined":
            return "a field is of a type that is not known when the file is imported"
        return str(error).partition("\n")[0]
    return None


def _decode_dataclass(
    schema: Any, raw: Mapping[str, Any], at: str, problems: list[Problem], known: dict[Any, Any]
) -> Any:
    """An instance of ``schema``, or None after adding to ``problems``."""
    fields = _fields(schema)
    blocks = [name for name, f in fields.items() if "registry" in f.metadata]
    before = len(problems)
    values: dict[str, Any] = {}
    for key, value in raw.items():
        if key not in fields:
            hint = _nearest_key(str(key), fields, raw)
            problems.append(Problem(f"{at}{key}", "unknown key", hint))
        elif key in blocks:
            registry = fields[key].metadata["registry"]
            values[key] = _decode_block(registry, value, key, problems, known)
        elif "section" in fields[key].metadata:
            section = fields[key].metadata["section"]
            values[key] = _decode_section(section, value, key, problems, known)
        else:
            values[key] = value
    for key in blocks:
        if key not in raw:
            problems.append(Problem(key, "missing", "write it as {name: …}"))
    # A component that failed has its own problem: a stand-in keeps the others visible.
    try:
        config = _adapter(schema).validate_python({**dict.fromkeys(blocks), **values})
    except ValidationError as error:
        problems.extend(_problem(detail, at) for detail in error.errors(include_url=False))
        return None
    for key, value in values.items():
        _check_scalar(f"{at}{key}", value, getattr(config, key), problems)
    if len(problems) == before and hasattr(config, "conflicts"):
        problems.extend(config.conflicts())
    return config if len(problems) == before else None


def _decode_section(
    schema: Any, value: Any, key: str, problems: list[Problem], known: dict[Any, Any]
) -> Any:
    if value is None:
        return None
    if not isinstance(value, Mapping):
        names = ", ".join(_fields(schema))
        problems.append(Problem(key, f"expected a block or null, got {value!r}", f"keys: {names}"))
        return None
    return _decode_dataclass(schema, value, f"{key}.", problems, known)


def _decode_block(
    registry: Registry, value: Any, key: str, problems: list[Problem], known: dict[Any, Any]
) -> Any:
    if not isinstance(value, Mapping) or not isinstance(value.get("name"), str):
        names = ", ".join(registry.names())
        problems.append(Problem(key, "no name given", f"write {{name: …}} with one of: {names}"))
        return None
    try:
        component = registry.get(value["name"])
    except UnknownName as error:
        problems.append(Problem(f"{key}.name", error.message, error.hint))
        return None
    parameters = {k: v for k, v in value.items() if k != "name"}
    # By repr, which tells 1, 1.0 and True apart, and 0.0 and -0.0.
    written = (component, repr(parameters))
    if written not in known:
        config = _decode_dataclass(component, parameters, f"{key}.", problems, known)
        if config is None:
            return None
        known[written] = config
    return known[written]


def _nearest_key(
    key: str, fields: Mapping[str, dataclasses.Field[Any]], raw: Mapping[str, Any]
) -> str:
    """A hint at the nearest key, here or in one of the blocks, as of an ``lr`` on its own."""
    places = {name: name for name in fields}
    for name, f in fields.items():
        block = raw.get(name)
        if "registry" not in f.metadata or not isinstance(block, Mapping):
            continue
        with contextlib.suppress(UnknownName):
            component = f.metadata["registry"].get(str(block.get("name")))
            for parameter in _fields(component):
                places.setdefault(parameter, f"{name}.{parameter}")
    near = difflib.get_close_matches(key, places, n=1, cutoff=0.6)
    return f"did you mean '{places[near[0]]}'?" if near else did_you_mean(key, fields)


def _check_scalar(key: str, raw: Any, decoded: Any, problems: list[Problem]) -> None:
    """What pydantic's conversions let through: true for a number, infinities and NaN."""
    if isinstance(raw, bool) and not isinstance(decoded, bool):
        problems.append(Problem(key, f"expected a number, got {str(raw).lower()}"))
    elif isinstance(decoded, float) and not math.isfinite(decoded):
        problems.append(Problem(key, f"expected a finite number, got {raw!r}"))


# What pydantic's complaints about a value's type (int_parsing, int_from_float, …) come down to.
_KINDS = {"int": "a whole number", "float": "a number", "bool": "true or false", "string": "text"}


def _problem(detail: Any, at: str) -> Problem:
    key = (at + ".".join(str(part) for part in detail["loc"])).rstrip(".") or "run"
    if detail["type"] == "missing":
        return Problem(key, "missing")
    kind = detail["type"].partition("_")[0]
    if kind in _KINDS:
        return Problem(key, f"should be {_KINDS[kind]}, got {detail['input']!r}")
    message = detail["msg"].removeprefix("Value error, ").removeprefix("Input ")
    if not detail["loc"]:
        return Problem(key, message)
    return Problem(key, f"{message}, got {detail['input']!r}")


def _fields(config: Any) -> dict[str, dataclasses.Field[Any]]:
    """The fields of a dataclass, or of an instance of one, by name."""
    return _fields_of(config if isinstance(config, type) else type(config))


@cache
def _fields_of(schema: Any) -> dict[str, dataclasses.Field[Any]]:
    return {f.name: f for f in dataclasses.fields(schema)}


@cache
def _adapter(schema: Any) -> TypeAdapter[Any]:
    return TypeAdapter(schema)


class _Field(NamedTuple):
    """What of a dataclass's field decides how it is encoded and hashed."""

    name: str
    registry: Registry | None
    section: bool
    hashed: bool
    as_before: Any


def _layout(config: Any) -> tuple[_Field, ...]:
    return _layout_of(cast(Any, type(config)))


@cache
def _layout_of(schema: Any) -> tuple[_Field, ...]:
    return tuple(
        _Field(
            f.name,
            f.metadata.get("registry"),
            "section" in f.metadata,
            f.metadata.get("hashed", True),
            f.metadata.get("as_before", dataclasses.MISSING),
        )
        for f in dataclasses.fields(schema)
    )


def _hashed(config: Any, known: dict[int, Any]) -> dict[str, Any]:
    view: dict[str, Any] = {}
    for name, registry, section, hashed, as_before in _layout(config):
        value = getattr(config, name)
        if not hashed or (as_before is not dataclasses.MISSING and value == as_before):
            continue
        if registry is not None:
            if id(value) not in known:
                block = {"name": registry.name_of(type(value)), **_hashed(value, known)}
                known[id(value)] = value, block  # the value, so that its id stays its own
            view[name] = known[id(value)][1]
        elif section and value is not None:
            view[name] = _hashed(value, known)
        else:
            view[name] = _plain(value, name)
    return view


def _plain(value: Any, key: str) -> Any:
    if value is None or isinstance(value, (str, int, float)):  # nearly all; the last test is slow
        return value + 0.0 if value == 0 and type(value) is float else value  # -0.0 is 0.0
    if isinstance(value, (tuple, list)):
        return [_plain(v, key) for v in value]
    if isinstance(value, Mapping):
        return {str(k): _plain(v, key) for k, v in value.items()}
    kinds = "numbers, text, lists and null"
    raise UserError(f"{key}: {value!r} cannot be recorded: values are {kinds}")

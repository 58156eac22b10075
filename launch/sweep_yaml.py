"""YAML as sweep files use it: plain values only, bounded, no key twice.

Scalars follow the core schema of YAML 1.2: ``no``, ``on`` and ``12:00:00`` are text (YAML 1.1,
OmegaConf's reader included, makes them false, true and 43200, which would spoil
``precision: no`` and ``time: 12:00:00``), ``1e-3`` is a number, and keys are always text.
"""

from __future__ import annotations

import re
import stat
from collections.abc import Callable
from pathlib import Path
from typing import Any, ClassVar

import yaml

from lrscale.errors import UserError

try:
    from yaml import CSafeLoader as _SafeLoader
except ImportError:  # a PyYAML built without libyaml
    from yaml import SafeLoader as _SafeLoader  # type: ignore[assignment]

MAX_BYTES = 1 << 20
MAX_VALUES = 200_000
"""Values of one file with its aliases written out: an alias of aliases can stand for billions."""
MAX_DEPTH = 50
"""Nested blocks. libyaml composes recursively and would overflow the stack."""

_TAG = "tag:yaml.org,2002:"
# Written "\e" in quotes, they would command the terminal that a key or a note is shown on.
_CONTROL = re.compile(r"[\x00-\x08\x0b-\x0c\x0e-\x1f\x7f-\x9f]")


def read_file(path: Path, by: str = "") -> str:
    """The text of a YAML file.

    Args:
        by: says in errors what asked for the file.

    Raises:
        UserError: it is no regular file, larger than MAX_BYTES, or not text in UTF-8.
        OSError: it cannot be read.
    """
    status = path.stat()
    if not stat.S_ISREG(status.st_mode):
        raise UserError(f"{path}: not a file{by}")
    if status.st_size > MAX_BYTES:
        raise UserError(f"{path}: larger than {MAX_BYTES >> 20} MiB{by}: not one that is read here")
    try:
        return path.read_text(encoding="utf-8")
    except UnicodeDecodeError:
        raise UserError(f"{path}: not text in UTF-8{by}") from None


def parse_yaml(text: str, file: str) -> Any:
    """Plain dicts (text keys), lists, strings, numbers, booleans and None.

    Args:
        text: one YAML document.
        file: named in errors.

    Raises:
        UserError: with file and line: syntax, a key given twice, a tag of another type, a control
            character, an alias that contains itself, more than MAX_VALUES values or MAX_DEPTH
            levels.
    """
    try:
        _check_size(text)
        return yaml.load(text, Loader=_Loader)
    except yaml.MarkedYAMLError as error:
        mark = error.problem_mark or error.context_mark
        where = f"{file}:{mark.line + 1}" if mark and "\n" in text else file
        problem = ": ".join(part for part in (error.context, error.problem) if part)
        raise UserError(f"{where}: {problem or 'bad YAML'}{_hint(text, mark)}") from None
    except (yaml.YAMLError, UnicodeError) as error:
        raise UserError(f"{file}: not a text file in YAML: {error}") from None


def _hint(text: str, mark: yaml.Mark | None) -> str:
    lines = text.splitlines()
    if mark and mark.line < len(lines) and "${" in lines[mark.line]:
        return " (between { } or [ ], quote an interpolation: '${…}')"
    return ""


def _check_size(text: str) -> None:
    """Refuse what would grow without bound, from the parser's events, before it is built."""
    sizes: dict[str, int] = {}  # by anchor, of the blocks that are closed
    open_blocks: list[tuple[str | None, int]] = []  # anchor; values before it
    count = 0
    for event in yaml.parse(text, Loader=_Loader):
        anchor = getattr(event, "anchor", None)
        if isinstance(event, yaml.CollectionStartEvent):
            open_blocks.append((anchor, count))
            count += 1
        elif isinstance(event, yaml.CollectionEndEvent):
            name, before = open_blocks.pop()
            if name is not None:
                sizes[name] = count - before
        elif isinstance(event, yaml.ScalarEvent):
            if control := _CONTROL.search(event.value):
                raise _error(f"the control character {control[0]!r}", event.start_mark)
            count += 1
            sizes[anchor or ""] = 1
        elif isinstance(event, yaml.AliasEvent):
            if any(name == anchor for name, _ in open_blocks):
                raise _error(f"*{anchor} contains itself", event.start_mark)
            count += sizes.get(anchor or "", 1)
        if count > MAX_VALUES:
            raise _error(f"more than {MAX_VALUES:,} values, aliases written out", event.start_mark)
        if len(open_blocks) > MAX_DEPTH:
            raise _error(f"more than {MAX_DEPTH} nested blocks", event.start_mark)


def _error(problem: str, mark: Any) -> yaml.MarkedYAMLError:
    return yaml.MarkedYAMLError(problem=problem, problem_mark=mark)


class _Loader(_SafeLoader):
    """PyYAML's safe loader, less every type but text, numbers, booleans, null, lists, blocks."""

    yaml_implicit_resolvers: dict[str, Any] = {}  # noqa: RUF012 (typed so by types-PyYAML)
    yaml_constructors: ClassVar[dict[Any, Any]] = {
        tag: _SafeLoader.yaml_constructors[tag]
        for tag in (None, f"{_TAG}null", f"{_TAG}str", f"{_TAG}seq", f"{_TAG}map")
    }

    def construct_mapping(self, node: Any, deep: bool = False) -> dict[Any, Any]:
        if not isinstance(node, yaml.MappingNode):
            raise _error("expected a block of keys", node.start_mark)
        seen: set[str] = set()
        for key, _ in node.value:
            if not isinstance(key, yaml.ScalarNode):
                raise _error("a key must be text", key.start_mark)
            if key.value in seen:
                raise _error(f"the key '{key.value}' is given twice", key.start_mark)
            seen.add(key.value)
        self.flatten_mapping(node)  # what `<<: *base` brings in comes first and is overridden
        return {key.value: self.construct_object(value, deep=deep) for key, value in node.value}


def _scalar(tag: str, pattern: str, first: list[str], convert: Callable[[str], Any]) -> None:
    """Plain scalars that match ``pattern`` are of type ``tag``."""

    def construct(loader: Any, node: Any) -> Any:
        text = loader.construct_scalar(node)
        try:
            return convert(text)
        except ValueError:  # an explicit tag on other text, or an integer of thousands of digits
            raise _error(f"not a valid {tag}: {str(text)[:40]}", node.start_mark) from None

    _Loader.add_implicit_resolver(f"{_TAG}{tag}", re.compile(rf"^(?:{pattern})$"), first)
    if tag not in ("null", "merge"):
        _Loader.add_constructor(f"{_TAG}{tag}", construct)


def _boolean(text: str) -> bool:
    if text.lower() not in ("true", "false"):
        raise ValueError(text)
    return text.lower() == "true"


def _float(text: str) -> float:
    return float(re.sub(r"\.(?=inf|nan)", "", text.lower()))


_scalar("merge", "<<", ["<"], str)
_scalar("null", "~|null|Null|NULL|", ["~", "n", "N", ""], str)
_scalar("bool", "true|True|TRUE|false|False|FALSE", list("tTfF"), _boolean)
_scalar("int", r"[-+]?[0-9]+(?:_[0-9]+)*", list("-+0123456789"), int)
_scalar(
    "float",
    r"[-+]?(?:[0-9]+(?:_[0-9]+)*(?:\.[0-9]*)?|\.[0-9]+)(?:[eE][-+]?[0-9]+)?"
    r"|[-+]?\.(?:inf|Inf|INF)|\.(?:nan|NaN|NAN)",
    list("-+0123456789."),
    _float,
)


class _Dumper(yaml.SafeDumper):
    """Quotes text that would be read as something else here."""

    yaml_implicit_resolvers: dict[str, Any] = _Loader.yaml_implicit_resolvers

    def ignore_aliases(self, data: Any) -> bool:
        return True

    def represent_str(self, data: str) -> yaml.ScalarNode:
        """Line breaks other than LF stand as escapes: PyYAML would write them as they are into a
        quoted key, where they are read as a space."""
        style = '"' if re.search("[\x85\u2028\u2029]", data) else None
        return self.represent_scalar(f"{_TAG}str", data, style=style)


_Dumper.add_representer(str, _Dumper.represent_str)


def to_yaml(value: Any) -> str:
    """Text that ``parse_yaml`` reads as ``value``: plain dicts, lists, text, numbers, None."""
    return yaml.dump(
        value,
        Dumper=_Dumper,
        sort_keys=False,
        allow_unicode=True,
        width=100,
        default_flow_style=None,
    )

"""Read frozen dataclasses from YAML files, checking every key and every value."""

import dataclasses
import difflib
import math
import os
import types
import typing
from collections.abc import Mapping
from typing import Any, TypeVar, Union

import yaml

from fomm.errors import ConfigError, shown

MAX_BYTES = 100_000  # the published files have 2,500

_T = TypeVar("_T")


class _PlainLoader(yaml.SafeLoader):
    """Plain YAML: no tags that construct objects, no aliases (they can explode), no key given twice."""

    def compose_node(self, parent: Any, index: Any) -> Any:
        if self.check_event(yaml.AliasEvent):
            raise yaml.MarkedYAMLError(
                problem="an alias (*name) is not taken here; write the value out",
                problem_mark=self.peek_event().start_mark,
            )
        return super().compose_node(parent, index)

    def construct_mapping(self, node: Any, deep: bool = False) -> dict[Any, Any]:
        seen: set[str] = set()
        for key_node, _ in node.value:
            if not isinstance(key_node, yaml.ScalarNode):
                raise yaml.MarkedYAMLError(problem="a key should be a text", problem_mark=key_node.start_mark)
            if key_node.value in seen:
                raise yaml.MarkedYAMLError(
                    problem=f"{shown(key_node.value)} is given twice", problem_mark=key_node.start_mark
                )
            seen.add(key_node.value)
        return super().construct_mapping(node, deep)


def read_yaml(path: str | os.PathLike[str]) -> dict[str, Any]:
    """Return the mapping in a YAML file: dicts, lists, numbers, texts. Raises ConfigError for others."""
    try:
        with open(path, "rb") as file:
            data = file.read(MAX_BYTES + 1)
    except OSError as reason:
        raise ConfigError(f"cannot read the configuration {path}: {reason.strerror}") from reason
    if len(data) > MAX_BYTES:
        raise ConfigError(f"{path} is larger than {MAX_BYTES} bytes: not a configuration; give a YAML file")
    try:
        content = yaml.load(data, Loader=_PlainLoader)
    except yaml.MarkedYAMLError as reason:
        line = f", line {reason.problem_mark.line + 1}" if reason.problem_mark else ""
        raise ConfigError(f"{path}{line}: {shown(reason.problem or reason.context, 200)}") from reason
    except (yaml.YAMLError, ValueError, TypeError, OverflowError, RecursionError) as reason:
        raise ConfigError(
            f"{path} is not plain YAML ({type(reason).__name__}); give a configuration"
        ) from reason
    if not isinstance(content, dict):
        raise ConfigError(f"{path} holds no settings: expected sections such as model_params")
    return content


def parse(cls: type[_T], data: Any, where: str, key: str = "") -> _T:
    """Return ``cls(**data)``, a frozen dataclass with those in it, after checking every key and value.

    ``where`` names the file in errors, and ``key`` the place in it (``model_params.common_params``). Raises
    ConfigError for an unknown or a missing key, and for a value of another type or outside the ``low`` and
    ``high`` of its field.
    """
    if not isinstance(data, Mapping):
        raise ConfigError(f"{where}: {key or 'the whole'} should hold keys and values, not {_show(data)}")
    fields = {field.name: field for field in dataclasses.fields(cls)}  # type: ignore[arg-type]
    dotted = key + "." if key else ""
    for name in data:
        if name not in fields:
            raise ConfigError(f"{where}: unknown key {dotted}{shown(name)}{_nearest(name, list(fields))}")
    hints = typing.get_type_hints(cls)
    values = {}
    for name, field in fields.items():
        if name in data:
            values[name] = _convert(hints[name], data[name], where, dotted + name)
            _check_range(values[name], field.metadata, where, dotted + name)
        elif field.default is dataclasses.MISSING:
            raise ConfigError(f"{where}: {dotted}{name} is missing")
    return cls(**values)


def plain(value: Any) -> Any:
    """Return a dataclass as dicts, lists, numbers and texts, the reverse of ``parse``; None is left out."""
    if dataclasses.is_dataclass(value):
        pairs = ((field.name, getattr(value, field.name)) for field in dataclasses.fields(value))
        return {name: plain(content) for name, content in pairs if content is not None}
    if isinstance(value, tuple):
        return [plain(content) for content in value]
    return value


def _convert(hint: Any, value: Any, where: str, key: str) -> Any:
    """Return ``value`` as the type that the field declares; a number stays an int or a float as written."""
    if typing.get_origin(hint) in (Union, types.UnionType):
        options = [option for option in typing.get_args(hint) if option is not type(None)]
        if value is None and len(options) < len(typing.get_args(hint)):
            return None
        hint = options[0]
    if dataclasses.is_dataclass(hint):
        return parse(typing.cast(type, hint), value, where, key)
    if typing.get_origin(hint) is tuple:
        return _convert_list(typing.get_args(hint), value, where, key)
    is_number = isinstance(value, (int, float)) and not isinstance(value, bool)
    if hint is float and is_number and _is_finite(value):
        return value
    if hint is int and is_number and not isinstance(value, float):
        return value
    if hint in (bool, str) and isinstance(value, hint):
        return value
    names = {float: "a number", int: "a whole number", bool: "true or false", str: "a text"}
    raise ConfigError(f"{where}: {key} should be {names[hint]}, not {_show(value)}{_exponent_hint(value)}")


def _is_finite(value: float) -> bool:
    try:
        return math.isfinite(value)
    except OverflowError:  # a whole number that no float can hold
        return False


def _convert_list(hints: tuple[Any, ...], value: Any, where: str, key: str) -> tuple[Any, ...]:
    if not isinstance(value, (list, tuple)):
        raise ConfigError(f"{where}: {key} should be a list, not {_show(value)}")
    if hints[-1] is Ellipsis:
        hints = (hints[0],) * len(value)
    if len(hints) != len(value):
        raise ConfigError(f"{where}: {key} should be a list of {len(hints)} values, not of {len(value)}")
    return tuple(
        _convert(hint, item, where, f"{key}[{i}]")
        for i, (hint, item) in enumerate(zip(hints, value, strict=True))
    )


def _check_range(value: Any, bounds: Mapping[str, Any], where: str, key: str) -> None:
    for number in value if isinstance(value, tuple) else (value,):
        if number is None or not bounds:
            continue
        if not bounds["low"] <= number <= bounds["high"]:
            raise ConfigError(
                f"{where}: {key} should lie in {bounds['low']} to {bounds['high']}, not {_show(number)}"
            )


def _nearest(name: Any, known: list[str]) -> str:
    close = difflib.get_close_matches(shown(name), known, n=1)
    meant = f" (did you mean {close[0]}?)" if close else ""
    return f"{meant}; known here: {', '.join(known)}"


def _show(value: Any) -> str:
    try:
        return shown(repr(value), 40)
    except (ValueError, RecursionError):  # Python writes out no number of thousands of digits
        return "what is too long to show"


def _exponent_hint(value: Any) -> str:
    """Return a hint for a text like 2e-4: YAML 1.1 takes it for a text, since it has no point."""
    try:
        return f" (write {float(value):.1e} with the point)" if isinstance(value, str) else ""
    except ValueError:
        return ""

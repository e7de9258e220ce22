"""A run's configuration as plain values, for `config.yaml` and for keyword arguments, checked when read back."""

from __future__ import annotations

import types
from collections.abc import Mapping
from dataclasses import asdict, fields, is_dataclass
from difflib import get_close_matches
from pathlib import Path
from typing import Any, Literal, TypeVar, Union, get_args, get_origin, get_type_hints

import yaml

from chiqpm.config import FitConfig
from chiqpm.errors import ChiqpmError

T = TypeVar("T")


def to_dict(config: FitConfig) -> dict[str, Any]:
    """Return nested plain values; tuples become lists."""
    plain: dict[str, Any] = _plain(asdict(config))
    return plain


def from_dict(values: Mapping[str, Any]) -> FitConfig:
    """Make a configuration from nested plain values; what is not named keeps its default.

    Raises:
        ChiqpmError: an unknown option (near names are given), or a value of the wrong kind.

    >>> from_dict({"dense": {"epochs": 3}}).dense.epochs
    3
    """
    return build(FitConfig, values, "")


def read(path: Path) -> FitConfig:
    """Read a `config.yaml`.

    Raises:
        FileNotFoundError: no such file.
        ChiqpmError: not such a file, or an option that can't be used.
    """
    if not path.is_file():
        raise FileNotFoundError(f"there is no configuration file {path}")
    try:
        values = yaml.safe_load(path.read_text(encoding="utf-8"))
    except yaml.YAMLError as error:
        raise ChiqpmError(f"{path} is not valid YAML: {error}") from None
    if not isinstance(values, dict):
        raise ChiqpmError(f"{path} must hold options by name, received {type(values).__name__}")
    return from_dict({name: value for name, value in values.items() if name != "data_folder"})


def updated(base: Mapping[str, Any], changes: Mapping[str, Any]) -> dict[str, Any]:
    """Return `base` with changes, group by group.

    >>> updated({"a": {"b": 1, "c": 2}}, {"a": {"c": 3}})
    {'a': {'b': 1, 'c': 3}}
    """
    merged = dict(base)
    for name, change in changes.items():
        value = _plain(asdict(change)) if is_dataclass(change) and not isinstance(change, type) else change
        nested = isinstance(value, Mapping) and isinstance(merged.get(name), Mapping)
        merged[name] = updated(merged[name], value) if nested else value
    return merged


def _plain(value: Any) -> Any:
    if isinstance(value, dict):
        return {name: _plain(item) for name, item in value.items()}
    return [_plain(item) for item in value] if isinstance(value, (tuple, list)) else value


def build(kind: type[T], values: Any, prefix: str) -> T:
    """Make a dataclass of options from nested plain values, every one of them checked against its type.

    Args:
        kind: the dataclass.
        values: by name of the field.
        prefix: what stands before the names in messages, with a dot at its end; or nothing.

    Raises:
        ChiqpmError: an unknown option, or a value of the wrong kind.
        TypeError: an option without a default is missing.
    """
    if not isinstance(values, Mapping):
        raise ChiqpmError(f"option {prefix.rstrip('.')} must be a group of options, received {values!r}")
    hints = get_type_hints(kind)
    names = [field.name for field in fields(kind)]  # type: ignore[arg-type]
    for name in values:
        if name not in names:
            near = get_close_matches(str(name), names, n=1)
            hint = f"; did you mean {prefix}{near[0]}?" if near else f"; known are {', '.join(names)}"
            raise ChiqpmError(f"unknown option {prefix}{name}{hint}")
    return kind(**{name: _convert(hints[name], value, prefix + name) for name, value in values.items()})


def _convert(hint: Any, value: Any, name: str) -> Any:
    if is_dataclass(hint) and isinstance(hint, type):
        return build(hint, value, f"{name}.")
    for choice in _choices(hint):
        if get_origin(choice) is tuple and isinstance(value, (list, tuple)):
            inner = get_args(choice)[0]
            return tuple(_convert(inner, item, name) for item in value)
        if get_origin(choice) is Literal and value in get_args(choice):
            return value
        if choice is float and isinstance(value, int) and not isinstance(value, bool):
            try:
                return float(value)
            except OverflowError:
                raise ChiqpmError(f"option {name} is larger than any float") from None
        if isinstance(choice, type) and get_origin(choice) is None and type(value) is choice:
            return value
    allowed = " or ".join(getattr(choice, "__name__", str(choice)) for choice in _choices(hint))
    raise ChiqpmError(f"option {name} must be {allowed}, received {value!r}")


def _choices(hint: Any) -> tuple[Any, ...]:
    return get_args(hint) if get_origin(hint) in (Union, types.UnionType) else (hint,)

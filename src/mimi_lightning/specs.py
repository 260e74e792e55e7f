"""Constructing what a configuration names."""

from __future__ import annotations

from collections.abc import Mapping
from importlib import import_module
from typing import Any

from mimi_lightning.errors import ConfigError

Spec = Mapping[str, Any]  # a class under `_target_` and its arguments


def build(spec: Spec, kind: type, *args: Any, **more: Any) -> Any:
    """Construct what a configuration node names.

    Args:
        spec: dotted class name under `_target_`, its keyword arguments beside it.
        kind: the class must be a subclass of this one: a checkpoint names classes too, and must not call anything else.
        args: positional arguments of the class.
        more: further keyword arguments.

    Raises:
        ConfigError: no such class, a class of another kind, or arguments that it does not take.
    """
    cls = find_class(spec, kind)
    try:
        return cls(*args, **{key: value for key, value in spec.items() if key != "_target_"}, **more)
    except (TypeError, ValueError) as error:
        raise ConfigError(f"{spec['_target_']} does not take these arguments: {error}") from error


def find_class(spec: Spec, kind: type) -> type:
    """The class that a configuration node names; errors as those of `build`."""
    name = spec["_target_"]
    try:
        module, _, attribute = name.rpartition(".")
        cls = getattr(import_module(module), attribute)
    except Exception as error:  # an import raises whatever it likes
        raise ConfigError(f"_target_={name}: there is no such class ({error})") from error
    if not (isinstance(cls, type) and issubclass(cls, kind)):
        raise ConfigError(f"_target_={name}: expected a {kind.__name__}.")
    return cls

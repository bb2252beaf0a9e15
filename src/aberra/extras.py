"""Libraries that only some users have: the extras of the package."""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING

from aberra.errors import ConfigError

if TYPE_CHECKING:
    from types import ModuleType


def library(module: str, *, needed_by: str, extra: str, package: str = "") -> ModuleType:
    """Import a library of an extra.

    Args:
        module: its name, as in an import.
        needed_by: what the user has asked for.
        extra: of the package, as in ``pip install 'aberra[EXTRA]'``.
        package: what people know it by; the module's first part without.

    Raises:
        ConfigError: it is not installed; says how it is.
    """
    try:
        return import_module(module)
    except ImportError as error:
        known = package or module.partition(".")[0].replace("_", "-")
        raise ConfigError(f"{needed_by} needs {known}; pip install 'aberra[{extra}]'") from error

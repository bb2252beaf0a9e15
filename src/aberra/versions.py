"""What a result was computed with."""

from __future__ import annotations

import platform
from functools import cache
from importlib.metadata import version


@cache
def versions() -> dict[str, str]:
    """Versions that a result depends on."""
    return {"python": platform.python_version()} | {
        name: version(name) for name in ("aberra", "torch", "numpy", "scipy", "simpleitk")
    }

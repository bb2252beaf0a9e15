"""What a result was computed with."""

from __future__ import annotations

import platform
from functools import cache
from importlib.metadata import version

from aberra import __version__


@cache
def versions() -> dict[str, str]:
    """Versions that a result depends on."""
    return {"python": platform.python_version(), "aberra": __version__} | {
        name: version(name) for name in ("torch", "numpy", "scipy", "simpleitk")
    }

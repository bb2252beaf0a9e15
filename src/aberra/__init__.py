"""aberra learns what healthy medical images look like and shows where a scan departs from it."""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from aberra.cohort import Cohort
    from aberra.detector import Detector
    from aberra.result import Result
    from aberra.volume import Volume
    from aberra.workflows.evaluate import evaluate

__version__ = "0.1.0"
__all__ = ["Cohort", "Detector", "Result", "Volume", "evaluate"]

_HOME = {
    "Cohort": "aberra.cohort",
    "Detector": "aberra.detector",
    "Result": "aberra.result",
    "Volume": "aberra.volume",
    "evaluate": "aberra.workflows.evaluate",
}


def __getattr__(name: str) -> Any:
    """Import the public face on first use, so that ``import aberra`` costs milliseconds."""
    if name in _HOME:
        return getattr(import_module(_HOME[name]), name)
    raise AttributeError(f"module 'aberra' has no attribute '{name}'")

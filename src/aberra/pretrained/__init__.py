"""Detectors that come with aberra, a folder each."""

from __future__ import annotations

from pathlib import Path


def shipped_detectors() -> dict[str, Path]:
    """Name to folder of the detectors that come with aberra."""
    root = Path(__file__).parent
    return {path.parent.name: path.parent for path in sorted(root.glob("*/detector.toml"))}

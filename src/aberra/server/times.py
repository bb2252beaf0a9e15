"""Seconds since 1970 as text."""

from __future__ import annotations

from datetime import UTC, datetime


def iso(seconds: float | None) -> str:
    """UTC in ISO 8601 to the second; empty for None.

    Examples:
        >>> iso(0.0), iso(None)
        ('1970-01-01T00:00:00Z', '')
    """
    if seconds is None:
        return ""
    return datetime.fromtimestamp(seconds, UTC).strftime("%Y-%m-%dT%H:%M:%SZ")

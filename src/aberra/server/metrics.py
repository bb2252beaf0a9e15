"""Numbers for Prometheus: how many cases wait, how long, and what was answered."""

from __future__ import annotations

from collections import Counter
from threading import Lock
from time import time
from typing import TYPE_CHECKING

from sqlalchemy import func, select

from aberra.server.tables import STATES, Case, Reading

if TYPE_CHECKING:
    from collections.abc import Mapping

    from sqlalchemy.orm import Session

BOUNDS = (0.01, 0.03, 0.1, 0.3, 1.0, 3.0, 10.0)
"""Seconds."""


class Requests:
    """What this process has answered since it began."""

    def __init__(self) -> None:
        self._lock = Lock()
        self._answers: Counter[int] = Counter()
        self._within: Counter[float] = Counter()
        self._seconds = 0.0

    def count(self, status: int, seconds: float) -> None:
        """Count one answer and the time to its first byte."""
        with self._lock:
            self._answers[status] += 1
            self._seconds += seconds
            for bound in BOUNDS:
                self._within[bound] += seconds <= bound

    def lines(self) -> list[str]:
        """As Prometheus reads it."""
        with self._lock:
            total = sum(self._answers.values())
            found = _metric("aberra_requests_total", "counter", "Requests answered", {})
            found += [
                f'aberra_requests_total{{status="{status}"}} {n}'
                for status, n in sorted(self._answers.items())
            ]
            found += _metric("aberra_request_seconds", "histogram", "Time to the first byte of an answer", {})
            found += [
                f'aberra_request_seconds_bucket{{le="{bound}"}} {self._within[bound]}' for bound in BOUNDS
            ]
            found += [f'aberra_request_seconds_bucket{{le="+Inf"}} {total}']
            return [
                *found,
                f"aberra_request_seconds_sum {self._seconds:.6f}",
                f"aberra_request_seconds_count {total}",
            ]


def exposition(session: Session, requests: Requests) -> str:
    """All metrics as text."""
    counts: Mapping[str, int] = dict(
        session.execute(select(Case.status, func.count()).group_by(Case.status)).all()
    )
    oldest = session.scalar(select(func.min(Case.changed)).where(Case.status == "queued"))
    readings = session.scalar(select(func.count()).select_from(Reading)) or 0
    seconds, done = session.execute(
        select(func.sum(Case.finished - Case.started), func.count()).where(Case.status == "done")
    ).one()
    lines = _metric(
        "aberra_cases",
        "gauge",
        "Cases by status",
        {f'{{status="{each}"}}': counts.get(each, 0) for each in STATES},
    )
    lines += _metric(
        "aberra_queue_wait_seconds",
        "gauge",
        "How long the oldest case waits",
        {"": max(0.0, time() - (oldest or time()))},
    )
    lines += _metric(
        "aberra_detect_seconds_sum", "counter", "Computing time of finished cases", {"": seconds or 0.0}
    )
    lines += _metric("aberra_detect_seconds_count", "counter", "Finished cases", {"": done})
    lines += _metric("aberra_readings", "gauge", "Readings of all readers", {"": readings})
    return "\n".join([*lines, *requests.lines()]) + "\n"


def _metric(name: str, kind: str, told: str, values: Mapping[str, float]) -> list[str]:
    return [
        f"# HELP {name} {told}.",
        f"# TYPE {name} {kind}",
        *(f"{name}{labels} {value:.6g}" for labels, value in values.items()),
    ]

"""What the node knows of each series, in one SQLite file; every change is on the disk when the call
returns.
"""

from __future__ import annotations

import sqlite3
from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, Literal

from aberra.errors import AberraError
from aberra.files import record
from aberra.node.archive import Listed

if TYPE_CHECKING:
    from collections.abc import Iterable
    from pathlib import Path

Status = Literal["waiting", "channel", "done", "refused", "failed", "own"]

TABLES = """
CREATE TABLE IF NOT EXISTS series (
    series TEXT PRIMARY KEY, study TEXT NOT NULL, count INTEGER NOT NULL,
    modality TEXT NOT NULL, body_part TEXT NOT NULL, description TEXT NOT NULL,
    changed REAL NOT NULL, status TEXT NOT NULL, note TEXT NOT NULL, begun INTEGER NOT NULL
);
CREATE TABLE IF NOT EXISTS own (series TEXT PRIMARY KEY);
"""


@dataclass(frozen=True, kw_only=True)
class Known:
    """A series and what became of it.

    Attributes:
        listed: as the archive has it.
        changed: when its number of instances last did, in seconds since 1970.
        status: ``waiting``, ``channel`` (whole, one of several that are read at once; its study lacks
            others), ``done``, ``refused`` (not for this node), ``failed``, or ``own`` (made by a
            node).
        note: why, or with what result.
        begun: how often its analysis was begun without an end.
    """

    listed: Listed
    changed: float
    status: Status
    note: str
    begun: int


class RefusedError(AberraError):
    """A series is not for this node.

    Args:
        why: for people.
        final: whatever more comes of it.
    """

    def __init__(self, why: str, *, final: bool = False) -> None:
        super().__init__(why)
        self.final = final


class State:
    """The series that a node has seen.

    Args:
        path: the file.
    """

    def __init__(self, path: Path) -> None:
        record(path)
        self._file = sqlite3.connect(path, isolation_level=None)  # each statement is a transaction
        self._file.execute("PRAGMA synchronous = FULL")
        self._file.executescript(TABLES)

    def close(self) -> None:
        """Close the file."""
        self._file.close()

    def see(self, listed: Listed, now: float) -> bool:
        """Note that a series is there; returns whether it is new or has another number of
        instances.

        Such a series waits, whatever became of it before: it may have been half of it.
        """
        known = self.get(listed.series)
        if known is not None and (known.listed.count == listed.count or known.status == "own"):
            return False
        status = "own" if self.is_own(listed.series) else "waiting"
        row = asdict(listed) | {"changed": now, "status": status, "note": "", "begun": 0}
        names = ", ".join(row)
        values = ", ".join(f":{name}" for name in row)
        self._file.execute(f"INSERT OR REPLACE INTO series ({names}) VALUES ({values})", row)  # noqa: S608 - names of our own
        return status != "own"

    def get(self, series: str) -> Known | None:
        """What is known of a series."""
        return next(iter(self._known("WHERE series = ?", series)), None)

    def all(self) -> list[Known]:
        """Every series, in the order of its last change."""
        return self._known("ORDER BY changed, series")

    def channels(self, study: str) -> dict[str, Listed]:
        """Channel to series of a study, of a node whose detector reads several."""
        known = self._known("WHERE study = ? AND status IN ('channel', 'done')", study)
        return {each.note.partition(":")[0]: each.listed for each in known}

    def ready(self, now: float, quiet: float) -> list[Known]:
        """Series that wait and have not changed for ``quiet`` seconds, the oldest first."""
        return self._known("WHERE status = 'waiting' AND changed <= ? ORDER BY changed, series", now - quiet)

    def begin(self, series: str) -> None:
        """Note that an analysis begins; what becomes of it may kill the process."""
        self._file.execute("UPDATE series SET begun = begun + 1 WHERE series = ?", (series,))

    def rest(self, series: str) -> None:
        """Note that an analysis had an end that was not its own fault."""
        self._file.execute("UPDATE series SET begun = 0 WHERE series = ?", (series,))

    def settle(self, series: str, status: Status, note: str) -> None:
        """Note what became of a series."""
        self._file.execute(
            "UPDATE series SET status = ?, note = ?, begun = 0 WHERE series = ?", (status, note, series)
        )

    def again(self) -> int:
        """Let all series wait that were refused or have failed; returns how many."""
        return self._file.execute(
            "UPDATE series SET status = 'waiting', note = '', begun = 0 WHERE status IN ('refused', 'failed')"
        ).rowcount

    def own(self, series: Iterable[str]) -> None:
        """Note series before they are sent, so that they are known when they come back."""
        self._file.executemany("INSERT OR IGNORE INTO own VALUES (?)", [(each,) for each in series])

    def is_own(self, series: str) -> bool:
        """Whether this node has made a series."""
        return self._file.execute("SELECT 1 FROM own WHERE series = ?", (series,)).fetchone() is not None

    def _known(self, which: str, *values: object) -> list[Known]:
        names = ("series", "study", "count", "modality", "body_part", "description")
        rows = self._file.execute(
            f"SELECT {', '.join(names)}, changed, status, note, begun FROM series {which}",  # noqa: S608 - clauses of our own
            values,
        )
        return [
            Known(
                listed=Listed(**dict(zip(names, row, strict=False))),
                changed=row[6],
                status=row[7],
                note=row[8],
                begun=row[9],
            )
            for row in rows
        ]

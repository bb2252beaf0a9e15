"""Progress as server-sent events.

Server and workers are processes of their own and share nothing but the database, so that is what is
looked at, once a second for every open page.
"""

from __future__ import annotations

import json
from asyncio import sleep
from time import time
from typing import TYPE_CHECKING, Any

from sqlalchemy import select
from starlette.concurrency import run_in_threadpool

from aberra.server.tables import Case

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable

    from aberra.server.database import Database

STEP = 1.0
"""Seconds between looks."""

OVERLAP = 5.0
"""Seconds that are looked at again, since a transaction ends later than the time it writes."""

MOST = 500
"""Cases told of at once."""

ALIVE = 15
"""Looks between signs of life, by which a browser and a proxy know that the line is open."""


async def changes(database: Database, allowed: Callable[[], bool]) -> AsyncIterator[str]:
    """Tell of every case that changes, until the session ends.

    Args:
        database: of the server.
        allowed: whether whoever listens is still signed in.
    """
    since, told = time(), dict[int, float]()
    yield "retry: 3000\n\n"
    look = 0
    while True:
        look += 1
        if look % ALIVE == 0:
            if not await run_in_threadpool(allowed):
                return
            yield ": alive\n\n"
        for row in await run_in_threadpool(_changed, database, since - OVERLAP):
            changed = row.pop("changed")
            if changed > max(since - OVERLAP, told.get(row["id"], 0.0)):
                told[row["id"]] = changed
                yield f"event: case\ndata: {json.dumps(row)}\n\n"
        told = {case: changed for case, changed in told.items() if changed > since - 2 * OVERLAP}
        since = max([since, *told.values()])
        await sleep(STEP)


def _changed(database: Database, since: float) -> list[dict[str, Any]]:
    columns = (Case.id, Case.status, Case.windows_done, Case.windows, Case.changed)
    with database.reading() as session:
        rows = session.execute(
            select(*columns).where(Case.changed > since).order_by(Case.changed).limit(MOST)
        )
        return [dict(row) for row in rows.mappings()]

"""A process that takes cases from the queue and has aberra's own workflow analyse them.

What a case's result is, lies in its folder, written whole or not at all; the database only says
that it is there. A worker that is killed between the two finds it finished when it is asked again.
"""

from __future__ import annotations

import os
import socket
import sys
from functools import lru_cache
from pathlib import Path
from threading import Event, Thread
from time import monotonic, sleep
from typing import TYPE_CHECKING, Any

from aberra.cohort import Cohort
from aberra.console import screen
from aberra.detector import Detector
from aberra.errors import AberraError
from aberra.failures import told
from aberra.files import read_json
from aberra.io import read
from aberra.sequence import AUTO, choose
from aberra.server import queue
from aberra.server.database import Database
from aberra.server.tables import SEARCHED
from aberra.server.uploads import FILES
from aberra.workflows.detect import detect_cohort

if TYPE_CHECKING:
    from aberra.server.settings import Settings
    from aberra.server.tables import Case

PAUSE = 0.5
"""Seconds between looks at an empty queue."""

STEP = 1.0
"""Seconds between notes of progress."""

SCAN = "scan-{}.nii.gz"
"""In an upload's folder: a scan as it was read, for the viewer, whatever it came as."""

TRUTH = "truth-{}.nii.gz"
"""Beside it: the lesion mask that an admin has given."""


def work(settings: Settings, *, parent: int | None = None, once: bool = False) -> None:
    """Take cases until the process that started this one is gone.

    Args:
        settings: of the server.
        parent: that process; it may be gone before this one has begun to look.
        once: stop when the queue is empty.
    """
    database = Database(settings.url)
    name = f"{socket.gethostname()[:40]}-{os.getpid()}"
    parent = os.getppid() if parent is None else parent
    while os.getppid() == parent:
        case = queue.take(database, name)
        if case is not None:
            _work_on(database, settings, case, name)
        elif once:
            return
        else:
            sleep(PAUSE)


def _work_on(database: Database, settings: Settings, case: Case, worker: str) -> None:
    """Analyse one case under a lease, and say what came of it."""
    over = Event()

    def keep() -> None:
        while not over.wait(queue.LEASE / 3):
            queue.renew(database, case.id, worker)

    keeper = Thread(target=keep, daemon=True)
    keeper.start()
    try:
        found: dict[str, Any] = {"status": "done", "error": "", **_analyse(database, settings, case, worker)}
    except Exception as error:  # noqa: BLE001 - one case never ends a worker
        found = {"status": "failed", "error": settings.plain(told(error))}
    finally:
        over.set()
        keeper.join()
    queue.finish(database, case.id, worker, **found)
    screen().print(f"case {case.id} ({case.name}): {found['status']} {found['error']}".strip())


def _analyse(database: Database, settings: Settings, case: Case, worker: str) -> dict[str, Any]:
    """What the worklist says of a case."""
    source = settings.uploads / case.place / FILES / case.source
    shown = settings.uploads / case.place / SCAN.format(case.number)
    if not shown.is_file():
        read(source).write(shown)
    cohort = Cohort.from_paths([source])
    model, channels = settings.detectors.get(case.detector, case.detector), None
    if model == AUTO:
        choice = choose(cohort)
        model, channels = choice.detector, choice.channels
    folder = settings.results / f"{case.place}-{case.number}"
    last = monotonic()

    def watch(done: int, windows: int) -> None:
        nonlocal last
        if monotonic() - last > STEP:
            last = monotonic()
            queue.renew(database, case.id, worker, windows_done=done, windows=windows)

    summary = detect_cohort(
        _detector(model, settings.device),
        cohort,
        out=folder,
        channels=channels,
        overwrite=True,
        report=False,
        watch=watch,
    )
    for reason in summary.failed.values():
        raise AberraError(reason)
    of_case = cohort[0].case
    found = row(read_json(folder / of_case / "result.json"))
    words = " ".join([case.name, found["reason"], found["warnings"]])
    return {"folder": f"{folder.name}/{of_case}", "search": words.casefold()[:SEARCHED], **found}


@lru_cache(maxsize=1)
def _detector(model: str, device: str) -> Detector:
    return Detector.load(model, device=device)


def row(result: dict[str, Any]) -> dict[str, Any]:
    """What the worklist shows of a ``result.json``: why this case stands where it does."""
    regions = result["components"]
    reasons = [
        f"{each['volume_mm3']:,.0f} mm³ at {', '.join(f'{value:.0f}' for value in each['centre_mm'])}"
        for each in regions[:3]
    ]
    if len(regions) > len(reasons):
        reasons.append(f"{len(regions) - len(reasons)} more")
    return {
        "model": result["model"].get("name", ""),
        "score": result["score"],
        "p": result["p"],
        "regions": len(regions),
        "largest_mm3": regions[0]["volume_mm3"] if regions else 0.0,
        "reason": "; ".join(reasons),
        "warnings": "; ".join(result["warnings"]),
    }


def main() -> None:
    """Run as ``python -m aberra.server.worker``, with the settings as JSON on standard input, where
    no list of processes shows the database's password.
    """
    from json import load

    from aberra.server.settings import Settings

    given = load(sys.stdin)
    parent = given.pop("parent")
    work(Settings(data=Path(given.pop("data")), **given), parent=parent)


if __name__ == "__main__":
    main()

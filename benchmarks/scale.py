"""What sharing a cohort out brings and costs on this machine.

    python benchmarks/scale.py throughput --out benchmarks/results/scale-throughput.csv
    python benchmarks/scale.py memory --out benchmarks/results/scale-memory.csv
    python benchmarks/scale.py finish --out benchmarks/results/scale-finish.csv
    python benchmarks/scale.py killed

``throughput``: ``aberra detect`` on drawn brains by the number of workers and the engine, its start
included; on a machine that does other work, CPU seconds tell more than seconds (Ray's workers are
nobody's children, so theirs are not known). ``memory``: highest resident memory of the process that
shares the work out and of the workers, by the number of cases, which are links to a few tiny scans:
what is measured is what a case costs that is not its voxels. ``finish``: seconds and memory of
``scores.csv``, which is made of all results at the end, of that many links to one result.
``killed``: a worker is killed in the middle of a run on Ray; prints how many cases are lost (none
may be). The load average stands in every row.
"""

from __future__ import annotations

import argparse
import json
import os
import resource
import signal
import subprocess
import sys
import tempfile
import threading
import time
from datetime import UTC, datetime
from pathlib import Path
from time import perf_counter

import numpy as np
from table import commit, save, show

from aberra.benchmark.machine import machine
from aberra.cohort import Cohort
from aberra.detector import Detector
from aberra.files import read_mark
from aberra.method import Method
from aberra.output import claim
from aberra.synthesis import write_cohort
from aberra.volume import Volume

METHOD = "intensity-unfiltered"
EDGE = 8
"""Voxels of a tiny scan along an axis."""
KINDS = 10
"""Tiny scans that differ."""
WAIT = 0.25
"""Seconds between two looks at memory, and at what is there."""


def children(pid: int) -> list[int]:
    """The process and all that it has started, by Linux' own tables."""
    parents: dict[int, list[int]] = {}
    for each in Path("/proc").glob("[0-9]*/stat"):
        try:
            text = each.read_text()
        except OSError:
            continue
        parents.setdefault(int(text.rpartition(")")[2].split()[1]), []).append(int(each.parent.name))
    found, open_ = [], [pid]
    while open_:
        found.append(open_.pop())
        open_ += parents.get(found[-1], [])
    return found


def resident(pid: int) -> float:
    """MiB that a process holds in memory now; 0 where it has ended."""
    try:
        pages = int(Path(f"/proc/{pid}/statm").read_text().split()[1])
    except (OSError, IndexError):
        return 0.0
    return pages * os.sysconf("SC_PAGE_SIZE") / 2**20


def is_worker(pid: int) -> bool:
    """Whether a process does jobs: a task of Ray's, or a Python of the engine ``processes``."""
    try:
        words = Path(f"/proc/{pid}/cmdline").read_bytes().decode(errors="replace")
    except OSError:
        return False
    return words.startswith("ray::part") or "aberra.jobs.processes" in words


def watched(process: subprocess.Popen[bytes]) -> tuple[float, float]:
    """Highest MiB of a process until it ends, and of its largest worker."""
    driver = worker = 0.0
    while process.poll() is None:
        driver = max(driver, resident(process.pid))
        others = [pid for pid in children(process.pid)[1:] if is_worker(pid)]
        worker = max([worker, *map(resident, others)])
        time.sleep(WAIT)
    return driver, worker


def detect(model: Path, manifest: Path, out: Path, on: str, workers: int) -> subprocess.Popen[bytes]:
    """Start ``aberra detect``; ``here`` is without an engine."""
    command = [sys.executable, "-m", "aberra", "detect", str(model), str(manifest), "--out", str(out)]
    command += [] if on == "here" else ["--on", on, "--jobs", str(workers)]
    environment = os.environ | {"OMP_NUM_THREADS": "1"}
    return subprocess.Popen(command, stdout=subprocess.DEVNULL, env=environment)


def row(what: str, on: str, workers: int, cases: int, **found: object) -> dict[str, object]:
    """A line of the table; the load is of the last minute."""
    return {
        "what": what, "on": on, "workers": workers, "cases": cases, **found, "load": round(os.getloadavg()[0], 1),
        "machine": machine(), "commit": commit(), "date": datetime.now(UTC).date().isoformat(),
    }  # fmt: skip


def fitted(folder: Path, manifest: Path) -> Path:
    """A detector that costs next to nothing itself."""
    cohort = Cohort.read(manifest)
    Detector.fit(Method.load(METHOD, {"prepare.size": 16}), cohort, out=folder / "model")
    return folder / "model"


def throughput(folder: Path, cases: int) -> list[dict[str, object]]:
    """Cases a second by engine and workers."""
    drawn = {"contrast": "flair", "spacing": 4.0}
    healthy = write_cohort(folder / "healthy", cases=6, seed=5, **drawn)
    brains = write_cohort(folder / "brains", cases=cases, seed=4, **drawn)
    model = fitted(folder, healthy)
    rows = []
    for on, workers in (("here", 1), ("processes", 1), ("processes", 2), ("ray", 1), ("ray", 2)):
        started, before = perf_counter(), resource.getrusage(resource.RUSAGE_CHILDREN)
        done = detect(model, brains, folder / f"{on}-{workers}", on, workers)
        code = done.wait()
        seconds, after = perf_counter() - started, resource.getrusage(resource.RUSAGE_CHILDREN)
        spent = after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime
        rows.append(
            row("throughput", on, workers, cases, seconds=round(seconds, 1), cpu_seconds="" if on == "ray" else round(spent, 1), cases_per_second=round(cases / seconds, 2), exit=code)
        )  # fmt: skip
        show(rows[-1])
    return rows


def many(folder: Path, cases: int) -> Path:
    """A manifest of so many cases, hard links to :data:`KINDS` tiny scans; returns its path."""
    folder.mkdir()
    grid = np.zeros((1, EDGE, EDGE, EDGE), np.float32)
    for kind in range(KINDS):
        grid[:, 1:-1, 1:-1, 1:-1] = 1 + np.random.default_rng(kind).random((EDGE - 2,) * 3)
        Volume(data=grid.copy(), affine=np.diag([2.0, 2, 2, 1])).write(folder / f"kind{kind}.nii.gz")
    lines = ["case,patient,image,label"]
    for index in range(cases):
        name = f"scan{index}.nii.gz"
        os.link(folder / f"kind{index % KINDS}.nii.gz", folder / name)
        lines.append(f"c{index},p{index},{name},0")
    manifest = folder / "manifest.csv"
    manifest.write_text("\n".join(lines) + "\n")
    return manifest


def memory(folder: Path, counts: list[int], on: str, limit: float) -> list[dict[str, object]]:
    """Highest memory by the number of cases; a run that takes longer than ``limit`` seconds is
    ended, and its row says how far it came.
    """
    model = fitted(folder, many(folder / "healthy", 10))
    rows = []
    for cases in counts:
        out = folder / f"out{cases}"
        started = perf_counter()
        process = detect(model, many(folder / f"scans{cases}", cases), out, on, 2)
        stop = threading.Timer(limit, process.send_signal, [signal.SIGINT])
        stop.start()
        driver, worker = watched(process)
        stop.cancel()
        done = sum(1 for _ in out.glob("*/result.json"))
        rows.append(
            row("memory", on, 2, cases, done=done, driver_mb=round(driver), worker_mb=round(worker), seconds=round(perf_counter() - started, 1))
        )  # fmt: skip
        show(rows[-1])
    return rows


FINISH = """
import sys
from pathlib import Path
from time import perf_counter, process_time
from aberra.cohort import Cohort
from aberra.workflows.scores import write_scores

out, started, spent = Path(sys.argv[1]), perf_counter(), process_time()
write_scores(out, Cohort([]), {})
print(perf_counter() - started, process_time() - spent)
"""


def finish(folder: Path, counts: list[int]) -> list[dict[str, object]]:
    """What is done once when all cases are there, by their number."""
    tiny = many(folder / "healthy", KINDS)
    model = fitted(folder, tiny)
    first = folder / "first"
    detect(model, tiny, first, "here", 1).wait()
    made = sorted((first / "c0").iterdir())
    rows = []
    for cases in counts:
        out = folder / f"finish{cases}"
        claim(out, "results", identity=read_mark(first)["identity"])
        for index in range(cases):
            (out / f"c{index}").mkdir()
            for path in made:
                os.link(path, out / f"c{index}" / path.name)
        process = subprocess.Popen([sys.executable, "-c", FINISH, str(out)], stdout=subprocess.PIPE)
        peak, _ = watched(process)
        seconds, spent = map(float, process.communicate()[0].split())
        size = (out / "scores.csv").stat().st_size
        rows.append(
            row(
                "finish", "here", 1, cases, seconds=round(seconds, 1), cpu_seconds=round(spent, 2), peak_mb=round(peak),
                scores_kb=round(size / 1e3), files_of_a_case=len(made),
            )
        )  # fmt: skip
        show(rows[-1])
    return rows


def killed(folder: Path, cases: int) -> list[dict[str, object]]:
    """Kill a worker of Ray's when the first results are there."""
    model = fitted(folder, many(folder / "healthy", 10))
    out = folder / "out"
    process = detect(model, many(folder / "scans", cases), out, "ray", 2)
    while sum(1 for _ in out.glob("*/result.json")) < cases // 10:
        if process.poll() is not None:
            raise SystemExit("it ended before anything could be killed")
        time.sleep(WAIT)
    victim = next(pid for pid in children(process.pid) if is_worker(pid))
    there = sum(1 for _ in out.glob("*/result.json"))
    os.kill(victim, signal.SIGKILL)
    code = process.wait()
    results = [json.loads(path.read_text())["case"] for path in out.glob("*/result.json")]
    found = row(
        "killed", "ray", 2, cases, there=there, exit=code, lost=cases - len(set(results)),
        scores=len((out / "scores.csv").read_text().splitlines()) - 1,
    )  # fmt: skip
    show(found)
    return [found]


def main() -> None:
    """Read the command line, measure, print and write the table."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("what", choices=("throughput", "memory", "finish", "killed"))
    parser.add_argument(
        "--cases", type=int, nargs="+", help="24; of memory and finish 100 1000 10000; of killed 60"
    )
    parser.add_argument("--on", default="processes", help="of memory")
    parser.add_argument("--limit", type=float, default=600, help="most seconds of a run of memory")
    parser.add_argument("--out", type=Path, help="CSV")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as place:
        folder = Path(place)
        if options.what == "throughput":
            rows = throughput(folder, (options.cases or [24])[0])
        elif options.what == "memory":
            rows = memory(folder, options.cases or [100, 1000, 10_000], options.on, options.limit)
        elif options.what == "finish":
            rows = finish(folder, options.cases or [100, 1000, 10_000])
        else:
            rows = killed(folder, (options.cases or [60])[0])
    save(rows, options.out)


if __name__ == "__main__":
    main()

"""The long run: ``scripts/fuzz [--count N] [--seed S] [--target NAME] [--out DIR] [--resume]``."""

from __future__ import annotations

import argparse
import json
import sys
import tempfile
import time
from multiprocessing import get_context
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parents[1]))

from fuzz.engine import campaign
from fuzz.targets import BY_NAME

PART = 100


def _part(job):
    name, seed, start, stop, out = job
    with tempfile.TemporaryDirectory() as scratch:
        tally = campaign(BY_NAME[name], seed, range(start, stop), scratch, keep=out)
    return name, start, [tally.accepted, tally.refused, [[index, came] for index, came in tally.crashed]]


def main():
    """Run what is left of a campaign, keep a count after each part, print the table."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--count", type=int, default=100_000, help="inputs over all targets")
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--target", action="append", choices=sorted(BY_NAME))
    parser.add_argument(
        "--out", type=Path, default=Path("fuzz-out"), help="counts, and the inputs that crash"
    )
    parser.add_argument("--workers", type=int, default=2)
    options = parser.parse_args()
    names = options.target or list(BY_NAME)
    options.out.mkdir(parents=True, exist_ok=True)
    kept = options.out / f"seed-{options.seed}.json"
    done = json.loads(kept.read_text()) if kept.is_file() else {}
    each = -(-options.count // len(names))
    jobs = [
        (name, options.seed, start, min(start + PART, each), options.out)
        for start in range(0, each, PART)
        for name in names
        if str(start) not in done.get(name, {})
    ]
    began = time.monotonic()
    with get_context("spawn").Pool(options.workers, maxtasksperchild=50) as pool:
        for count, (name, start, came) in enumerate(pool.imap_unordered(_part, jobs), start=1):
            done.setdefault(name, {})[str(start)] = came
            kept.write_text(json.dumps(done))
            left = (time.monotonic() - began) / count * (len(jobs) - count)
            print(
                f"\r{count}/{len(jobs)} parts, {left / 60:.0f} min left ", end="", file=sys.stderr, flush=True
            )
    print(f"\n{'target':14}{'inputs':>9}{'accepted':>10}{'refused':>9}{'crashed':>9}")
    total = [0, 0, 0]
    for name in names:
        parts = done.get(name, {}).values()
        row = [
            sum(part[0] for part in parts),
            sum(part[1] for part in parts),
            sum(len(part[2]) for part in parts),
        ]
        total = [a + b for a, b in zip(total, row, strict=True)]
        print(f"{name:14}{sum(row):9}{row[0]:10}{row[1]:9}{row[2]:9}")
    print(f"{'all':14}{sum(total):9}{total[0]:10}{total[1]:9}{total[2]:9}")
    return 1 if total[2] else 0


if __name__ == "__main__":
    sys.exit(main())

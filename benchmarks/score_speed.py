"""Seconds and memory of a method's map on a 155-slice volume of 128² (untrained weights: speed does
not depend on them).

python benchmarks/score_speed.py ae vae-elbo-gradient vae-restoration --out
benchmarks/results/score_speed.csv
"""

from __future__ import annotations

import argparse
from pathlib import Path
from time import perf_counter

import numpy as np
import torch
from table import save, show

from aberra.benchmark.machine import commit, machine, peak_memory
from aberra.detector.windows import Runner
from aberra.method import Method, parse_settings
from aberra.registry import build
from aberra.scores import SmoothedScore

SIZE, DEPTH = 128, 155


def brain() -> tuple[torch.Tensor, torch.Tensor]:
    """A smooth ellipsoid of noise with its mask."""
    rng = np.random.default_rng(0)
    grid = np.stack(np.meshgrid(*[np.linspace(-1, 1, n) for n in (DEPTH, SIZE, SIZE)], indexing="ij"))
    mask = (grid**2).sum(axis=0) < 0.8
    x = (0.6 + 0.1 * rng.standard_normal(mask.shape)) * mask
    return torch.from_numpy(x[None].astype(np.float32)), torch.from_numpy(mask)


def measure(name: str, settings: dict[str, object]) -> dict[str, object]:
    """Time one map."""
    method = Method.load(name, settings)
    torch.manual_seed(0)
    run = Runner(dims=2, size=(SIZE, SIZE))
    model = run.place(build("models", method.model, channels=1, dims=2, size=(SIZE, SIZE))).eval()
    score = SmoothedScore.of(method.score)
    x, mask = brain()
    warm = slice(DEPTH // 2, DEPTH // 2 + 1)
    score(model, x[:, warm], mask[warm], run)
    with peak_memory() as peak:
        started = perf_counter()
        score(model, x, mask, run)
        seconds = perf_counter() - started
    return {
        "method": name,
        "score": ", ".join(f"{key}={value}" for key, value in method.score.items()),
        "seconds": round(seconds, 2),
        "slices_per_second": round(DEPTH / seconds, 1),
        "peak_mb": peak.mb,
        "threads": torch.get_num_threads(),
        "machine": machine(),
        "commit": commit(),
    }


def main() -> None:
    """Measure the methods named and print a row each."""
    options = argparse.ArgumentParser(description=__doc__)
    options.add_argument("methods", nargs="+")
    options.add_argument("--set", dest="settings", action="append", default=[])
    options.add_argument("--out", type=Path)
    given = options.parse_args()
    rows = []
    for name in given.methods:
        rows.append(measure(name, parse_settings(given.settings)))
        show(rows[-1])
    save(rows, given.out)


if __name__ == "__main__":
    main()

"""Step time of the 3-D segmenter on this machine's GPU, by batch size and compilation.

    python benchmarks/gpu.py --out benchmarks/results/gpu.csv

A step is loss (bf16), gradient and optimiser on random volumes that are there already, so nothing
of it is drawing. Rows are medians of ``--rounds`` steps after three that warm up (and compile).
"""

from __future__ import annotations

import argparse
import statistics
from datetime import UTC, datetime
from pathlib import Path
from time import perf_counter
from typing import TYPE_CHECKING

import torch
from table import save, show

from aberra.batch import Batch
from aberra.benchmark.machine import commit, machine, peak_memory
from aberra.devices import choose_device
from aberra.method import Method
from aberra.registry import build

if TYPE_CHECKING:
    from collections.abc import Sequence

METHOD = "synthetic-lesions-atlas"
MAPS = 3


def steps(
    batch: int, size: Sequence[int], device: torch.device, *, compiled: bool, rounds: int
) -> list[float]:
    """Seconds of each step."""
    model = build("models", Method.load(METHOD).model, channels=1, dims=3, size=size).to(device)
    if compiled:
        model.compile()
    optimizer = torch.optim.AdamW(model.parameters(), lr=1e-4)
    x = torch.rand(batch, 1 + MAPS, *size, device=device)
    truth = (torch.rand(batch, 1, *size, device=device) > 0.98).float()
    samples = Batch(x, torch.ones_like(truth), torch.Generator(device), truth)
    seconds = []
    for _ in range(3 + rounds):
        started = perf_counter()
        with torch.autocast(device.type, torch.bfloat16):
            loss = model.loss(samples)["loss"]
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        if device.type == "cuda":
            torch.cuda.synchronize(device)
        seconds.append(perf_counter() - started)
    return seconds[3:]


def main() -> None:
    """Read the command line, measure, print and write the table."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--batches", type=int, nargs="+", default=[1, 4, 8])
    parser.add_argument("--size", type=int, nargs=3, default=[80, 96, 80], help="of a patch, voxels")
    parser.add_argument("--rounds", type=int, default=10)
    parser.add_argument("--device", default="auto")
    parser.add_argument("--out", type=Path, help="CSV")
    options = parser.parse_args()
    device = choose_device(options.device)
    rows = []
    for compiled in (False, True):
        for batch in options.batches:
            with peak_memory() as peak:
                seconds = statistics.median(
                    steps(batch, options.size, device, compiled=compiled, rounds=options.rounds)
                )
            rows.append({
                "model": METHOD, "batch": batch, "compiled": int(compiled), "step_ms": round(1e3 * seconds, 1),
                "images_per_second": round(batch / seconds, 1), "peak_mb": peak.mb, "machine": machine(), "commit": commit(),
                "date": datetime.now(UTC).date().isoformat(),
            })  # fmt: skip
            show(rows[-1])
    save(rows, options.out)


if __name__ == "__main__":
    main()

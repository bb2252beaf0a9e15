"""Exact voxel AP: aberra's streaming histogram against scikit-learn, on the same voxels, each in
its own process.

    python benchmarks/voxel_metrics.py [--voxels 100000000] [--positives 0.01]

The last line is ``ratio=… error=… peak_mb=…``: scikit-learn's seconds over ours, the difference of
the two APs, and the peak memory of our process.
"""

from __future__ import annotations

import argparse
import json
import resource
import subprocess
import sys
import tempfile
from pathlib import Path
from time import perf_counter

import numpy as np

CHUNK = 5_000_000


def make(folder: Path, voxels: int, share: float) -> None:
    """Write gamma-distributed scores (anomalous voxels score higher) and their truth."""
    rng = np.random.default_rng(0)
    scores = np.lib.format.open_memmap(folder / "scores.npy", "w+", np.float32, (voxels,))
    truth = np.lib.format.open_memmap(folder / "truth.npy", "w+", bool, (voxels,))
    for start in range(0, voxels, CHUNK):
        stop = min(start + CHUNK, voxels)
        marks = rng.random(stop - start) < share
        scores[start:stop] = rng.standard_gamma(2.0, stop - start).astype(np.float32) * np.where(
            marks, 0.15, 0.05
        )
        truth[start:stop] = marks


def ours(folder: Path) -> float:
    """AP by the streaming histogram."""
    from aberra.metrics.voxel import VoxelHistogram

    scores, truth = (np.load(folder / f"{name}.npy", mmap_mode="r") for name in ("scores", "truth"))
    histogram = VoxelHistogram()
    for start in range(0, scores.size, CHUNK):
        histogram.add(np.asarray(scores[start : start + CHUNK]), np.asarray(truth[start : start + CHUNK]))
    curve = histogram.curve()
    print(
        f"aberra: AP {curve.ap:.9f}, error bound {curve.error_bound:.2e}, AUROC and best Dice included",
        file=sys.stderr,
    )
    return float(curve.ap or 0)


def theirs(folder: Path) -> float:
    """AP by scikit-learn."""
    from sklearn.metrics import average_precision_score

    return float(average_precision_score(np.load(folder / "truth.npy"), np.load(folder / "scores.npy")))


def measure(which: str, folder: Path) -> dict[str, float]:
    """Run one side in a process of its own."""
    done = subprocess.run(
        [sys.executable, __file__, "--side", which, "--folder", str(folder)],
        stdout=subprocess.PIPE,
        text=True,
        check=True,
    )
    return json.loads(done.stdout)


def main() -> None:
    """Run the benchmark."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--voxels", type=lambda text: int(float(text)), default=100_000_000)
    parser.add_argument("--positives", type=float, default=0.01)
    parser.add_argument("--side", choices=("ours", "theirs"))
    parser.add_argument("--folder", type=Path)
    options = parser.parse_args()
    if options.side:
        side = {"ours": ours, "theirs": theirs}[options.side]
        started = perf_counter()
        ap = side(options.folder)
        peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
        print(json.dumps({"ap": ap, "seconds": perf_counter() - started, "peak_mb": peak}))
        return
    with tempfile.TemporaryDirectory() as text:
        folder = Path(text)
        make(folder, options.voxels, options.positives)
        mine, other = measure("ours", folder), measure("theirs", folder)
    for name, found in (("aberra", mine), ("scikit-learn", other)):
        print(f"{name}: AP {found['ap']:.9f}, {found['seconds']:.1f} s, {found['peak_mb']:.0f} MB")
    error = abs(mine["ap"] - other["ap"])
    print(f"ratio={other['seconds'] / mine['seconds']:.1f} error={error:.2e} peak_mb={mine['peak_mb']:.0f}")


if __name__ == "__main__":
    main()

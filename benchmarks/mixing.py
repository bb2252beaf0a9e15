"""How much plain brightness to add to a lesion network's log-odds: voxel AP on drawn cases of heads
that were not trained on.

    python benchmarks/mixing.py method.toml:weights.safetensors --anatomy DIR [--contrast flair]
        [--cases 24]

Lesions are of every profile in turn; the weight is of ``score.intensity``. Nothing here sees a real
scan.
"""

from __future__ import annotations

import argparse
from dataclasses import replace
from pathlib import Path

import numpy as np
from shipped import average_precision, detector_of

WEIGHTS = (0.0, 0.5, 1.0, 2.0, 3.0, 4.0, 6.0)


def main() -> None:
    """Print mean AP by profile and weight."""
    import torch

    from aberra.synthesis.anatomy import Anatomy, held_out
    from aberra.synthesis.heads import draw_head, render_head
    from aberra.synthesis.profiles import profiles

    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("what")
    parser.add_argument("--anatomy", type=Path, required=True)
    parser.add_argument("--contrast", default="flair")
    parser.add_argument("--cases", type=int, default=24)
    options = parser.parse_args()
    torch.set_num_threads(1)
    detector = detector_of(options.what, options.contrast)
    anatomies = [Anatomy.read(path) for path in held_out(options.anatomy)]
    names = sorted(profiles())
    found: dict[str, list[list[float]]] = {name: [] for name in names}
    for number in range(options.cases):
        name = names[number % len(names)]
        rng = np.random.default_rng([7, number])
        head = draw_head(rng, options.contrast, [name])
        scan = render_head(head, anatomies[number % len(anatomies)], 1.0)
        if not scan.lesion.any():
            continue
        row = []
        for weight in WEIGHTS:
            score = detector.method.score | {"intensity": weight}
            analysis = detector.asking(replace(detector.method, score=score)).analyse(scan)
            row.append(average_precision(analysis.map[analysis.inside], scan.lesion[analysis.inside]))
        found[name].append(row)
    print(f"{'weight':14s}" + "".join(f"{weight:8g}" for weight in WEIGHTS))
    for name, rows in found.items():
        if rows:
            print(f"{name:14s}" + "".join(f"{value:8.3f}" for value in np.mean(rows, axis=0)))
    everything = np.array([row for rows in found.values() for row in rows])
    print(f"{'mean':14s}" + "".join(f"{value:8.3f}" for value in everything.mean(axis=0)))


if __name__ == "__main__":
    main()

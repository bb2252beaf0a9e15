"""How the median filter's edge serves lesions of each size: AP of brightness on synthetic FLAIR
lesions, never on real ones.

    python benchmarks/median.py [--cases 8] [--spacing 1.0 1.6]

Prints a table: rows are edges in mm, columns the radius of the lesions and the grid.
"""

from __future__ import annotations

import argparse
from statistics import mean

import numpy as np

RADII = ((1.0, 2.0), (2.0, 4.0), (4.0, 10.0))
EDGES = (0.0, 2.0, 3.0, 4.0, 5.0, 8.0)


def main() -> None:
    """Run and print."""
    from sklearn.metrics import average_precision_score

    from aberra.detector.postprocess import PostProcess
    from aberra.prepare.normalise import Normalise
    from aberra.synthesis.lesions import draw_lesion, plant
    from aberra.synthesis.phantom import draw_phantom, render

    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--cases", type=int, default=4)
    parser.add_argument("--spacing", type=float, nargs="+", default=[1.0, 1.6])
    options = parser.parse_args()
    found: dict[tuple[float, float, tuple[float, float]], list[float]] = {}
    for spacing in options.spacing:
        for case in range(options.cases):
            whole = render(draw_phantom(11, case, "flair"), spacing)
            slab = slice(round(60 / spacing), round(110 / spacing))  # 50 mm of it, for time
            healthy = whole.with_(data=whole.data[..., slab], mask=whole.mask[..., slab])
            for radii in RADII:
                rng = np.random.default_rng([11, case, round(10 * radii[0])])
                scan, truth = healthy, np.zeros(healthy.shape, dtype=bool)
                for _ in range(8):
                    lesion = draw_lesion(scan, rng, sources=("hyper",), radius_mm=radii)
                    scan = plant(scan, lesion)[0]
                    truth |= scan.lesion
                bright = Normalise(method="equalise")(scan)
                for edge in EDGES:
                    processing = PostProcess(median_mm=edge)
                    inside = processing.inside(bright)
                    cleaned = processing.clean(bright.data[0], inside, bright.spacing)
                    score = average_precision_score(truth[inside], cleaned[inside])
                    found.setdefault((edge, spacing, radii), []).append(float(score))
    columns = [(spacing, radii) for spacing in options.spacing for radii in RADII]
    print("| median, mm | " + " | ".join(f"{low:g}–{high:g} mm at {step:g} mm" for step, (low, high) in columns) + " |")  # fmt: skip
    print("|---|" + "---|" * len(columns))
    for edge in EDGES:
        print(f"| {edge:g} | " + " | ".join(f"{mean(found[edge, *column]):.3f}" for column in columns) + " |")


if __name__ == "__main__":
    main()

"""What one line of code reaches: case AUROC of file size, mean and standard deviation, and slice
AUROC of position.

    python benchmarks/trivial_baselines.py MANIFEST [--split test]

Print them beside a model: on some cohorts they separate the classes by themselves.
"""

from __future__ import annotations

import argparse

import numpy as np


def main() -> None:
    """Run and print."""
    from aberra.cohort import Cohort
    from aberra.metrics.case import auroc
    from aberra.prepare.orient import Orient

    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("manifest")
    parser.add_argument("--split")
    options = parser.parse_args()
    cohort = Cohort.read(options.manifest)
    cases = cohort.select(split=options.split) if options.split else cohort
    labels, found = [], {"file size": [], "mean": [], "standard deviation": []}
    slices, positions = [], []
    for case in cases:
        scan = Orient()(case.read(list(case.channels)[:1]))
        labels.append(case.label)
        path = next(iter(case.channels.values()))
        found["file size"].append(path.stat().st_size)
        found["mean"].append(float(scan.data.mean()))
        found["standard deviation"].append(float(scan.data.std()))
        if scan.lesion is not None and not scan.is_image:
            touched = scan.lesion.any(axis=(1, 2))
            slices += touched.tolist()
            positions += (-np.abs(np.linspace(-0.5, 0.5, len(touched)))).tolist()
    for name, values in found.items():
        area = auroc(values, labels)
        if area is not None:
            print(
                f"case AUROC of {name}: {area:.3f} (n = {len(labels)}; {max(area, 1 - area):.3f} whichever way)"
            )
    if slices:
        print(
            f"slice AUROC of closeness to the middle: {auroc(positions, slices):.3f} (n = {len(slices)} slices)"
        )


if __name__ == "__main__":
    main()

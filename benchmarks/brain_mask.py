"""What trimming deepbet's brain mask brings: agreement with given masks, what is cut off, and what of
lesions.

    python benchmarks/brain_mask.py heads DATA/ixi/heads [--slices 6]
    python benchmarks/brain_mask.py lesions DATA/lgg/manifest.csv [--split test]
    python benchmarks/brain_mask.py cut SCAN ...

``heads`` reads pairs NAME_t1.nii.gz and NAME_mask.nii.gz; with ``--slices`` they are averaged to
slices of so many millimetres first. ``cut`` says how large the mask is before and after.
"""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from aberra.volume import Volume


def both(volume: Volume) -> tuple[NDArray[np.bool], NDArray[np.bool]]:
    """Masks of shape (D, H, W): deepbet's, and the trimmed one."""
    from aberra.prepare.deepbet import extract

    return extract(volume, trim=False), extract(volume)


def sliced(volume: Volume, step: float) -> Volume:
    """The same head in thicker slices along S."""
    from aberra.prepare.orient import Orient

    turned = Orient(to="SPL")(volume)
    count = max(1, round(step / turned.spacing[0]))
    planes = len(turned.data[0]) // count * count
    thick = [array[:planes].reshape(-1, count, *array.shape[1:]).mean(axis=1) for array in turned.data]
    mask = turned.mask[:planes].reshape(-1, count, *turned.mask.shape[1:]).mean(axis=1) > 0.5
    affine = turned.affine @ np.diag([count, 1, 1, 1])
    affine[:3, 3] += turned.affine[:3, 0] * (count - 1) / 2
    return turned.with_(data=np.stack(thick), mask=mask, affine=affine)


def heads(folder: Path, step: float) -> None:
    """Dice with the given masks."""
    from aberra.io import read
    from aberra.metrics.voxel import Overlap

    rows = []
    for path in sorted(folder.glob("*_t1.nii.gz")):
        mask = read(path.with_name(path.name.replace("_t1", "_mask"))).data[0] > 0
        volume = read(path).with_(mask=mask)
        volume = sliced(volume, step) if step else volume
        rows.append([Overlap.of(found, volume.mask).dice for found in both(volume)])
        print(f"{path.name}: Dice {rows[-1][0]:.4f}, trimmed {rows[-1][1]:.4f}", flush=True)
    print(f"{len(rows)} heads: mean {np.mean(rows, axis=0).round(4)}, lowest {np.min(rows, axis=0).round(4)}")


def lesions(manifest: Path, split: str | None) -> None:
    """What is outside the mask of the lesions, and how much is cut off."""
    from aberra.cohort import Cohort

    rows = []
    for case in Cohort.read(manifest).select(split=split):
        volume = case.read(["flair"])
        lesion = volume.lesion
        before, after = both(volume)
        lost = [float((lesion & ~found).sum() / max(lesion.sum(), 1)) for found in (before, after)]
        rows.append([*lost, (before.sum() - after.sum()) * volume.voxel_mm3 / 1000])
        print(f"{case.case}: of the lesion outside {lost[0]:.4f}, trimmed {lost[1]:.4f}; {rows[-1][2]:.1f} ml cut off", flush=True)  # fmt: skip
    found = np.array(rows)
    print(f"{len(found)} scans: outside, mean {found[:, 0].mean():.5f}, trimmed {found[:, 1].mean():.5f}; most lost to trimming {(found[:, 1] - found[:, 0]).max():.4f}; cut off {found[:, 2].mean():.1f} ml, at most {found[:, 2].max():.1f}")  # fmt: skip


def main() -> None:
    """Print a line a scan and the means."""
    import torch

    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("what", choices=("heads", "lesions", "cut"))
    parser.add_argument("paths", type=Path, nargs="+")
    parser.add_argument("--slices", type=float, default=0.0, help="mm")
    parser.add_argument("--split")
    options = parser.parse_args()
    torch.set_num_threads(1)
    if options.what == "heads":
        heads(options.paths[0], options.slices)
    elif options.what == "lesions":
        lesions(options.paths[0], options.split)
    else:
        from aberra.io import read

        for path in options.paths:
            volume = read(path)
            before, after = (mask.sum() * volume.voxel_mm3 / 1000 for mask in both(volume))
            print(f"{path.name}: {before:.0f} ml, trimmed {after:.0f} ml", flush=True)


if __name__ == "__main__":
    main()

"""Small heads with tissue maps, and what anomalies may need, for tests of the challenge."""

from __future__ import annotations

import nibabel as nib
import numpy as np
from PIL import Image
from scipy.ndimage import gaussian_filter

from aberra.mood import Scan
from aberra.volume import Volume

EDGE, MM = 44, 3.0
CORTEX, WHITE, VENTRICLE = 1, 2, 3
LEVELS = np.array([0, 300, 500, 100], dtype=np.float32)
"""Intensities of background and the three."""


def numbers():
    """A tissue map of nested balls, in our numbering."""
    grid = np.indices((EDGE,) * 3) - (EDGE - 1) / 2
    away = np.sqrt((grid**2).sum(axis=0))
    found = np.zeros((EDGE,) * 3, dtype=np.uint8)
    for radius, number in ((20, CORTEX), (16, WHITE), (4, VENTRICLE)):
        found[away < radius] = number
    return found


def head(seed=0):
    """A stripped head with texture and noise, intensities to about 600."""
    labels, rng = numbers(), np.random.default_rng(seed)
    texture = 1 + 0.6 * gaussian_filter(rng.standard_normal(labels.shape), 1.5).astype(np.float32)
    data = LEVELS[labels] * texture + 10 * rng.standard_normal(labels.shape).astype(np.float32)
    data = np.where(labels > 0, np.maximum(data, 1), 0)
    return Volume(data=data[None], affine=np.diag([MM, MM, MM, 1.0]), channels=("t1",))


def labels_file(folder):
    """The tissue map as a file."""
    path = folder / "labels.nii.gz"
    nib.save(nib.Nifti1Image(numbers(), np.diag([MM, MM, MM, 1.0])), path)
    return path


def scan(folder, seed=0):
    """A scaled head with its tissue map."""
    return Scan.of(head(seed), labels_file(folder))


def pictures_folder(folder):
    """A folder with one picture: a ramp with a bright quarter."""
    place = folder / "pictures"
    place.mkdir(exist_ok=True)
    pixels = np.tile(np.arange(64, dtype=np.uint8), (64, 1))
    pixels[:32, :32] = 255
    Image.fromarray(pixels).save(place / "ramp.png")
    return place


def masks_folder(folder):
    """A folder with one lesion mask: a bar."""
    place = folder / "masks"
    place.mkdir(exist_ok=True)
    bar = np.zeros((12, 12, 12), dtype=np.uint8)
    bar[3:9, 4:8, 5:7] = 1
    nib.save(nib.Nifti1Image(bar, np.diag([2.0, 2.0, 2.0, 1.0])), place / "bar.nii.gz")
    return place


def files(folder):
    """What :func:`aberra.mood.draw` takes."""
    return {
        "images": [str(pictures_folder(folder) / "ramp.png")],
        "masks": [str(masks_folder(folder) / "bar.nii.gz")],
    }


def manifest(folder, counts, *, splits=True, labels=False, label=0):
    """Write heads and a manifest; ``counts`` is split to number of cases. Returns its path."""
    rows = ["case,patient,t1,label" + (",split" if splits else "") + (",labels" if labels else "")]
    if labels:
        labels_file(folder)
    number = 0
    for split, count in counts.items():
        for _ in range(count):
            head(number).write(folder / f"scan{number}.nii.gz")
            part = (f",{split}" if splits else "") + (",labels.nii.gz" if labels else "")
            rows.append(f"c{number:02d},p{number:02d},scan{number}.nii.gz,{label}{part}")
            number += 1
    path = folder / "healthy.csv"
    path.write_text("\n".join(rows) + "\n")
    return path

"""A head of nested ellipsoids as a label map, in anybody's numbering."""

from __future__ import annotations

import nibabel as nib
import numpy as np

FREESURFER = {1: 3, 2: 2, 3: 4, 4: 24, 8: 10, 10: 12, 15: 31, 20: 165}
RIGHT = {3: 42, 2: 41, 4: 43, 10: 49, 12: 51, 31: 63}
DLMUSE = {1: 100, 2: 81, 3: 51, 4: 46, 8: 59, 10: 57, 15: 51, 20: 0}


def structures(edge=56):
    """Our numbers, RAS, (edge, edge, edge), at 3 mm."""
    grid = np.indices((edge,) * 3) - (edge - 1) / 2

    def ball(radius, at=(0, 0, 0), stretch=(1, 1.2, 1)):
        offset = (grid - np.reshape(at, (3, 1, 1, 1))) / np.reshape(stretch, (3, 1, 1, 1))
        return np.sqrt((offset**2).sum(axis=0)) < radius

    found = np.zeros((edge,) * 3, dtype=np.uint8)
    found[ball(23)] = 20
    found[ball(21)] = 4
    found[ball(20)] = 1
    found[ball(17)] = 2
    for side in (-1, 1):
        found[ball(4, (5 * side, 0, 4))] = 3
        found[ball(1.6, (5 * side, -2, 3))] = 15
        found[ball(3, (5 * side, 0, -4))] = 8
        found[ball(3, (10 * side, 0, -4))] = 10
    return found


def renumbered(numbers, table, right=None):
    """Our numbers in another numbering; ``right`` has its values for the right half."""
    out = np.zeros(numbers.shape, dtype=np.int16)
    for ours, theirs in table.items():
        out[numbers == ours] = theirs
    half = out[out.shape[0] // 2 :]
    for left, other in (right or {}).items():
        half[half == left] = other
    return out


def write(path, labels, *, flipped=False):
    """A NIfTI at 3 mm; with ``flipped`` its axes run another way, the head lies the same."""
    affine = np.diag([3.0, 3.0, 3.0, 1.0])
    if flipped:
        labels = labels[::-1, :, ::-1].transpose(1, 2, 0)
        turned = np.zeros((4, 4))
        turned[1, 0], turned[2, 1], turned[0, 2] = 3, -3, -3
        turned[:, 3] = (3 * (labels.shape[2] - 1), 0, 3 * (labels.shape[1] - 1), 1)
        affine = turned
    nib.save(nib.Nifti1Image(labels, affine), path)
    return str(path)

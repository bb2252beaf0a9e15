from __future__ import annotations

import numpy as np
import pytest

from aberra.errors import InputError
from aberra.synthesis import anatomy as a
from aberra.synthesis.landmarks import centres, place, reference


def _head(to_scan):
    """Balls of 6 mm where the reference has its centres, seen through an affine from MNI152 mm to
    scan mm; axes SPL, 2 mm.
    """
    edge = 100
    affine = np.zeros((4, 4))
    affine[2, 0], affine[1, 1], affine[0, 2], affine[3, 3] = 2, -2, -2, 1
    affine[:3, 3] = (edge, edge - 30, -edge + 20)
    index = np.stack(np.meshgrid(*[np.arange(edge)] * 3, indexing="ij"), axis=-1)
    mm = index @ affine[:3, :3].T + affine[:3, 3]
    labels = np.zeros((edge,) * 3, dtype=np.uint8)
    for name, point in reference().items():
        at = (to_scan @ [*point, 1])[:3]
        labels[((mm - at) ** 2).sum(axis=-1) < 36] = int(name.split("-")[0])
    return labels, affine


def test_a_head_is_placed_where_it_lies():
    angle = 0.15
    wanted = np.diag([1.1, 0.95, 1.05, 1.0])
    wanted[:2, :2] = wanted[:2, :2] @ [[np.cos(angle), -np.sin(angle)], [np.sin(angle), np.cos(angle)]]
    wanted[:3, 3] = (4, -7, 9)

    matrix = place(*_head(wanted))

    for point in ((0, 0, 0), (40, -60, 30), (-30, 50, -20)):
        there, expected = ((m @ [*point, 1])[:3] for m in (matrix, wanted))
        assert np.linalg.norm(there - expected) < 4.0


def test_sides_are_told_apart_and_parts_belong_to_their_whole():
    labels, affine = _head(np.eye(4))
    named = centres(labels, affine)
    assert named[f"{a.PUTAMEN}-left"][0] < -20
    assert named[f"{a.PUTAMEN}-right"][0] > 20
    labels[labels == a.CORTEX] = a.LIMBIC
    np.testing.assert_allclose(centres(labels, affine)[f"{a.CORTEX}-left"], named[f"{a.CORTEX}-left"])


def test_too_little_to_go_by_is_refused():
    labels, affine = _head(np.eye(4))
    labels[labels != a.WHITE] = 0
    with pytest.raises(InputError, match="2 structures with a centre"):
        place(labels, affine)

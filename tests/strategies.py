"""Hypothesis strategies that several tests share."""

from __future__ import annotations

import numpy as np
from hypothesis import strategies as st


@st.composite
def affines(draw):
    """Oblique, flipped, anisotropic, shifted."""
    angles = draw(st.tuples(*[st.floats(-0.6, 0.6)] * 3))
    turn = np.eye(3)
    for axis, angle in enumerate(angles):
        step = np.eye(3)
        a, b = [other for other in range(3) if other != axis]
        step[a, a] = step[b, b] = np.cos(angle)
        step[a, b], step[b, a] = -np.sin(angle), np.sin(angle)
        turn = turn @ step
    spacing = draw(st.tuples(*[st.floats(0.3, 6)] * 3))
    signs = draw(st.tuples(*[st.sampled_from([-1, 1])] * 3))
    order = draw(st.permutations(range(3)))
    affine = np.eye(4)
    affine[:3, :3] = (turn @ np.diag(np.array(spacing) * signs))[:, order]
    affine[:3, 3] = draw(st.tuples(*[st.floats(-200, 200)] * 3))
    return affine

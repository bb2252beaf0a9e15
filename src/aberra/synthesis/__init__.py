"""Phantoms, lesions, artefacts and shifts: drawn first, then applied, so that everything can be
repeated.
"""

from aberra.synthesis.artefacts import ARTEFACTS, artefact
from aberra.synthesis.brats import brats_cohort
from aberra.synthesis.cohort import lesion_cohort, write_cohort
from aberra.synthesis.ellipses import EllipseParameters, draw_ellipses, render_ellipses, write_ellipses
from aberra.synthesis.lesions import draw_lesion, plant
from aberra.synthesis.parameters import LesionParameters
from aberra.synthesis.phantom import CONTRASTS, PhantomParameters, draw_channels, draw_phantom, render
from aberra.synthesis.shifts import SHIFTS, shift

__all__ = [
    "ARTEFACTS", "CONTRASTS", "SHIFTS", "EllipseParameters", "LesionParameters", "PhantomParameters",
    "artefact", "brats_cohort", "draw_channels", "draw_ellipses", "draw_lesion", "draw_phantom",
    "lesion_cohort", "plant", "render", "render_ellipses", "shift", "write_cohort", "write_ellipses",
]  # fmt: skip

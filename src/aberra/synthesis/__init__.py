"""Phantoms, lesions, artefacts and shifts: drawn first, then applied, so that everything can be repeated."""

from aberra.synthesis.artefacts import ARTEFACTS, artefact
from aberra.synthesis.cohort import lesion_cohort, write_cohort
from aberra.synthesis.lesions import LesionParameters, draw_lesion, plant
from aberra.synthesis.phantom import CONTRASTS, PhantomParameters, draw_phantom, render
from aberra.synthesis.shifts import SHIFTS, shift

__all__ = [
    "ARTEFACTS",
    "CONTRASTS",
    "SHIFTS",
    "LesionParameters",
    "PhantomParameters",
    "artefact",
    "draw_lesion",
    "draw_phantom",
    "lesion_cohort",
    "plant",
    "render",
    "shift",
    "write_cohort",
]

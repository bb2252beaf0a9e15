"""Densities of feature vectors, and of feature maps: one file a density.

Names are in :mod:`aberra.registry`.
"""

from aberra.densities.density import Density
from aberra.densities.map_density import MapDensity

__all__ = ["Density", "MapDensity"]

"""Densities of feature vectors: one file a density.

Names are in :mod:`aberra.registry`.
"""

from aberra.densities.density import Density

__all__ = ["Density"]

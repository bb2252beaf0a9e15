"""From a scan on its own grid to the model's common grid, and back."""

from aberra.prepare.cache import PreparedCohort, prepare_cohort
from aberra.prepare.grid import back, resample_to
from aberra.prepare.plan import plan
from aberra.prepare.recipe import Recipe

__all__ = ["PreparedCohort", "Recipe", "back", "plan", "prepare_cohort", "resample_to"]

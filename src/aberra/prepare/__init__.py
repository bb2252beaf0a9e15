"""From a scan on its own grid to the model's common grid, and back."""

from aberra.prepare.cache import PreparedCohort, prepare_cohort
from aberra.prepare.grid import back, resample_to
from aberra.prepare.plan import checked_wishes, plan
from aberra.prepare.recipe import Recipe

__all__ = ["PreparedCohort", "Recipe", "back", "checked_wishes", "plan", "prepare_cohort", "resample_to"]

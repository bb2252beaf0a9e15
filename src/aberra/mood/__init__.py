"""A challenge like MOOD (Zimmerer et al. 2022): test sets, scores, rankings and submissions."""

from aberra.mood.anomaly import Anomaly, draw
from aberra.mood.apply import apply, difficulty
from aberra.mood.folder import replayed
from aberra.mood.make import contaminated_set, make_set, sweep_set
from aberra.mood.scan import Scan
from aberra.mood.taxonomy import CATEGORIES, FAMILIES, chosen, taxonomy

__all__ = [
    "CATEGORIES", "FAMILIES", "Anomaly", "Scan", "apply", "chosen", "contaminated_set", "difficulty", "draw",
    "make_set", "replayed", "sweep_set", "taxonomy",
]  # fmt: skip

"""Independent jobs, done one after the other, in processes beside each other, or on other machines."""

from aberra.jobs.engine import HERE, Engine, Here, engine
from aberra.jobs.job import Job, share, spread

__all__ = ["HERE", "Engine", "Here", "Job", "engine", "share", "spread"]

"""The one training loop, on Lightning Fabric: any model with a ``loss`` learns here."""

from aberra.training.config import TrainingConfig
from aberra.training.loop import train
from aberra.training.sampling import Sampler

__all__ = ["Sampler", "TrainingConfig", "train"]

"""The settings of a training run: the keys of a method's ``[training]`` table."""

from __future__ import annotations

from dataclasses import dataclass, fields
from math import cos, inf, pi
from typing import TYPE_CHECKING, Any, Self

from aberra.errors import ConfigError, unknown

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

SCHEDULES = ("constant", "cosine", "plateau")
LESION_FREE = "lesion-free"
SLICES = ("all", LESION_FREE)
PRECISIONS = ("auto", "32-true", "bf16-mixed")


@dataclass(frozen=True, kw_only=True)
class TrainingConfig:
    """How to learn.

    Attributes:
        steps: most optimiser steps.
        minutes: stop after so much training time, 0 is off; a run that is cut by it cannot be repeated bit for bit.
        batch_size: slices or patches a step and device.
        learning_rate: of Adam, at its peak.
        weight_decay: L2 penalty.
        beta1: Adam's β₁.
        beta2: Adam's β₂.
        amsgrad: Adam's AMSGrad variant.
        schedule: ``constant``, ``cosine`` (to 0 at ``steps``) or ``plateau`` (halved after ``patience`` / 2 evaluations
            without improvement, 5 where ``patience`` is off).
        warmup: steps over which the learning rate rises linearly.
        ema: decay of the exponential moving average of the weights, below 1; 0 is off. Early on it is at most t / (t + 9).
        clip: largest gradient norm; 0 is off.
        patience: stop after so many evaluations without improvement of the validation loss; 0 is off. The study stops
            after 5 epochs (Baur et al. 2021).
        min_delta: what counts as improvement; the study's 1e-9.
        validate_every: steps between evaluations; 0 is once an epoch, at most every 500 and at least every 50 steps.
        validation_samples: most slices or patches of an evaluation.
        samples: most slices or patches that a model without gradients (PCA, support vectors) learns from.
        checkpoint_every: steps between checkpoints.
        log_every: steps between lines of ``metrics.jsonl``.
        slices: ``all`` or ``lesion-free`` (slices or patches with lesion voxels are never drawn, except for
            models that learn from them).
        balance: share of the samples drawn where lesions are, for models that learn from them; 0 takes samples as they come.
        min_foreground: slices with a smaller share of foreground are left out.
        flip: probability of mirroring left and right.
        gain: largest relative change of intensity, drawn a sample.
        gamma: largest absolute log γ of an intensity curve x^γ on [0, 1], drawn a sample.
        precision: ``auto`` (bf16 on CUDA, else 32 bit), ``32-true`` or ``bf16-mixed``.
        devices: how many devices (DDP above 1).

    Raises:
        ConfigError: a value is out of range.
    """

    steps: int = 2000
    minutes: float = 0.0
    batch_size: int = 16
    learning_rate: float = 1e-4
    weight_decay: float = 0.0
    beta1: float = 0.9
    beta2: float = 0.999
    amsgrad: bool = False
    schedule: str = "constant"
    warmup: int = 0
    ema: float = 0.0
    clip: float = 0.0
    patience: int = 0
    min_delta: float = 1e-9
    validate_every: int = 0
    validation_samples: int = 128
    samples: int = 2048
    checkpoint_every: int = 200
    log_every: int = 10
    slices: str = "all"
    balance: float = 0.0
    min_foreground: float = 0.05
    flip: float = 0.0
    gain: float = 0.0
    gamma: float = 0.0
    precision: str = "auto"
    devices: int = 1

    def __post_init__(self) -> None:
        if self.schedule not in SCHEDULES:
            raise unknown("training.schedule", self.schedule, SCHEDULES)
        if self.slices not in SLICES:
            raise unknown("training.slices", self.slices, SLICES)
        if self.precision not in PRECISIONS:
            raise unknown("training.precision", self.precision, PRECISIONS)
        positive = (
            "steps",
            "batch_size",
            "checkpoint_every",
            "log_every",
            "validation_samples",
            "samples",
            "devices",
        )
        zero_or_more = (
            "minutes",
            "weight_decay",
            "warmup",
            "clip",
            "patience",
            "min_delta",
            "validate_every",
            "gain",
            "gamma",
        )
        checks: list[tuple[tuple[str, ...], Callable[[float], bool], str]] = [
            (positive, lambda value: value >= 1, "1 or more"),
            (("learning_rate",), lambda value: 0 < value < inf, "a number above 0"),
            (zero_or_more, lambda value: 0 <= value < inf, "0 or more"),
            (("flip", "min_foreground", "balance"), lambda value: 0 <= value <= 1, "a number in [0, 1]"),
            (("beta1", "beta2", "ema"), lambda value: 0 <= value < 1, "a number in [0, 1)"),
        ]
        for names, fits, expected in checks:
            for name in names:
                if not fits(getattr(self, name)):
                    raise ConfigError(f"training.{name}={getattr(self, name)}; expected {expected}")

    @classmethod
    def from_dict(cls, options: Mapping[str, Any]) -> Self:
        """Build from a method's table.

        Raises:
            ConfigError: unknown key (nearest named) or a value of the wrong type.
        """
        kinds = {each.name: type(each.default) for each in fields(cls)}
        for key, value in options.items():
            if key not in kinds:
                raise unknown("option of [training]:", key, kinds)
            wanted = (int, float) if kinds[key] is float else (kinds[key],)
            if not isinstance(value, wanted) or (isinstance(value, bool) and kinds[key] is not bool):
                raise ConfigError(f"training.{key}={value!r}; expected {kinds[key].__name__}")
        return cls(**options)

    @property
    def plateau(self) -> int:
        """Evaluations without improvement after which the plateau schedule halves the learning rate."""
        return max(1, self.patience // 2) if self.patience else 5

    def rate(self, step: int, cuts: int = 0) -> float:
        """Learning rate of a step (from 0); a plain function, so that resuming needs no scheduler state.

        Args:
            step: the step about to be taken.
            cuts: how often the plateau schedule has halved it.
        """
        rate = self.learning_rate
        if step < self.warmup:
            rate *= (step + 1) / self.warmup
        elif self.schedule == "cosine":
            rate *= 0.5 * (1 + cos(pi * (step - self.warmup) / max(1, self.steps - self.warmup)))
        elif self.schedule == "plateau":
            rate *= 0.5**cuts
        return rate

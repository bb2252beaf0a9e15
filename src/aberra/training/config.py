"""The settings of a training run: the keys of a method's ``[training]`` table."""

from __future__ import annotations

from dataclasses import dataclass
from math import cos, pi
from typing import TYPE_CHECKING, Annotated, Any, Literal, Self

from aberra.options import (
    Count,
    Maybe,
    NotNegative,
    Positive,
    Share,
    ShareBelowOne,
    Within,
    checked,
)

if TYPE_CHECKING:
    from collections.abc import Mapping

LESION_FREE = "lesion-free"
"""Of ``slices``."""


@dataclass(frozen=True, kw_only=True)
class TrainingConfig:
    """How to learn.

    Attributes:
        start: weights to start from instead of drawn ones: a detector's folder, the name of a
            shipped one, or a ``.safetensors`` file. Tensors whose names and shapes agree are taken;
            the encoder's are found whatever is built around it. Empty is off.
        teacher: detector whose findings are learnt where nobody has outlined lesions, of models that
            learn from these (:mod:`aberra.workflows.teacher`): a detector's folder, the name of a
            shipped one, or a method that learns nothing. Empty is off.
        threshold: protocol of the teacher's calibration above which a voxel is lesion; empty is its
            default.
        doubt: protocol of a lower threshold, above which a voxel is undecided; empty is off.
        regions: a region above ``doubt`` that reaches above ``threshold`` is lesion as a whole.
        outlined: training patients, in their order, whose outlines are used where there is a
            teacher; those of the others, and of validation, are not. None uses all.
        steps: most optimiser steps.
        minutes: stop after so much training time, 0 is off; a run with it cannot be repeated bit
            for bit.
        batch_size: slices or patches that are seen at once, by all devices together.
        accumulate: batches whose mean gradient makes a step, where a batch of that many samples
            does not fit into memory.
        learning_rate: of Adam, at its peak.
        weight_decay: share λ of a weight, times the learning rate, that a step takes off it
            (AdamW); norms and biases are left alone.
        beta1: Adam's β₁.
        beta2: Adam's β₂.
        amsgrad: Adam's AMSGrad variant.
        schedule: ``constant``, ``cosine`` (to 0 at ``steps`` or ``minutes``) or ``plateau`` (halved
            after ``patience`` / 2 evaluations without improvement, 5 where ``patience`` is off).
        warmup: steps over which the learning rate rises linearly.
        ema: decay of the exponential moving average of the weights, below 1; 0 is off. Early on it
            is at most t / (t + 9).
        clip: largest gradient norm; 0 is off.
        trim: share of a batch, rounded down, that is left out of a step because its samples have the
            highest losses of it (:mod:`aberra.training.trimming`): for training sets of which a
            smaller share is not healthy. Refused for models whose samples have no loss of their own.
            0 is off.
        trim_after: share of the steps after which that begins; before, nothing is learnt that could
            tell what does not belong.
        patience: stop after so many evaluations without improvement of the validation loss; 0 is
            off. The study stops after 5 epochs (Baur et al. 2021).
        min_delta: what counts as improvement; the study's 1e-9.
        validate_every: steps between evaluations; 0 is once an epoch, at most every 500 and at
            least every 50 steps.
        validation_samples: most slices or patches of an evaluation.
        samples: most slices or patches that a model without gradients (PCA, support vectors) learns
            from.
        checkpoint_every: steps between checkpoints.
        log_every: steps between lines of ``metrics.jsonl``.
        slices: ``all`` or ``lesion-free`` (slices or patches with lesion voxels are never drawn,
            except for models that learn from them).
        balance: share of the samples drawn where lesions are, for models that learn from them; 0
            takes samples as they come.
        classes: ``any``, or ``balanced``: as many samples with lesions as without in every batch, for
            models that learn from them; then ``balance`` has no say.
        min_foreground: slices with a smaller share of foreground are left out.
        flip: probability of mirroring left and right.
        gain: largest relative change of intensity, drawn a sample.
        gamma: largest absolute log γ of an intensity curve x^γ on [0, 1], drawn a sample.
        compile: ``on`` compiles the networks by ``torch.compile``, which takes about a minute;
            ``auto`` does on CUDA for 1,000 steps or more, except for models that learn in turns;
            ``off`` never does.
        precision: ``auto`` (bf16 on GPUs that compute in it, else 32 bit), ``32-true`` or
            ``bf16-mixed``.
        devices: how many devices (DDP above 1); ``torchrun`` says itself.

    Raises:
        ConfigError: a value is out of range.

    Examples:
        >>> from aberra.training import TrainingConfig
        >>> config = TrainingConfig(steps=100, schedule="cosine", learning_rate=1e-3)
        >>> [round(config.rate(step), 5) for step in (0, 50, 99)]
        [0.001, 0.0005, 0.0]
    """

    start: str = ""
    teacher: str = ""
    threshold: str = ""
    doubt: str = ""
    regions: bool = False
    outlined: Maybe | None = None
    steps: Count = 2000
    minutes: NotNegative = 0.0
    batch_size: Annotated[int, Within(1, 1 << 16)] = 16
    accumulate: Count = 1
    learning_rate: Positive = 1e-4
    weight_decay: NotNegative = 0.0
    beta1: ShareBelowOne = 0.9
    beta2: ShareBelowOne = 0.999
    amsgrad: bool = False
    schedule: Literal["constant", "cosine", "plateau"] = "constant"
    warmup: Maybe = 0
    ema: ShareBelowOne = 0.0
    clip: NotNegative = 0.0
    trim: ShareBelowOne = 0.0
    trim_after: ShareBelowOne = 0.1
    patience: Maybe = 0
    min_delta: NotNegative = 1e-9
    validate_every: Maybe = 0
    validation_samples: Count = 128
    samples: Count = 2048
    checkpoint_every: Count = 200
    log_every: Count = 10
    slices: Literal["all", "lesion-free"] = "all"
    balance: Share = 0.0
    classes: Literal["any", "balanced"] = "any"
    min_foreground: Share = 0.05
    flip: Share = 0.0
    gain: NotNegative = 0.0
    gamma: NotNegative = 0.0
    compile: Literal["auto", "on", "off"] = "auto"
    precision: Literal["auto", "32-true", "bf16-mixed"] = "auto"
    devices: Count = 1

    def __post_init__(self) -> None:
        checked(type(self), vars(self), "training")

    @classmethod
    def from_dict(cls, options: Mapping[str, Any]) -> Self:
        """Build from a method's table.

        Raises:
            ConfigError: unknown key (nearest named) or a value of the wrong type.
        """
        return cls(**checked(cls, options, "training"))

    @property
    def plateau(self) -> int:
        """Evaluations without improvement after which the plateau schedule halves the learning
        rate.
        """
        return max(1, self.patience // 2) if self.patience else 5

    def rate(self, step: int, cuts: int = 0, spent: float = 0.0) -> float:
        """Learning rate of a step (from 0); a plain function, so that resuming needs no scheduler
        state.

        Args:
            step: the step about to be taken.
            cuts: how often the plateau schedule has halved it.
            spent: share of ``minutes`` that is over, so that a cosine ends with the time.
        """
        rate = self.learning_rate
        if step < self.warmup:
            rate *= (step + 1) / self.warmup
        elif self.schedule == "cosine":
            done = max((step - self.warmup) / max(1, self.steps - self.warmup), spent)
            rate *= 0.5 * (1 + cos(pi * min(1.0, done)))
        elif self.schedule == "plateau":
            rate *= 0.5**cuts
        return rate

"""What a model is shown of a training step."""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

from aberra.errors import TrainingError

if TYPE_CHECKING:
    from torch import Generator, Tensor


class Batch(NamedTuple):
    """Samples to learn from, and what a loss may depend on besides them;
    see :class:`aberra.capabilities.Trains`.

    A named tuple and not a frozen dataclass: Lightning converts the tensors of the former to the
    precision of the run, and refuses the latter.

    Attributes:
        x: intensities, shape (B, C, S).
        mask: foreground, shape (B, 1, S), float 0/1.
        generator: the only source of randomness besides dropout, on ``x``'s device.
        lesion: truth, shape (B, 1, S), of models that learn from lesions,
            see :class:`aberra.capabilities.LearnsFromLesions`
            and :class:`aberra.capabilities.LearnsFromPlanted`.
        healthy: the images before lesions were planted, shape (B, C, S), where the task says
            ``before``.
        turn: whose loss is asked for, of models that learn in turns; empty in validation.
        step: training steps done, 0 in the first one. Validation after step n has n.
        progress: share of the training done, ``step`` over all steps, in [0, 1].
        covariates: what is known of the people, shape (B, K), in the order of the model's
            ``covariates`` and standardised (:mod:`aberra.covariates`), NaN where unknown; None of
            models that learn from none.
        simulated: samples of another domain, shape (B, C, S), of models that learn from them,
            see :class:`aberra.capabilities.LearnsFromSimulated`.

    Examples:
        >>> import torch
        >>> from aberra.batch import Batch
        >>> x, mask = torch.rand(8, 1, 32, 32), torch.ones(8, 1, 32, 32)
        >>> batch = Batch(x, mask, torch.Generator().manual_seed(0), step=3)
        >>> batch.step, batch.lesion is None
        (3, True)
    """

    x: Tensor
    mask: Tensor
    generator: Generator
    lesion: Tensor | None = None
    healthy: Tensor | None = None
    turn: str = ""
    step: int = 0
    progress: float = 0.0
    covariates: Tensor | None = None
    simulated: Tensor | None = None

    @property
    def truth(self) -> Tensor:
        """``lesion``, for models that cannot learn without.

        Raises:
            TrainingError: the samples came without truth.
        """
        if self.lesion is None:
            raise TrainingError(
                "the model learns from lesions, but its samples have no truth; a sampler of your own returns it behind the mask"
            )
        return self.lesion

    @property
    def known(self) -> Tensor:
        """``covariates``, for models that cannot learn without.

        Raises:
            TrainingError: the samples came without.
        """
        if self.covariates is None:
            raise TrainingError(
                "the model learns from covariates, but its samples have none; a sampler of your own returns them last"
            )
        return self.covariates

    @property
    def counterparts(self) -> Tensor:
        """``simulated``, for models that cannot learn without.

        Raises:
            TrainingError: the samples came without.
        """
        if self.simulated is None:
            raise TrainingError(
                "the model learns from simulated samples, too, but there are none; a sampler of your own returns them last"
            )
        return self.simulated

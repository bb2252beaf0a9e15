"""A network that takes lesions out and one that outlines them, side by side."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any, ClassVar

from torch import Tensor, nn

from aberra.capabilities import LearnsFromPlanted, Reconstructs, Segments, Trains
from aberra.errors import TrainingError
from aberra.models.feature_density import learns_alone
from aberra.nets.networks import Choice
from aberra.options import Dims, Edge, Width, configured
from aberra.registry import build, fitting_table

if TYPE_CHECKING:
    from collections.abc import Iterator

    from aberra.batch import Batch


class DenoiserSegmenter(nn.Module):
    """Two networks that learn from the same healthy samples and share no weight: one reconstructs
    them as they are, the other outlines what was planted into them.

    Canon Medical's entry of the MOOD challenge 2020 (Zimmerer et al. 2022, IEEE TMI 41); what is
    made of the two is the score's (:class:`aberra.scores.weighted_sum.WeightedSum`). Both are
    tables, ``name`` and options::

        [model.denoiser]
        name = "dae"

        [model.segmenter]
        name = "anomaly-segmenter"
        label = "binary"

    L is the sum of both losses; as no weight is in both, each learns as it would alone under Adam.

    Args:
        channels: C.
        dims: 2 or 3.
        size: spatial shape S of the input.
        denoiser: a model that reconstructs and has one loss.
        segmenter: a model that outlines lesions and learns from planted ones.

    Raises:
        ConfigError: a model that cannot do what its place asks for, or an option of it that cannot
            be.

    Examples:
        >>> import torch
        >>> from aberra.models.denoiser_segmenter import DenoiserSegmenter
        >>> denoiser, segmenter = {"network": {"width": 4, "depth": 2}}, {"widths": [4, 8]}
        >>> model = DenoiserSegmenter(
        ...     channels=1, size=(16, 16), denoiser=denoiser, segmenter=segmenter
        ... ).eval()
        >>> x = torch.rand(2, 1, 16, 16)
        >>> model.reconstruct(x).shape, next(model.segmentations(x, 1)).shape
        (torch.Size([2, 1, 16, 16]), torch.Size([2, 1, 16, 16]))
    """

    name = "denoiser-segmenter"
    TABLES: ClassVar = {
        "denoiser": ("models", {"name": "dae"}),
        "segmenter": ("models", {"name": "anomaly-segmenter", "label": "binary"}),
    }

    @configured("model")
    def __init__(
        self,
        *,
        channels: Width,
        dims: Dims = 2,
        size: Sequence[Edge],
        denoiser: Choice = None,
        segmenter: Choice = None,
    ) -> None:
        super().__init__()
        of, shape = type(self), {"channels": channels, "dims": dims, "size": size}
        one = fitting_table(of, "denoiser", denoiser, _denoises, expected="a model that reconstructs")
        other = fitting_table(of, "segmenter", segmenter, _outlines, expected="a model of planted lesions")
        self.denoiser = build("models", one, **shape)
        self.segmenter = build("models", other, **shape)
        self.kinds: tuple[int, ...] = getattr(self.segmenter, "kinds", ())

    def reconstruct(self, x: Tensor) -> Tensor:
        """The denoiser's: (B, C, S) to (B, C, S)."""
        image: Tensor = self.denoiser.reconstruct(x)
        return image

    def segmentations(self, x: Tensor, count: int) -> Iterator[Tensor]:
        """The segmenter's, (B, 1, S) each."""
        yield from self.segmenter.segmentations(x, count)

    def task(self) -> dict[str, Any]:
        """What is planted for the segmenter; the denoiser sees what was there before."""
        return {**self.segmenter.task(), "before": True}

    def validation_task(self) -> dict[str, Any]:
        """The same for validation."""
        return {**self.segmenter.validation_task(), "before": True}

    def loss(self, batch: Batch) -> dict[str, Tensor]:
        """Sum of both losses.

        Raises:
            TrainingError: the samples came without those before planting.
        """
        if batch.healthy is None:
            raise TrainingError(
                "the denoiser learns from samples without lesions, but there are none; a sampler of your own returns them behind the truth"
            )
        clean = batch._replace(x=batch.healthy, lesion=None, healthy=None)
        denoising, outlining = self.denoiser.loss(clean)["loss"], self.segmenter.loss(batch)["loss"]
        return {"loss": denoising + outlining, "denoising": denoising, "outlining": outlining}


def _denoises(model: type[Any]) -> bool:
    return issubclass(model, Reconstructs) and learns_alone(model)


def _outlines(model: type[Any]) -> bool:
    """Whether a model outlines what is planted, and is not made of others."""
    needed = all(issubclass(model, each) for each in (Trains, Segments, LearnsFromPlanted))
    return needed and not hasattr(model, "TABLES")

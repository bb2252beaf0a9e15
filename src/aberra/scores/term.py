"""What the model says of a slice as a whole: a term of its objective, a statistic of its residual,
or f-AnoGAN's image score.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Literal

import numpy as np
import torch

from aberra.capabilities import HasCritic, Reconstructs
from aberra.errors import ConfigError
from aberra.options import NotNegative, configured
from aberra.scores import Scored
from aberra.scores.terms import Statistic, needs_of, statistic

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

    from numpy.typing import NDArray
    from torch import Tensor

    from aberra.detector.windows import Runner
    from aberra.volume import Volume

ImageFeature = Literal["image-feature"]
IMAGE_FEATURE: ImageFeature = "image-feature"


class Term:
    """A map that is constant in each slice (2-D), or blended from windows (3-D): the term's value
    there.

    For slice-level detection, and as a second question for the case score:
    ``[case] score = {name = "term", of = "kl"}``, which ``[case] reduce`` then takes the mean,
    maximum, percentile or top share of.

    Args:
        of: ``reconstruction``, ``kl`` or ``elbo`` (:mod:`aberra.scores.terms`), sums over pixels or
            latent dimensions; ``nll``, −log p of the image or its code, or ``bits-per-dim``, the
            same in bits a value of the image; ``l1``, the mean residual in the foreground,
            ``entropy``, how evenly it is spread there
            (:func:`aberra.scores.terms.normalised_entropy`), or ``concentration``, 1 − entropy
            (Heer 2021: a shift of domain spreads the residual, a lesion concentrates it); or
            ``image-feature``, Schlegl et al. 2019: ‖x − x̂‖² / n + κ·‖f(x) − f(x̂)‖² / n_f with the
            critic's features f.
        kappa: κ, by default 1; only with ``image-feature``.

    Raises:
        ConfigError: unknown term, a negative κ, or κ with another term.

    ``kl`` sees an image only in the directions in which healthy ones differ, where noise has
    hardly anything: pure noise can be *less* anomalous to it than the training data (Heer 2021).
    Do not use it alone.
    """

    name = "term"

    @configured("score")
    def __init__(self, *, of: Statistic | ImageFeature = "elbo", kappa: NotNegative | None = None) -> None:
        self.of = of
        if of != IMAGE_FEATURE and kappa is not None:
            raise ConfigError(
                f"score.kappa={kappa:g}: does nothing with of='{of}', only with image-feature; leave it out"
            )
        self.kappa = 1.0 if kappa is None else kappa
        self.needs = (Reconstructs, HasCritic) if of == IMAGE_FEATURE else needs_of(of)

    def __call__(self, model: Any, x: Tensor, mask: Tensor, run: Runner) -> Scored:
        """Score a prepared volume: ``x`` (C, D, H, W), ``mask`` (D, H, W)."""
        return Scored(of_slices(lambda *batch: self._value(model, *batch), x, mask, run).clamp(min=0))

    def _value(self, model: Any, x: Tensor, inside: Tensor) -> Tensor:
        """(B, C, S) and its foreground (B, 1, S) to (B,)."""
        if self.of != IMAGE_FEATURE:
            return statistic(model, x, inside, self.of)
        restored = model.reconstruct(x)
        image = ((x - restored) ** 2).flatten(1).mean(dim=1)
        feature = ((model.features(x) - model.features(restored)) ** 2).flatten(1).mean(dim=1)
        return image + self.kappa * feature  # type: ignore[no-any-return]


def of_slices(values: Callable[[Tensor, Tensor], Tensor], x: Tensor, mask: Tensor, run: Runner) -> Tensor:
    """A map (D, H, W) that has one value in each slice (2-D), or is blended from windows (3-D).

    Args:
        values: images (B, C, S) and their foreground (B, 1, S) to (B,).
        x: the prepared volume, (C, D, H, W).
        mask: its foreground, (D, H, W).
        run: cuts and puts together.
    """

    def spread(batch: Tensor, inside: Tensor) -> Tensor:
        return values(batch, inside).reshape(-1, *[1] * (batch.ndim - 1)).expand(-1, 1, *batch.shape[2:])

    return run(spread, x, mask, also=(mask[None].to(x),))[0]


def slices_of(
    values: Callable[[Tensor, Tensor], Tensor], volumes: Iterable[Volume], run: Runner
) -> NDArray[np.float64]:
    """The values of all slices, or windows, of prepared volumes, read one at a time: (N, ...).

    Args:
        values: images (B, C, S) and their foreground (B, 1, S) to (B, ...).
        volumes: prepared.
        run: cuts.
    """
    found = [np.zeros(0)]
    for volume in volumes:
        x = torch.from_numpy(np.ascontiguousarray(volume.data))
        mask = torch.from_numpy(np.ascontiguousarray(volume.judged))
        for batch, inside in run.windows(x, mask, also=(mask[None].to(x),)):
            with torch.inference_mode():
                part = values(batch.to(run.device), inside.to(run.device))
            found.append(part.double().cpu().numpy())
    return np.concatenate(found[1:] or found)

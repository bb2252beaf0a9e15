"""What a classifier looked at: class activation, Grad-CAM or saliency."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Literal

import torch

from aberra.capabilities import Classifies, ClassifiesFromMaps, ClassifiesFromMeans
from aberra.nets.densenet import enlarged
from aberra.options import configured
from aberra.scores import Scored

if TYPE_CHECKING:
    from torch import Tensor

    from aberra.detector.windows import Runner

NEEDS: dict[str, tuple[type, ...]] = {
    "cam": (ClassifiesFromMeans,),
    "grad-cam": (ClassifiesFromMaps,),
    "saliency": (Classifies,),
}


class Attribution:
    """Where the log-odds y = log p(diseased | x) − log p(healthy | x) of a classifier come from.

    - ``cam``: Zhou, Khosla, Lapedriza, Oliva, Torralba 2016 (arXiv 1512.04150), eq. 2:
      ``max(0, Σₖ wₖ·Fₖ)``, F the last feature maps, whose means a linear layer weighs by w (the
      weights of diseased minus those of healthy), enlarged linearly.
    - ``grad-cam``: Selvaraju et al. 2017 (arXiv 1610.02391), eq. 1 and 2: the same with
      ``wₖ = mean of ∂y/∂Fₖ`` over the map, for any classifier of feature maps; where the layer is
      linear, it is ``cam`` divided by the number of the map's values.
    - ``saliency``: Simonyan, Vedaldi, Zisserman 2014 (arXiv 1312.6034), section 3:
      ``max over channels of |∂y/∂x|``.

    None of them says where a lesion is: they say what moves the answer. A map of a classifier that
    tells slices by their position has nothing to do with lesions.

    Args:
        of: ``cam``, ``grad-cam`` or ``saliency``.

    Deviation: of the log-odds instead of the logit of diseased, which the classifier may shift
    together with that of healthy without changing its answer.
    """

    name = "attribution"

    @configured("score")
    def __init__(self, *, of: Literal["cam", "grad-cam", "saliency"] = "cam") -> None:
        self.of = of
        self.needs = NEEDS[of]

    def __call__(self, model: Any, x: Tensor, mask: Tensor, run: Runner) -> Scored:
        """Score a prepared volume: ``x`` (C, D, H, W), ``mask`` (D, H, W)."""
        found = run(lambda batch: self.map(model, batch), x, mask, grad=self.of != "cam")[0]
        return Scored(found.clamp(min=0))

    def map(self, model: Any, x: Tensor) -> Tensor:
        """(B, C, S) to (B, 1, S). All but ``cam`` need autograd."""
        if self.of == "cam":
            return cam(model, x)
        return grad_cam(model, x) if self.of == "grad-cam" else saliency(model, x)


def cam(model: ClassifiesFromMeans, x: Tensor) -> Tensor:
    """(B, C, S) to (B, 1, S)."""
    healthy, diseased = model.class_weights()
    return _weighted(model.class_maps(x), (diseased - healthy)[None], x)


def grad_cam(model: ClassifiesFromMaps, x: Tensor) -> Tensor:
    """(B, C, S) to (B, 1, S). Needs autograd."""
    maps = model.class_maps(x).detach().requires_grad_()
    (slope,) = torch.autograd.grad(_odds(model.class_logits(maps)).sum(), maps)
    return _weighted(maps.detach(), slope.flatten(2).mean(dim=2), x)


def saliency(model: Classifies, x: Tensor) -> Tensor:
    """(B, C, S) to (B, 1, S). Needs autograd."""
    x = x.detach().requires_grad_()
    (slope,) = torch.autograd.grad(_odds(model.classify(x)).sum(), x)
    return slope.abs().amax(dim=1, keepdim=True)


def _odds(answers: Tensor) -> Tensor:
    """Logits or log-probabilities (B, 2) to (B,)."""
    return answers[:, 1] - answers[:, 0]


def _weighted(maps: Tensor, weights: Tensor, x: Tensor) -> Tensor:
    """``max(0, Σₖ wₖ·Fₖ)`` at the size of x: (B, F, S') and (B or 1, F) to (B, 1, S)."""
    told = (maps * weights[(..., *[None] * (maps.ndim - 2))]).sum(dim=1, keepdim=True)
    return enlarged(told.clamp(min=0), x.shape[2:])

"""Losses that keep a classifier from telling where an image comes from.

Two domains: the target's images and all others.
"""

from __future__ import annotations

from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.func import functional_call

ROUNDS = 5
"""Of spherical k-means; two classes of a batch settle in two or three."""
WIDTHS = (0.25, 0.5, 1.0, 2.0, 4.0)
"""Of the Gaussian kernels, as multiples of the mean squared distance."""


class _Reversed(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, x: Tensor, weight: float) -> Tensor:
        ctx.weight = weight
        return x.view_as(x)

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> tuple[Tensor, None]:
        return -ctx.weight * gradients[0], None


def reversed_gradient(x: Tensor, weight: float) -> Tensor:
    """``x`` itself, any shape, whose gradient is turned round and multiplied by λ ``weight`` (Ganin
    et al. 2016, JMLR 17(59), eq. 17).

    Examples:
        >>> import torch
        >>> from aberra.nets.domains import reversed_gradient
        >>> x = torch.ones(2, requires_grad=True)
        >>> reversed_gradient(x, 0.5).sum().backward()
        >>> x.grad
        tensor([-0.5000, -0.5000])
    """
    found: Tensor = _Reversed.apply(x, weight)  # type: ignore[no-untyped-call]
    return found


def domain_head(features: int) -> nn.Sequential:
    """What tells the two domains apart, (B, K) to logits (B, 2)."""
    return nn.Sequential(nn.Linear(features, features), nn.ReLU(), nn.Linear(features, 2))


def confusion(head: nn.Module, features: Tensor) -> Tensor:
    """Mean cross-entropy of what a head says against a uniform answer (Tzeng et al. 2015, arXiv
    1510.02192, eq. 3); moves the features (B, K), not the head.
    """
    held = {name: parameter.detach() for name, parameter in head.named_parameters()}
    logits: Tensor = functional_call(head, held, (features,))
    return -F.log_softmax(logits.float(), dim=1).mean()


def supervised_contrast(features: Tensor, classes: Tensor, temperature: float) -> Tensor:
    """Contrast of classes (Khosla et al. 2020, arXiv 2004.11362, eq. 2): the mean over i of
    ``−1/|P(i)| Σ_{p ∈ P(i)} log(exp(f_i·f_p / τ) / Σ_{a ≠ i} exp(f_i·f_a / τ))``, P(i) being the
    others of i's class.

    Args:
        features: on the unit sphere, (B, K).
        classes: (B,).
        temperature: τ.
    """
    with torch.autocast(features.device.type, enabled=False):
        alike = features.float() @ features.float().T / temperature
        itself = torch.eye(len(alike), dtype=torch.bool, device=alike.device)
        log_share = alike - alike.masked_fill(itself, -torch.inf).logsumexp(dim=1, keepdim=True)
        positive = (classes[:, None] == classes[None]) & ~itself
        count = positive.sum(dim=1)
        each = -(log_share.masked_fill(~positive, 0.0)).sum(dim=1) / count.clamp(min=1)
        return each.sum() / (count > 0).sum().clamp(min=1)


def class_discrepancy(
    features: Tensor, target: Tensor, source_classes: Tensor, target_classes: Tensor
) -> Tensor:
    """Contrastive domain discrepancy (Kang et al. 2019, CVPR, arXiv 1901.00976, eq. 3 to 5): kernel
    distance of a class to itself in the other domain, less that to the other class.

    D(c, c′) = mean k(s, s) + mean k(t, t) − 2·mean k(s, t), s source features of class c, t target
    features of class c′; classes that a domain lacks in this batch are left out.

    Args:
        features: of the source, (N, K).
        target: of the target, (M, K).
        source_classes: (N,).
        target_classes: (M,).
    """
    both = torch.cat([features, target]).float()
    squares = (both[:, None] - both[None]).square().sum(dim=2)
    scale = squares.detach().mean().clamp(min=1e-6)
    kernel = torch.stack([torch.exp(-squares / (width * scale)) for width in WIDTHS]).mean(dim=0)
    count = len(features)
    same, other = list[Tensor](), list[Tensor]()
    for c in range(2):
        s = torch.nonzero(source_classes == c)[:, 0]
        for c_other in range(2):
            t = count + torch.nonzero(target_classes == c_other)[:, 0]
            if len(s) and len(t):
                within = kernel[s][:, s].mean() + kernel[t][:, t].mean()
                (same if c == c_other else other).append(within - 2 * kernel[s][:, t].mean())
    total = both.sum() * 0
    if same:
        total = total + torch.stack(same).mean()
    if other:
        total = total - torch.stack(other).mean()
    return total


@torch.no_grad()
def clustered(features: Tensor, starts: Tensor) -> Tensor:
    """Classes of features (M, K) on the unit sphere by spherical k-means from ``starts`` (2, K): (M,).

    Examples:
        >>> import torch
        >>> from aberra.nets.domains import clustered
        >>> points = torch.tensor([[1.0, 0.0], [0.0, 1.0], [0.1, 0.99]])
        >>> clustered(points, torch.tensor([[1.0, 0.2], [0.5, 1.0]]))
        tensor([0, 1, 1])
    """
    centres = F.normalize(starts.float(), dim=1)
    found = (features.float() @ centres.T).argmax(dim=1)
    for _ in range(ROUNDS):
        sums = torch.stack([features[found == each].float().sum(dim=0) for each in range(2)])
        centres = torch.where(sums.norm(dim=1, keepdim=True) > 0, F.normalize(sums, dim=1), centres)
        found = (features.float() @ centres.T).argmax(dim=1)
    return found


def means_of(features: Tensor, classes: Tensor) -> Tensor:
    """Sum of the features (N, K) of each class, (2, K), which points to their mean."""
    return torch.stack([features[classes == each].sum(dim=0) for each in range(2)])

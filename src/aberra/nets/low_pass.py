"""A Gaussian low-pass that is exact: what it leaves of each frequency is known in closed form."""

from __future__ import annotations

from math import pi
from typing import TYPE_CHECKING

import torch
from torch import Tensor, nn

if TYPE_CHECKING:
    from collections.abc import Sequence


class LowPass(nn.Module):
    """Blurs images (B, C, S) with a Gaussian of σ pixels; beyond its edges an image is mirrored.

    A mirrored image of edge N is a sum of cosines cos(πk(n + ½) / N), and a Gaussian leaves of
    number k the share

        exp(−½ (σπk / N)²),   k = 0 … N − 1,

    along each axis. So it is done, with the matrix CᵀΛC of an axis, C the orthonormal cosines and Λ
    these shares: no kernel is cut off, the mean of an image stays what it is, and for large σ
    nothing but the mean is left.

    Args:
        size: spatial shape S.
        sigma: σ in pixels; 0 changes nothing.

    Examples:
        >>> import torch
        >>> from aberra.nets.low_pass import LowPass
        >>> x = torch.tensor([[[[0.0, 4.0], [0.0, 4.0]]]])
        >>> LowPass((2, 2), 1000.0)(x).round(decimals=4).flatten().tolist()
        [2.0, 2.0, 2.0, 2.0]
    """

    def __init__(self, size: Sequence[int], sigma: float) -> None:
        super().__init__()
        self.sigma = sigma
        self.dims = len(size)
        for axis, edge in enumerate(size):
            # made of the options alone, so they are no part of what is saved
            self.register_buffer(f"axis_{axis}", _smoother(edge, sigma), persistent=False)

    def forward(self, x: Tensor) -> Tensor:
        """Shape (B, C, S) to (B, C, S)."""
        if not self.sigma:
            return x
        out: Tensor = x
        for axis in range(2, 2 + self.dims):
            out = (out.transpose(axis, -1) @ self.get_buffer(f"axis_{axis - 2}")).transpose(axis, -1)
        return out


def _smoother(edge: int, sigma: float) -> Tensor:
    """CᵀΛC of an axis, (N, N), symmetric; computed in double precision."""
    k = torch.arange(edge, dtype=torch.float64)
    cosines = torch.cos(pi * k[:, None] * (k + 0.5) / edge) * (2 / edge) ** 0.5
    cosines[0] /= 2**0.5
    kept = torch.exp(-0.5 * (sigma * pi * k / edge) ** 2)
    smoother: Tensor = (cosines.T * kept) @ cosines
    return smoother.float()

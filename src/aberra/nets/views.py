"""Random views of an image, for models that learn which two are of the same one."""

from __future__ import annotations

from typing import TYPE_CHECKING

import torch
import torch.nn.functional as F

if TYPE_CHECKING:
    from collections.abc import Callable

    from torch import Generator, Tensor

    Uniform = Callable[..., Tensor]
    """A shape to as many numbers in [0, 1) for each image."""


class Views:
    """A random crop, as large as the image again, rotated, mirrored, brighter or darker and noisy.

    Geometry is one interpolation; what lies beyond the image is as its edge.

    Args:
        scale: least edge of a crop over that of the image; it is uniform up to 1.
        rotation: greatest angle in degrees, within the last two axes.
        gain: greatest relative change of brightness.
        noise: greatest σ of Gaussian noise, in normalised intensities.

    Examples:
        >>> import torch
        >>> from aberra.nets.views import Views
        >>> views = Views(scale=1.0, rotation=0.0, gain=0.5, noise=0.0)
        >>> view = views(torch.ones(1, 1, 8, 8), torch.Generator().manual_seed(0))
        >>> bool(view.std() < 1e-6), bool((view - 1).abs().max() < 0.5)
        (True, True)
    """

    def __init__(self, *, scale: float, rotation: float, gain: float, noise: float) -> None:
        self.scale = scale
        self.rotation = rotation
        self.gain = gain
        self.noise = noise

    def __call__(self, x: Tensor, generator: Generator) -> Tensor:
        """One view of each image, (B, C, S) to (B, C, S)."""

        def uniform(*shape: int) -> Tensor:
            return torch.rand((len(x), *shape), generator=generator, device=x.device, dtype=x.dtype)

        theta = self._placed(x, uniform)
        grid = F.affine_grid(theta, list(x.shape), align_corners=False)
        view = F.grid_sample(x, grid, padding_mode="border", align_corners=False)
        one = [1] * (x.ndim - 1)
        view = view * (1 + self.gain * (2 * uniform(*one) - 1))
        white = torch.randn(x.shape, generator=generator, device=x.device, dtype=x.dtype)
        return view + self.noise * uniform(*one) * white

    def _placed(self, x: Tensor, uniform: Uniform) -> Tensor:
        """From places of the view to places of the image, (B, n, n + 1), in the order of
        ``affine_grid``, last axis first.
        """
        dims, (height, width) = x.ndim - 2, x.shape[-2:]
        edge = self.scale + (1 - self.scale) * uniform(1)
        mirror = torch.where(uniform(dims) < 0.5, -1.0, 1.0)
        offset = (1 - edge) * (2 * uniform(dims) - 1)
        angle = torch.deg2rad(self.rotation * (2 * uniform() - 1))
        turn = torch.eye(dims, device=x.device, dtype=x.dtype).repeat(len(x), 1, 1)
        turn[:, 0, 0] = turn[:, 1, 1] = angle.cos()
        # coordinates go from −1 to 1 along axes of any length
        turn[:, 0, 1], turn[:, 1, 0] = -angle.sin() * height / width, angle.sin() * width / height
        return torch.cat([turn * (edge * mirror)[:, None], offset[..., None]], dim=2)

"""Kinds of noise: white, coarse, pyramid, simplex."""

from __future__ import annotations

from typing import TYPE_CHECKING, Literal, get_args

import torch
import torch.nn.functional as F

from aberra.errors import ConfigError, unknown

if TYPE_CHECKING:
    from collections.abc import Sequence

    from torch import Generator, Tensor

NoiseKind = Literal["gaussian", "coarse", "pyramid", "simplex"]
KINDS: tuple[NoiseKind, ...] = get_args(NoiseKind)


def draw(kind: str, shape: Sequence[int], generator: Generator) -> Tensor:
    """Draw noise of shape (B, C, S), about mean 0 and standard deviation 1, on the generator's
    device.

    Args:
        kind: ``gaussian``; ``coarse`` (white on a grid of 16 cells along the longest edge, as in
            Kascenas et al. 2022); ``pyramid`` (white noise of ever coarser grids, each weighted
            with 0.9 of the one before; used by ANDi, Frotscher et al. 2024); ``simplex`` (six
            octaves, persistence 0.8, finest period 1/64 of the edge; AnoDDPM, Wyatt et al. 2022).
        shape: (B, C, S).
        generator: the only source of randomness.

    Raises:
        ConfigError: an unknown kind, or simplex noise in 3-D.
    """
    if kind == "gaussian":
        return torch.randn(*shape, generator=generator, device=generator.device)
    if kind == "coarse":
        return _standardised(coarse(shape, generator))
    if kind == "pyramid":
        return _standardised(_pyramid(shape, generator))
    if kind == "simplex":
        if len(shape) != 4:
            raise ConfigError("simplex noise is drawn for 2-D models only; use noise='pyramid' in 3-D")
        return _standardised(_simplex(shape, generator))
    raise unknown("noise", kind, KINDS)


def shared(kind: str, seed: int, like: Tensor) -> Tensor:
    """Noise number ``seed``, shape (1, C, S), to be shared by a batch like ``like``: the same on
    every device, for every batch.
    """
    return draw(kind, (1, *like.shape[1:]), torch.Generator().manual_seed(seed)).to(like)


def _standardised(noise: Tensor) -> Tensor:
    """Divide each image by its own root mean square, so that schedules mean what they say."""
    axes = tuple(range(1, noise.ndim))
    return noise / noise.square().mean(dim=axes, keepdim=True).sqrt().clamp(min=1e-6)


def _up(noise: Tensor, size: Sequence[int]) -> Tensor:
    return F.interpolate(
        noise, tuple(size), mode="bilinear" if len(size) == 2 else "trilinear", align_corners=False
    )


def coarse(shape: Sequence[int], generator: Generator, *, cells: int = 16) -> Tensor:
    """White noise of standard deviation 1 on a grid of ``cells`` cells along the longest edge,
    interpolated to (B, C, S).

    Each image is rolled by an offset of its own, so that no pixel is nearer to a grid point than
    another (Kascenas et al. 2022).
    """
    spatial = shape[2:]
    cell = max(spatial) / cells
    grid = [max(1, round(edge / cell)) for edge in spatial]
    noise = _up(torch.randn((*shape[:2], *grid), generator=generator, device=generator.device), spatial)
    offsets = torch.stack(
        [
            torch.randint(0, edge, (len(noise),), generator=generator, device=generator.device)
            for edge in spatial
        ],
        dim=1,
    ).tolist()
    axes = tuple(range(1, noise.ndim - 1))
    return torch.stack([image.roll(offset, axes) for image, offset in zip(noise, offsets, strict=True)])


def _pyramid(shape: Sequence[int], generator: Generator, discount: float = 0.9) -> Tensor:
    """Σ_k 0.9ᵏ · upsampled white noise; each level is 2 to 4 times coarser than the one before."""
    spatial = [float(edge) for edge in shape[2:]]
    noise = torch.randn(*shape, generator=generator, device=generator.device)
    weight = 1.0
    while max(spatial) > 1:
        ratio = 2 + 2 * float(torch.rand(1, generator=generator, device=generator.device))
        spatial = [max(1.0, edge / ratio) for edge in spatial]
        weight *= discount
        grid = [int(edge) for edge in spatial]
        white = torch.randn(*shape[:2], *grid, generator=generator, device=generator.device)
        noise = noise + weight * _up(white, shape[2:])
    return noise


def _simplex(
    shape: Sequence[int], generator: Generator, *, octaves: int = 6, persistence: float = 0.8
) -> Tensor:
    """Octaves of simplex noise, the finest with a period of 1/64 of the edge, each finer one 0.8 as
    strong.
    """
    noise = torch.zeros(*shape, device=generator.device)
    edge = max(shape[2:])
    for octave in range(octaves):
        frequency = 2.0 ** (octave + 1)
        noise += persistence**octave * _simplex_octave(shape, frequency / edge, generator)
    return noise


def _simplex_octave(shape: Sequence[int], frequency: float, generator: Generator) -> Tensor:
    """2-D simplex noise (Perlin 2001): gradients at the corners of a triangular lattice, each image
    with its own.
    """
    device, images = generator.device, shape[0] * shape[1]
    rows = torch.arange(shape[2], device=device, dtype=torch.float32) * frequency
    columns = torch.arange(shape[3], device=device, dtype=torch.float32) * frequency
    offset = torch.rand(images, 2, 1, 1, generator=generator, device=device) * 256
    y = rows.reshape(1, -1, 1) + offset[:, 0]
    x = columns.reshape(1, 1, -1) + offset[:, 1]
    skew, unskew = (3**0.5 - 1) / 2, (3 - 3**0.5) / 6
    lean = (x + y) * skew
    i, j = torch.floor(x + lean), torch.floor(y + lean)
    back = (i + j) * unskew
    x0, y0 = x - i + back, y - j + back
    right = (x0 > y0).float()
    table = torch.rand(images, 256, generator=generator, device=device).argsort(dim=1)
    total = torch.zeros_like(x0)
    corners = (
        (torch.zeros_like(x0), torch.zeros_like(x0)),
        (right, 1 - right),
        (torch.ones_like(x0), torch.ones_like(x0)),
    )
    for di, dj in corners:
        dx, dy = x0 - di + (di + dj) * unskew, y0 - dj + (di + dj) * unskew
        # the image's own permutation turns the corner's two numbers into one of 256 directions
        inner = table.gather(1, ((j + dj) % 256).long().flatten(1))
        place = table.gather(1, (((i + di).flatten(1) + inner) % 256).long()).reshape(x0.shape)
        angle = place * (2 * torch.pi / 256)
        reach = (0.5 - dx**2 - dy**2).clamp(min=0) ** 4
        total += reach * (angle.cos() * dx + angle.sin() * dy)
    return total.reshape(*shape)

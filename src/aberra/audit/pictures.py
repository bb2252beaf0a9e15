"""What a model's code says of a scan, and which images its codes stand for."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from aberra.capabilities import Encodes, Generates, HasPosterior
from aberra.nets.networks import VectorCodes

if TYPE_CHECKING:
    from collections.abc import Callable

    import torch
    from numpy.typing import NDArray

    from aberra.detector import Detector
    from aberra.volume import Volume

RADII = (0.0, 0.5, 0.8, 1.0, 1.2, 1.5)
"""Norms of the codes on the sheet, as shares of √K, where codes of a K-dimensional standard normal
lie (Heer 2021, chapter 5)."""

DRAWS = 8
SEED = 0


def code_of(detector: Detector, prepared: Volume) -> NDArray[np.float64] | None:
    """Mean code of a prepared scan's slices or windows, shape (K,); None of models without a code.

    Places of a spatial code are averaged.
    """
    from aberra.scores.term import slices_of

    model = detector.model
    if not isinstance(model, Encodes):
        return None

    def codes(x: torch.Tensor, _: torch.Tensor) -> torch.Tensor:
        code = model.code(x)
        return code.flatten(2).mean(dim=2) if code.ndim > 2 else code

    found = slices_of(codes, [prepared], detector.runner)
    return None if found.ndim < 2 else np.asarray(found.mean(axis=0))


def sheets(detector: Detector) -> dict[str, str]:
    """Title to data URI of images that a model makes: codes of the Gaussian annulus and around it,
    and draws from the prior; empty of models that make none from a vector.
    """
    import torch

    maker = _maker(detector.model)
    if maker is None:
        return {}
    make, latent = maker
    generator = torch.Generator().manual_seed(SEED)
    draws = torch.randn(DRAWS, latent, generator=generator)
    directions = draws / draws.norm(dim=1, keepdim=True).clamp(min=1e-9)
    rows = [directions * radius * latent**0.5 for radius in RADII]
    with torch.inference_mode():
        made = make(torch.cat([draws, *rows]).to(detector.runner.device)).cpu().numpy()
    images = made[:, 0] if made.ndim == 4 else made[:, 0, made.shape[2] // 2]
    shells = ", ".join(f"{radius:g}" for radius in RADII)
    return {
        "Draws from the prior": _sheet(images[:DRAWS], 1),
        f"Codes of norm r·√K, r = {shells} from above": _sheet(images[DRAWS:], len(RADII)),
    }


def _maker(model: Any) -> tuple[Callable[[torch.Tensor], torch.Tensor], int] | None:
    """What makes images (B, C, S) of codes (B, K), and K; None where nothing does."""
    if isinstance(model, Generates):
        return model.generate, model.latent_shape()[0]
    # a code with places has no prior that is drawn place by place
    if isinstance(model, HasPosterior) and isinstance(getattr(model, "network", None), VectorCodes):
        return model.decode, model.latent  # type: ignore[attr-defined]
    return None


def _sheet(images: NDArray[np.float32], rows: int) -> str:
    """Images (N, H, W) in rows, on one grey scale, as a data URI."""
    from base64 import b64encode
    from io import BytesIO

    from PIL import Image

    low, high = float(np.percentile(images, 1)), float(np.percentile(images, 99.5))
    grey = np.clip((images - low) / max(high - low, 1e-6), 0, 1)
    whole = np.concatenate([np.concatenate(list(row), axis=1) for row in np.array_split(grey, rows)], axis=0)
    buffer = BytesIO()
    Image.fromarray((255 * whole).astype(np.uint8)).save(buffer, format="PNG")
    return "data:image/png;base64," + b64encode(buffer.getvalue()).decode()

from __future__ import annotations

from known_denoiser import brain  # noqa: F401
from linear_vae import linear  # noqa: F401

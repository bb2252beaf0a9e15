"""Models that the checks must find out."""

from __future__ import annotations

import torch
from torch import nn


class Blind(nn.Module):
    """Sees nothing at all."""

    def score_volume(self, x, mask):
        return mask * torch.zeros_like(x[0])


class Shy(nn.Module):
    """Does not say that it has learnt nothing."""

    def __init__(self, *, channels, size):
        super().__init__()
        self.register_buffer("mean", torch.zeros(1, channels, *size))

    def fit_samples(self, x, mask, seed):  # noqa: ARG002
        self.mean.copy_(x.mean(dim=0, keepdim=True))

    def reconstruct(self, x):
        return self.mean.expand_as(x)


class Forgetful(nn.Module):
    """Keeps what it has seen where no state is saved, and scribbles into the scan."""

    seen = 0

    def score_volume(self, x, mask):
        type(self).seen += 1
        return x.mean(dim=0).clamp(min=0) * mask + self.seen * mask

"""Detectors whose networks are drawn, not trained: what is exported does not depend on it."""

from __future__ import annotations

import torch

from aberra.detector import Detector
from aberra.method import Method
from aberra.prepare import Recipe
from aberra.registry import build


def untrained(name, settings=None, *, edge=16, channels=("flair",), steps=({"name": "orient"},)):
    """A method of the catalogue at test size, for scans of these channels."""
    method = Method.load(name).at_test_size().overridden(settings or {})
    dims = method.prepare.get("dims", 2)
    size = (edge,) * dims
    torch.manual_seed(0)
    model = build("models", method.model, channels=len(channels), dims=dims, size=size)
    recipe = Recipe.from_config(list(steps))
    return Detector(method=method, recipe=recipe, model=model, channels=channels, dims=dims, size=size, device="cpu")  # fmt: skip

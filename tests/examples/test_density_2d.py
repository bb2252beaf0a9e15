"""The example of densities in the plane: its fields are gradients, and it writes its picture."""

from __future__ import annotations

import importlib.util
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

FILE = Path(__file__).parents[2] / "examples" / "density_2d.py"


@pytest.fixture(scope="module")
def example():
    spec = importlib.util.spec_from_file_location("density_2d", FILE)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def test_it_writes_one_picture(example, tmp_path):
    example.draw(tmp_path / "out.png", count=200, epochs=2, steps=20)
    pixels = np.asarray(Image.open(tmp_path / "out.png").convert("RGB"))
    assert pixels.shape[1] > 1000
    assert len(np.unique(pixels.reshape(-1, 3), axis=0)) > 100
    assert [each.name for each in tmp_path.iterdir()] == ["out.png"]


def test_the_field_is_the_gradient_of_the_log_density(example):
    grid = torch.tensor([[0.5, -1.0], [2.0, 3.0]])
    values, arrows = example.field(lambda at: -0.5 * (at**2).sum(dim=1), grid)
    torch.testing.assert_close(values, -0.5 * (grid**2).sum(dim=1))
    torch.testing.assert_close(arrows, -grid)


def test_training_raises_the_bound_of_the_vae(example):
    torch.manual_seed(0)
    x, vae = example.points(400, 0), example.PlaneVAE()
    before = float(vae.bound(x).detach().mean())
    vae.learn(x, 100, 0)
    assert float(vae.bound(x).detach().mean()) > before + 5

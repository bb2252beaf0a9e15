from __future__ import annotations

import sys
from pathlib import Path
from types import SimpleNamespace

import pytest
import torch

from aberra.models.guided_ddpm import GuidedDDPM

sys.path.insert(0, str(Path(__file__).parents[2] / "benchmarks"))
import diffusion

THESIS = diffusion.EVEN | {"steps": 50}
OURS = {
    "sampler": "ddim",
    "steps": 4,
    "encode_steps": 3,
    "encoder": "dpm-solver",
    "power": 1.5,
    "guide_steps": 3,
}


@pytest.fixture(scope="module")
def detector():
    """What the script uses of one, with an untrained model whose networks are too small to take
    time.
    """
    network = {"name": "diffusion-unet", "width": 4, "multipliers": [1], "blocks": 1, "attention": []}
    model = GuidedDDPM(
        channels=1, timesteps=100, dims=2, size=(8, 8), network=network, guide_width=4, guide_blocks=1
    )
    runner = SimpleNamespace(batch_size=2, device=torch.device("cpu"))
    return SimpleNamespace(model=model.eval().requires_grad_(requires_grad=False), runner=runner)


@pytest.mark.parametrize(
    ("options", "network", "guide"),
    [
        (THESIS | {"start": 50}, 100, 50),
        (THESIS | {"start": 25}, 50, 25),  # no step twice: the chain of every step is as long as L
        (OURS | {"start": 50}, 7, 12),
        (OURS | {"start": 50, "reference": "round-trip"}, 11, 12),
        (diffusion.EVEN | {"start": 50, "sampler": "coupled", "steps": 3}, 12, 6),
        (diffusion.EVEN | {"start": 50, "sampler": "ddpm", "steps": 4}, 4, 4),
    ],
)
def test_calls_are_counted_a_slice_whatever_the_batches(detector, options, network, guide):
    found = diffusion.answer(detector, torch.randn(3, 1, 8, 8), **options)
    assert found.restored.shape == (3, 1, 8, 8)
    assert (found.network_calls, found.guide_calls) == (network, guide)


def test_a_count_ends_with_its_context(detector):
    net = torch.nn.Linear(1, 1)
    with diffusion.counting(net) as seen:
        net(torch.zeros(4, 1))
    net(torch.zeros(4, 1))
    assert seen == [4]

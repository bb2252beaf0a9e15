from __future__ import annotations

import pytest
import torch

from aberra.errors import ConfigError, PairingError
from aberra.models.ddpm import DDPM
from aberra.models.pddpm import PatchedDDPM
from aberra.restore.patched_diffusion import PatchedDiffusion
from aberra.scores import check_pairing
from aberra.scores.residual import Residual

SMALL = {"channels": 1, "size": (16, 16), "width": 4, "multipliers": (1, 2), "attention": ()}


@torch.no_grad()
def test_boxes_are_noised_to_the_start_and_restored():
    torch.manual_seed(0)
    model, x = PatchedDDPM(**SMALL).eval(), torch.rand(2, 1, 16, 16)
    torch.nn.init.normal_(model.ddpm.net.last.weight)
    (low,), (high,) = (PatchedDiffusion(start=start)(model, x) for start in (100, 900))
    assert torch.equal(low.image, model.restore_boxes(x, 100))
    assert (low.image - high.image).abs().mean() > 0.01


def test_a_start_beyond_the_models_last_step_is_refused():
    with pytest.raises(ConfigError, match="start=101: expected 1 to 100"):
        list(PatchedDiffusion(start=101)(PatchedDDPM(timesteps=100, **SMALL), torch.rand(1, 1, 16, 16)))
    with pytest.raises(ConfigError, match="start=0"):
        PatchedDiffusion(start=0)


def test_only_a_model_that_restores_boxes_is_asked():
    score = Residual(restore={"name": "patched-diffusion"})
    check_pairing(PatchedDDPM, score)
    with pytest.raises(PairingError, match="RestoresBoxes"):
        check_pairing(DDPM, score)

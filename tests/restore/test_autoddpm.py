from __future__ import annotations

import numpy as np
import pytest
import torch

from aberra.diffusion.noise import shared
from aberra.errors import ConfigError
from aberra.restore.autoddpm import PUBLISHED, AutoDDPM
from aberra.volume import Volume
from known_denoiser import with_lesion


@pytest.mark.parametrize("sampler", ["ddpm", "ddim", "dpm-solver"])
def test_what_is_painted_over_lies_inside_the_mask(sampler, brain):
    model, x, _, _ = brain
    sick = with_lesion(x)[0].transpose(0, 1)
    hole = torch.zeros_like(sick, dtype=torch.bool)
    hole[:, :, 4:11, 5:12] = True
    score = AutoDDPM(inpaint_steps=4, resamples=3, sampler=sampler)
    restored = score.inpaint(model, sick, sick, hole)
    assert torch.equal(restored[~hole], sick[~hole])
    assert (restored - model.mean).abs()[hole].mean() < 0.7 * (sick - model.mean).abs()[hole].mean()


def test_resampling_carries_up_to_the_noise_that_the_step_has(brain):
    """A variance of 1 − ᾱ_s of noise becomes one of 1 − ᾱ_t."""
    from aberra.restore.autoddpm import _raised

    process = brain[0].process()
    image = torch.full((1, 1, 300, 300), 2.0)
    low = process.add_noise(image, shared("gaussian", 1, image), 20)
    high = _raised(process, low, 20, 50, shared("gaussian", 2, image))
    level = float(process.alpha_bar[50])
    assert float(high.mean()) == pytest.approx(2 * level**0.5, rel=0.01)
    assert float(high.var()) == pytest.approx(1 - level, rel=0.02)


def test_autoddpm_learns_that_5_per_cent_of_healthy_pixels_are_masked(brain):
    model, x, _, run = brain
    rng = np.random.default_rng(0)
    volumes = [
        Volume(data=(x.numpy() + 0.05 * rng.standard_normal(x.shape)).astype(np.float32), affine=np.eye(4))
        for _ in range(4)
    ]
    found = AutoDDPM(steps=5, dilate=1).tune(model, iter(volumes), run)
    score = AutoDDPM(steps=5, dilate=1, **found)
    batch = torch.cat([torch.from_numpy(volume.data).transpose(0, 1)[:4] for volume in volumes])
    distance, residual = score._evidence(model, batch, score.chain(model, batch))
    assert float((residual > score.scale).float().mean()) == pytest.approx(0.05, abs=0.005)
    masked = score.masked(score.suspicion(distance, residual))
    assert float(masked.float().mean()) == pytest.approx(0.05, abs=0.005)
    assert AutoDDPM(threshold=0.1, scale=0.1).tune(model, iter(volumes), run) == {}
    assert AutoDDPM().tune(model, iter([]), run) == {}


def test_without_healthy_cases_the_published_rules_hold(brain):
    residual = torch.arange(1.0, 101.0).reshape(2, 1, 5, 10)
    score = AutoDDPM(dilate=1)
    found = score.suspicion(torch.ones_like(residual), residual)
    assert found.flatten(1).eq(1).sum(dim=1).tolist() == [3, 3]  # the 48th of 50 and what is above
    torch.testing.assert_close(found[1, 0, 0, 0], torch.tensor(51 / 98))
    assert torch.equal(score.masked(residual / 500), residual / 500 > PUBLISHED)


def test_the_mask_is_dilated():
    suspect = torch.zeros(1, 1, 9, 9)
    suspect[0, 0, 4, 4] = 1
    assert int(AutoDDPM(dilate=3).masked(suspect).sum()) == 9
    assert int(AutoDDPM(dilate=1).masked(suspect).sum()) == 1


def test_what_was_suspicious_is_the_evidence(brain):
    model, x, _, _ = brain
    sick, lesion = with_lesion(x)
    restore = AutoDDPM(steps=5, inpaint_steps=2, resamples=1, threshold=1e-3, scale=0.05)
    (found,) = restore(model, sick.transpose(0, 1))
    suspicious = found.evidence[:, 0][lesion]
    assert suspicious.min() > 10 * found.evidence[:, 0][~lesion].mean()
    assert found.reference is None


@pytest.mark.parametrize(
    "options", [{"threshold": "best"}, {"scale": 0.0}, {"dilate": 2}, {"inpaint_steps": 0}]
)
def test_options_that_cannot_work_are_refused(options):
    with pytest.raises(ConfigError):
        AutoDDPM(**options)

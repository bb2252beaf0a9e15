from __future__ import annotations

import numpy as np
import pytest
import torch
from torch import nn

from aberra.errors import ConfigError
from aberra.models.beta_tc_vae import BetaTCVAE
from aberra.models.fanogan import FAnoGAN
from aberra.models.segnet import SegNet
from aberra.models.simclr import SimCLR
from aberra.models.vae import VAE
from aberra.training import TrainingConfig, train
from aberra.training.loop import Run
from aberra.training.trimming import expect_trimmable, kept
from aberra.volume import Volume

SIZE, SHARE = (16, 16), 0.25


def _scan(number, ill):
    """A smooth disc with a little noise; ill, every slice has a checkerboard in it."""
    rng = np.random.default_rng(number)
    d, h, w = np.ogrid[:4, :16, :16]
    data = np.exp(-((h - 8) ** 2 + (w - 8) ** 2) / 40) + 0.02 * rng.standard_normal((4, 16, 16)) + 0 * d
    if ill:
        data[:, 5:11, 5:11] += np.where((h + w) % 2, 1.5, -1.5)[:, 5:11, 5:11]
    return Volume(data=data[None].astype(np.float32), affine=np.eye(4), mask=np.ones((4, 16, 16), bool))


@pytest.fixture(scope="module")
def scans():
    return [_scan(number, ill=number % 8 == 0) for number in range(32)]


class Linear(nn.Module):
    """Four numbers an image, with noise on them in training: all that the scans have in common."""

    def __init__(self):
        super().__init__()
        torch.manual_seed(0)
        self.down, self.up = nn.Linear(256, 4), nn.Linear(4, 256)

    def loss(self, batch):
        code = self.down(batch.x.flatten(1))
        noise = torch.randn(code.shape, generator=batch.generator)
        error = (self.up(code + 0.05 * noise) - batch.x.flatten(1)) ** 2
        return {"loss": error.mean()}


def _train(scans, folder, steps=150, **options):
    network = Linear()
    config = TrainingConfig(steps=steps, batch_size=16, precision="32-true", devices=1, compile="off", learning_rate=3e-3, **options)  # fmt: skip
    train(network, scans, config, folder, dims=2, size=SIZE, device="cpu", workers=0)
    return network


def test_the_highest_losses_go_and_the_order_stays():
    losses = torch.tensor([2.0, 9.0, 1.0, 7.0, 1.0, 3.0, 0.0, 5.0])
    assert kept(losses, 0.0).tolist() == [*range(8)]
    assert kept(losses, 0.25).tolist() == [0, 2, 4, 5, 6, 7]
    assert kept(losses, 0.3).tolist() == [0, 2, 4, 5, 6, 7], "rounded down"
    assert kept(torch.ones(4), 0.5).tolist() == [0, 1]


def test_what_does_not_belong_is_left_out_more_often_than_by_chance(scans, tmp_path, monkeypatch):
    ill = np.stack([scan.data[0] for scan in scans[::8]]).reshape(-1, 256)
    seen, left = [], []
    real = Run._trimmed

    def watched(run, batch):
        remains = real(run, batch)
        for part, counted in ((batch[0], seen), (remains[0], left)):
            rows = part.flatten(1).numpy()
            counted.append(sum(bool((np.abs(ill - row).max(1) < 0.5).any()) for row in rows))
        return remains

    monkeypatch.setattr(Run, "_trimmed", watched)
    _train(scans, tmp_path / "a", steps=80, trim=SHARE, trim_after=0.25)
    before, after = slice(0, 20), slice(20, None)
    assert seen[before] == left[before], "nothing is left out before"
    there, stayed = sum(seen[after]), sum(left[after])
    assert there > 100
    assert (there - stayed) / there > 3 * SHARE, "by chance it would be the share that is left out"


def test_a_batch_that_is_not_trimmed_is_learnt_from_as_before(scans, tmp_path):
    plain = _train(scans[:4], tmp_path / "a", steps=4)
    off = _train(scans[:4], tmp_path / "b", steps=4, trim_after=0.0)
    late = _train(scans[:4], tmp_path / "c", steps=4, trim=0.5, trim_after=0.9)
    other = _train(scans[:4], tmp_path / "d", steps=4, trim=0.5, trim_after=0.0)
    assert _same(plain, off)
    assert _same(plain, late)
    assert not _same(plain, other)


def test_an_interrupted_run_leaves_out_the_same(scans, tmp_path, monkeypatch):
    options = {"steps": 6, "trim": 0.25, "trim_after": 0.0, "checkpoint_every": 3}
    straight = _train(scans[:4], tmp_path / "a", **options)
    real = Run._step

    def killed(run, batches):
        if run.state.step == 3:
            raise KeyboardInterrupt
        return real(run, batches)

    with monkeypatch.context() as patch:
        patch.setattr(Run, "_step", killed)
        with pytest.raises(KeyboardInterrupt):
            _train(scans[:4], tmp_path / "b", **options)
    assert _same(straight, _train(scans[:4], tmp_path / "b", **options))


def _same(one, other):
    return all(torch.equal(a, b) for a, b in zip(one.state_dict().values(), other.state_dict().values(), strict=True))  # fmt: skip


@pytest.mark.parametrize(
    ("model", "told"),
    [(SimCLR, "compares the samples"), (BetaTCVAE, "compares the samples"), (FAnoGAN, "against each other"), (SegNet, "diseased")],
)  # fmt: skip
def test_models_whose_samples_have_no_loss_of_their_own_are_refused(model, told):
    size = (32, 32)
    made = model(channels=1, dims=2, size=size)
    for network in (made, nn.Sequential(made)) if model in {SimCLR, BetaTCVAE} else (made,):
        with pytest.raises(ConfigError, match=told):
            expect_trimmable(network, TrainingConfig(trim=0.1))
    expect_trimmable(made, TrainingConfig())


def test_a_share_of_less_than_a_sample_is_refused():
    with pytest.raises(ConfigError, match="less than a sample"):
        expect_trimmable(VAE(channels=1, dims=2, size=SIZE), TrainingConfig(trim=0.05, batch_size=16))

from __future__ import annotations

import json

import numpy as np
import pytest
import torch

from aberra.errors import ConfigError, TrainingError
from aberra.models.dae import DAE
from aberra.models.vae import VAE
from aberra.training import TrainingConfig, train
from aberra.training.sampling import Sampler
from aberra.volume import Volume


def _cohort(count=3, shape=(6, 32, 32), lesion=False):
    rng = np.random.default_rng(0)
    found = []
    for _ in range(count):
        truth = np.zeros(shape, bool)
        truth[2] = lesion
        found.append(
            Volume(
                data=rng.random((1, *shape), dtype=np.float32),
                affine=np.eye(4),
                mask=np.ones(shape, bool),
                lesion=truth,
            )
        )
    return found


def _train(folder, steps, *, model=VAE, **options):
    torch.manual_seed(0)
    size = (32, 32)
    network = model(
        channels=1, dims=2, size=size, width=4, **({"depth": 2} if model is DAE else {"latent": 8})
    )
    config = TrainingConfig(
        **(
            {"steps": steps, "batch_size": 4, "checkpoint_every": 3, "validate_every": 2, "log_every": 1}
            | options
        )
    )
    summary = train(
        network, _cohort(), config, folder, validation=_cohort(1), dims=2, size=size, device="cpu"
    )
    return network, summary


@pytest.mark.parametrize(
    "options", [{}, {"ema": 0.9, "clip": 1.0, "schedule": "cosine", "warmup": 2, "amsgrad": True}]
)
@pytest.mark.parametrize("model", [VAE, DAE])
def test_resuming_is_bit_for_bit(options, model, tmp_path):
    straight, _ = _train(tmp_path / "a", 6, model=model, **options)
    # the cosine schedule depends on the number of steps, so the first part is interrupted rather than shortened
    with pytest.MonkeyPatch.context() as patch:
        real = Sampler.draw

        def interrupted(self, seed, count):
            if seed[1] == 4:
                raise KeyboardInterrupt
            return real(self, seed, count)

        patch.setattr(Sampler, "draw", interrupted)
        with pytest.raises(KeyboardInterrupt):
            _train(tmp_path / "b", 6, model=model, **options)
    resumed, summary = _train(tmp_path / "b", 6, model=model, **options)
    assert summary["steps"] == 6
    for name, weight in straight.state_dict().items():
        assert torch.equal(resumed.state_dict()[name], weight), name
    steps = [
        json.loads(line).get("step") for line in (tmp_path / "b" / "metrics.jsonl").read_text().splitlines()
    ]
    assert sorted({*steps}) == [1, 2, 3, 4, 5, 6]
    assert (tmp_path / "b" / "loss.png").is_file()
    assert (tmp_path / "b" / "reconstructions.png").is_file()


def test_the_loss_falls_and_the_best_weights_are_kept(tmp_path):
    _, summary = _train(tmp_path, 60, learning_rate=2e-3)
    rows = [json.loads(line) for line in (tmp_path / "metrics.jsonl").read_text().splitlines()]
    losses = [row["loss"] for row in rows if "loss" in row]
    assert np.mean(losses[-10:]) < np.mean(losses[:10])
    assert summary["best_validation"] == min(row["validation"] for row in rows if "validation" in row)


def test_early_stopping(tmp_path):
    _, summary = _train(tmp_path, 500, patience=2, min_delta=1e9)
    assert summary["steps"] == 6  # the first evaluation is the best; two more without improvement


def test_a_loss_that_is_not_finite_stops_with_the_last_good_weights_kept(tmp_path):
    class Breaks(VAE):
        calls = 0

        def loss(self, x, mask, generator):
            Breaks.calls += self.training
            losses = super().loss(x, mask, generator)
            return {name: value * (float("nan") if Breaks.calls > 4 else 1) for name, value in losses.items()}

    with pytest.raises(TrainingError, match="not finite"):
        _train(tmp_path, 10, model=Breaks)
    from safetensors.torch import load_file

    kept = load_file(tmp_path / "checkpoint.safetensors")
    assert all(torch.isfinite(tensor).all() for tensor in kept.values() if tensor.is_floating_point())


def test_lesion_slices_and_empty_slices_are_never_drawn():
    volumes = _cohort(2, lesion=True)
    volumes[0].mask[5] = False
    config = TrainingConfig(slices="lesion-free")
    sampler = Sampler(volumes, config, dims=2, size=(32, 32))
    assert {place for index, place in sampler.places if index == 0} == {0, 1, 3, 4}
    everything = [volume.with_(lesion=np.ones(volume.shape, bool)) for volume in volumes]
    with pytest.raises(TrainingError, match="no lesion voxel"):
        Sampler(everything, config, dims=2, size=(32, 32))


def test_patches_avoid_lesions_and_pad_small_volumes():
    volumes = _cohort(1, shape=(12, 20, 40), lesion=True)
    config = TrainingConfig(slices="lesion-free")
    sampler = Sampler(volumes, config, dims=3, size=(8, 16, 16))
    volumes[0].data[0, 2] = 99
    x, _ = sampler.draw([0, 0, 0], 20)
    assert x.shape == (20, 1, 8, 16, 16)
    assert x.max() < 99
    padded, inside = Sampler(volumes, TrainingConfig(), dims=3, size=(16, 32, 16)).draw([0, 0, 0], 2)
    assert padded.shape == (2, 1, 16, 32, 16)
    assert inside.mean() < 1


def test_batches_depend_on_seed_and_step_alone():
    sampler = Sampler(_cohort(), TrainingConfig(flip=0.5, gain=0.1, gamma=0.3), dims=2, size=(32, 32))
    assert torch.equal(sampler.draw([1, 2, 0], 4)[0], sampler.draw([1, 2, 0], 4)[0])
    assert not torch.equal(sampler.draw([1, 2, 0], 4)[0], sampler.draw([1, 3, 0], 4)[0])


def test_settings():
    config = TrainingConfig(steps=100, learning_rate=1.0, schedule="cosine", warmup=10)
    assert config.rate(0) == pytest.approx(0.1)
    assert config.rate(10) == pytest.approx(1.0)
    assert config.rate(99) < 0.01
    assert TrainingConfig(schedule="plateau", learning_rate=1.0).rate(5, cuts=2) == 0.25
    with pytest.raises(ConfigError, match="Did you mean 'steps'"):
        TrainingConfig.from_dict({"step": 5})
    with pytest.raises(ConfigError, match="expected int"):
        TrainingConfig.from_dict({"steps": "many"})
    with pytest.raises(ConfigError, match="Did you mean 'cosine'"):
        TrainingConfig(schedule="cosinus")

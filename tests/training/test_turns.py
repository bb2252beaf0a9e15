"""Learning in turns: who moves when, stages, resuming, and what a critic learns."""

from __future__ import annotations

import json
from itertools import pairwise

import numpy as np
import pytest
import torch

from aberra.errors import ConfigError
from aberra.models.aae import AAE
from aberra.models.anovaegan import AnoVAEGAN
from aberra.models.fanogan import FAnoGAN
from aberra.training import TrainingConfig, train
from aberra.training.loop import Run
from aberra.training.sampling import Sampler
from aberra.volume import Volume

SIZE = (16, 16)
MODELS = [AAE, AnoVAEGAN, FAnoGAN]


def _cohort(count=3):
    """Discs of random place and brightness."""
    rng = np.random.default_rng(0)
    y, x = np.mgrid[: SIZE[0], : SIZE[1]]
    found = []
    for _ in range(count):
        centres, levels = rng.uniform(5, 11, (6, 2)), rng.uniform(0.5, 1, 6)
        slices = [
            level * ((y - a) ** 2 + (x - b) ** 2 < 16) for (a, b), level in zip(centres, levels, strict=True)
        ]
        found.append(
            Volume(
                data=np.stack(slices)[None].astype(np.float32),
                affine=np.eye(4),
                mask=np.ones((6, *SIZE), bool),
            )
        )
    return found


def _model(cls, **options):
    torch.manual_seed(0)
    return cls(channels=1, size=SIZE, **({"network": {"width": 4}, "latent": 4, "critic_steps": 2} | options))


def _config(steps, **options):
    settings = {
        "steps": steps,
        "batch_size": 4,
        "beta1": 0.5,
        "beta2": 0.9,
        "checkpoint_every": 3,
        "validate_every": 2,
        "log_every": 1,
    }
    return TrainingConfig(**(settings | options))


def _run(model, folder, steps, **options):
    validation = _cohort(1)
    return Run(
        model,
        _cohort(),
        _config(steps, **options),
        folder,
        validation=validation,
        dims=2,
        size=SIZE,
        device="cpu",
        seed=0,
    )


def _train(model, folder, steps, **options):
    config = _config(steps, **options)
    summary = train(model, _cohort(), config, folder, validation=_cohort(1), dims=2, size=SIZE, device="cpu")
    return model, summary


def _rows(folder):
    return [json.loads(line) for line in (folder / "metrics.jsonl").read_text().splitlines()]


def _snapshot(run, model):
    """Parameters by name, and the moments of each player's Adam in order."""
    weights = {name: each.detach().clone() for name, each in model.named_parameters()}
    moments = {
        name: [
            {key: value.clone() for key, value in adam.state.get(each, {}).items()}
            for each in adam.param_groups[0]["params"]
        ]
        for name, adam in run.adams.each.items()
    }
    return weights, moments


def _same(left, right):
    return all(
        a.keys() == b.keys() and all(torch.equal(a[key], b[key]) for key in a)
        for a, b in zip(left, right, strict=True)
    )


@pytest.mark.parametrize("cls", MODELS)
def test_in_a_turn_only_its_player_moves(cls, tmp_path):
    model = _model(cls, **({"gan_share": 0.5} if cls is FAnoGAN else {}))
    run = _run(model, tmp_path, 4, weight_decay=0.01)
    owners = {
        player: {name for name, each in model.named_parameters() if any(each is own for own in parameters)}
        for player, parameters in ((player, list(own)) for player, own in model.players().items())
    }
    seen, batches = set(), run.batches()
    for step in range(4):
        for index, turn in enumerate(run._turns(step)):
            weights, moments = _snapshot(run, model)
            run._turn(index, turn, batches)
            run.optimizers[turn].step()
            after, moments_after = _snapshot(run, model)
            moved = {name for name in weights if not torch.equal(weights[name], after[name])}
            assert moved <= owners[turn]
            # weight decay moves all weights of layers but what is zero
            assert moved >= {
                name for name in owners[turn] if weights[name].ndim > 1 and weights[name].abs().max() > 1e-6
            }
            for player in model.players():
                assert _same(moments[player], moments_after[player]) == (player != turn), (turn, player)
            seen.add(turn)
        run.state.step += 1
    assert seen == set(model.players())


def test_a_parameter_of_two_players_has_moments_in_each(tmp_path):
    """Or the critic's small gradient would drown in the reconstruction error's and the decoder
    would not heed it.
    """
    model = _model(AnoVAEGAN)
    run = _run(model, tmp_path, 4)
    batches = run.batches()
    run._step(batches)
    weight = next(model.decoder.parameters())
    vae, generator = (run.adams.each[name].state[weight] for name in ("vae", "generator"))
    assert vae["step"] == generator["step"] == 1
    assert not torch.equal(vae["exp_avg"], generator["exp_avg"])
    before = weight.detach().clone()
    run._turn(1, "generator", batches)
    run.optimizers["generator"].step()
    moved = (weight - before).abs().median()
    assert moved > 0.2 * run.config.learning_rate


@pytest.mark.parametrize("cls", MODELS)
@pytest.mark.parametrize("options", [{}, {"ema": 0.9, "clip": 1.0, "amsgrad": True}])
def test_resuming_is_bit_for_bit(cls, options, tmp_path):
    straight, _ = _train(_model(cls), tmp_path / "a", 10, **options)
    with pytest.MonkeyPatch.context() as patch:
        real = Sampler.draw

        def interrupted(self, seed, count):
            # f-AnoGAN is in its second stage by then, with one turn a step; the others are within
            # a step
            if seed[1] == 7 and (len(seed) == 4 or cls is FAnoGAN):
                raise KeyboardInterrupt
            return real(self, seed, count)

        patch.setattr(Sampler, "draw", interrupted)
        with pytest.raises(KeyboardInterrupt):
            _train(_model(cls), tmp_path / "b", 10, **options)
    resumed, summary = _train(_model(cls), tmp_path / "b", 10, **options)
    assert summary["steps"] == 10
    for name, weight in straight.state_dict().items():
        assert torch.equal(resumed.state_dict()[name], weight), name
    assert _rows(tmp_path / "a") == _rows(tmp_path / "b")


def test_resuming_in_the_first_stage_goes_on_to_the_second(tmp_path):
    straight, _ = _train(_model(FAnoGAN), tmp_path / "a", 10)
    with pytest.MonkeyPatch.context() as patch:
        real = Sampler.draw

        def interrupted(self, seed, count):
            if seed[1] == 4:
                raise KeyboardInterrupt
            return real(self, seed, count)

        patch.setattr(Sampler, "draw", interrupted)
        with pytest.raises(KeyboardInterrupt):
            _train(_model(FAnoGAN), tmp_path / "b", 10)
    resumed, _ = _train(_model(FAnoGAN), tmp_path / "b", 10)
    for name, weight in straight.state_dict().items():
        assert torch.equal(resumed.state_dict()[name], weight), name


def test_the_second_stage_leaves_generator_and_critic_as_they_are(tmp_path):
    run = _run(_model(FAnoGAN, gan_share=0.5), tmp_path, 8)
    kept, batches = {}, run.batches()
    for step in range(8):
        if step == 4:
            kept = {name: each.clone() for name, each in run.inner.state_dict().items()}
        run._step(batches)
    changed = {name for name, each in run.inner.state_dict().items() if not torch.equal(each, kept[name])}
    assert changed
    assert all(name.startswith("encoder.") for name in changed)


def test_the_best_validation_is_forgotten_at_a_new_stage(tmp_path):
    """The first stage's errors are made to be the lowest; the weights kept must be the second's all
    the same.
    """

    class Lucky(FAnoGAN):
        done = False

        def loss(self, batch):
            self.done |= batch.turn == "encoder"
            losses = super().loss(batch)
            if not batch.turn and not self.done:
                losses["reconstruction"] = losses["reconstruction"] * 1e-6
            return losses

    _, summary = _train(_model(Lucky, gan_share=0.5), tmp_path, 12, patience=4)
    validations = {row["step"]: row["validation"] for row in _rows(tmp_path) if "validation" in row}
    second = {step: value for step, value in validations.items() if step > 6}
    assert min(validations, key=validations.get) <= 6
    assert summary["best_step"] in second
    assert summary["best_validation"] == min(second.values())


def test_every_turn_has_its_own_batch_and_is_logged(tmp_path):
    seeds = []
    with pytest.MonkeyPatch.context() as patch:
        real = Sampler.draw
        patch.setattr(
            Sampler, "draw", lambda self, seed, count: seeds.append(tuple(seed)) or real(self, seed, count)
        )
        _train(_model(AnoVAEGAN), tmp_path, 3)
    assert len(seeds) == len(set(seeds)) == 3 * 4
    row = next(row for row in _rows(tmp_path) if "vae_loss" in row)
    assert {
        "vae_reconstruction",
        "vae_kl",
        "generator_loss",
        "critic_distance",
        "critic_penalty",
    } <= row.keys()


def test_several_devices_are_refused(tmp_path):
    for cls in MODELS:
        with pytest.raises(ConfigError, match=r"training\.devices=2: .*learns in turns"):
            _train(_model(cls), tmp_path, 4, devices=2)


def _steepness(model):
    """Largest |D(x) − D(y)| / ‖x − y‖ of the critic on the way from scans to what the generator
    makes.
    """
    x = Sampler(_cohort(), TrainingConfig(), dims=2, size=SIZE).fixed(18, 0)[0]
    with torch.no_grad():
        fake = model.generate(torch.randn(18, 4, generator=torch.Generator().manual_seed(1)))
        places = [x + share * (fake - x) for share in torch.linspace(0, 1, 9)]
        return max(
            float(((model.critic(a) - model.critic(b)).abs() / (a - b).flatten(1).norm(dim=1)).max())
            for a, b in pairwise(places)
        )


def test_the_penalty_makes_the_critic_lipschitz(tmp_path):
    options = {"learning_rate": 2e-3, "batch_size": 16, "checkpoint_every": 1000, "validate_every": 1000}
    steepness = {}
    for penalty in (10.0, 0.0):
        model = _model(FAnoGAN, penalty=penalty, gan_share=0.98, critic_steps=5)
        _train(model, tmp_path / str(penalty), 50, **options)
        steepness[penalty] = _steepness(model)
    assert 0.1 < steepness[10.0] < 1.2
    assert steepness[0.0] > 3

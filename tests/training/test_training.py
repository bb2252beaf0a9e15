from __future__ import annotations

import json
import signal
import subprocess
import sys
import threading
import time
from functools import partial

import numpy as np
import pytest
import torch
from safetensors import safe_open
from safetensors.torch import load_file, save_file

from aberra.errors import ConfigError, TrainingError
from aberra.models.dae import DAE
from aberra.models.vae import VAE
from aberra.training import TrainingConfig, train
from aberra.training.interrupt import held_back
from aberra.training.loop import Run
from aberra.training.metrics import late_gain
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


def _train(folder, steps, *, model=VAE, workers=None, **options):
    torch.manual_seed(0)
    size = (32, 32)
    network = model(
        channels=1,
        dims=2,
        size=size,
        **({"network": {"width": 4, "depth": 2}} if model is DAE else {"network": {"width": 4}, "latent": 8}),
    )
    config = TrainingConfig(
        **(
            {"steps": steps, "batch_size": 4, "checkpoint_every": 3, "validate_every": 2, "log_every": 1}
            | options
        )
    )
    summary = train(
        network,
        _cohort(),
        config,
        folder,
        validation=_cohort(1),
        dims=2,
        size=size,
        device="cpu",
        workers=workers,
    )
    return network, summary


ANNEALED = partial(VAE, anneal="monotonic", anneal_steps=5)


def _with_counters(checkpoint):
    """Make a checkpoint one of an earlier version, whose VAEs counted their steps themselves."""
    with safe_open(checkpoint, framework="pt") as file:
        facts = file.metadata()
    tensors = load_file(checkpoint)
    counters = {f"{name.partition('.')[0]}.updates" for name in tensors} - {"optimizer.updates"}
    save_file(tensors | {name: torch.tensor(4) for name in counters}, checkpoint, metadata=facts)


@pytest.mark.parametrize(
    "options", [{}, {"ema": 0.9, "clip": 1.0, "schedule": "cosine", "warmup": 2, "amsgrad": True}]
)
@pytest.mark.parametrize("model", [VAE, ANNEALED, DAE], ids=["vae", "annealed", "dae"])
@pytest.mark.parametrize("former", [False, True])
def test_resuming_is_bit_for_bit(options, model, former, tmp_path):
    straight, _ = _train(tmp_path / "a", 6, model=model, **options)
    # the cosine schedule depends on the number of steps, so the first part is interrupted rather
    # than shortened
    with pytest.MonkeyPatch.context() as patch:
        real = Sampler.draw

        def interrupted(self, seed, count):
            if seed[1] == 4:
                raise KeyboardInterrupt
            return real(self, seed, count)

        patch.setattr(Sampler, "draw", interrupted)
        with pytest.raises(KeyboardInterrupt):
            _train(tmp_path / "b", 6, model=model, **options)
    if former:
        _with_counters(tmp_path / "b" / "checkpoint.safetensors")
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


@pytest.mark.parametrize("options", [{}, {"accumulate": 2}])
def test_what_is_learnt_does_not_depend_on_the_workers(options, tmp_path):
    (alone, _), (helped, _) = (
        _train(tmp_path / str(workers), 6, workers=workers, flip=0.5, gamma=0.2, **options)
        for workers in (0, 2)
    )
    assert (tmp_path / "0" / "metrics.jsonl").read_bytes() == (tmp_path / "2" / "metrics.jsonl").read_bytes()
    for name, weight in alone.state_dict().items():
        assert torch.equal(helped.state_dict()[name], weight), name


def test_an_error_while_drawing_ahead_is_raised_as_itself(tmp_path, monkeypatch):
    real = Sampler.draw

    def lost(self, seed, count):
        if seed[1] == 4:
            raise OSError("the disk is gone")
        return real(self, seed, count)

    monkeypatch.setattr(Sampler, "draw", lost)
    with pytest.raises(OSError, match="the disk is gone"):
        _train(tmp_path, 10, workers=2)
    assert load_file(tmp_path / "checkpoint.safetensors")  # of step 3
    assert not [thread for thread in threading.enumerate() if thread.name.startswith("aberra-draw")]


class _Linear(torch.nn.Module):
    """Its gradient is the mean of what it sees."""

    def __init__(self):
        super().__init__()
        self.weight = torch.nn.Parameter(torch.ones(1))

    def loss(self, batch):
        return {"loss": (self.weight * batch.x).mean()}


def test_accumulated_batches_count_as_one(tmp_path):
    config = TrainingConfig(steps=3, batch_size=4, accumulate=3)
    run = Run(
        _Linear(), _cohort(), config, tmp_path, validation=(), dims=2, size=(32, 32), device="cpu", seed=5
    )
    batches = list(run.batches())
    assert len({batch[0].sum().item() for batch in batches}) == 9  # no batch comes twice
    losses = run._turn(0, "", iter(batches))
    expected = torch.cat([x for x, _ in batches[:3]]).mean()
    torch.testing.assert_close(run.inner.weight.grad[0], expected)
    torch.testing.assert_close(losses["loss"], expected)
    assert run.go(progress=False)["steps"] == 3


@pytest.mark.parametrize(("ema", "copies"), [(0.0, 1), (0.9, 3)])
def test_weights_are_put_aside_only_where_they_are_exchanged(ema, copies, tmp_path, monkeypatch):
    """One copy is the best weights; moving averages are kept in another and take the place of the
    current ones.
    """
    real, calls = Run._weights, []
    monkeypatch.setattr(Run, "_weights", lambda self: calls.append(1) or real(self))
    _train(tmp_path, 2, ema=ema)
    assert len(calls) == copies


class _Convolved(torch.nn.Module):
    def __init__(self, **options):
        del options
        super().__init__()
        self.net = torch.nn.Sequential(torch.nn.Conv2d(1, 2, 3, padding=1), torch.nn.Conv2d(2, 1, 1))

    def loss(self, batch):
        return {"loss": (self.net(batch.x) - batch.x).square().mean()}


@pytest.mark.filterwarnings("ignore:.*script_method:DeprecationWarning")  # of torch's own compiler
def test_compiled_networks_learn_the_same(tmp_path, monkeypatch):
    """Traced and differentiated ahead of time, but without the minute that generating C++ takes."""
    real, calls = torch.nn.Module.compile, []
    monkeypatch.setattr(
        torch.nn.Module, "compile", lambda self: calls.append(self) or real(self, backend="aot_eager")
    )
    (plain, _), (compiled, _) = (
        _train(tmp_path / choice, 4, model=_Convolved, compile=choice) for choice in ("off", "on")
    )
    assert calls == [compiled.net]
    assert compiled.net._compiled_call_impl is None  # in use it is as it was
    for name, weight in plain.state_dict().items():
        torch.testing.assert_close(compiled.state_dict()[name], weight)


def test_the_loss_falls_and_the_best_weights_are_kept(tmp_path):
    _, summary = _train(tmp_path, 60, learning_rate=2e-3)
    rows = [json.loads(line) for line in (tmp_path / "metrics.jsonl").read_text().splitlines()]
    losses = [row["loss"] for row in rows if "loss" in row]
    assert np.mean(losses[-10:]) < np.mean(losses[:10])
    assert summary["best_validation"] == min(row["validation"] for row in rows if "validation" in row)


def test_the_late_gain_is_the_last_fifths_share_of_the_validation_loss():
    assert late_gain([(20, 2.0), (40, 1.0), (60, 1.5), (80, 1.2), (90, 1.1), (100, 0.9)]) == pytest.approx(
        0.1
    )
    assert late_gain([(50, 1.0), (100, 1.2)]) == 0  # it has stopped falling
    assert late_gain([(50, -1.0), (100, -1.5)]) == pytest.approx(0.5)
    assert late_gain([(100, 1.0)]) is None
    assert late_gain([]) is None


def test_a_training_says_how_much_it_still_gained(tmp_path):
    _, summary = _train(tmp_path, 60, learning_rate=2e-3)
    rows = [json.loads(line) for line in (tmp_path / "metrics.jsonl").read_text().splitlines()]
    watched = [(row["step"], row["validation"]) for row in rows if "validation" in row]
    assert summary["late_gain"] == late_gain(watched)


def test_early_stopping(tmp_path):
    _, summary = _train(tmp_path, 500, patience=2, min_delta=1e9)
    assert summary["steps"] == 6  # the first evaluation is the best; two more without improvement


def test_a_loss_that_is_not_finite_stops_with_the_last_good_weights_kept(tmp_path):
    class Breaks(VAE):
        calls = 0

        def loss(self, batch):
            Breaks.calls += self.training
            losses = super().loss(batch)
            return {name: value * (float("nan") if Breaks.calls > 4 else 1) for name, value in losses.items()}

    with pytest.raises(TrainingError, match="not finite"):
        _train(tmp_path, 10, model=Breaks)
    kept = load_file(tmp_path / "checkpoint.safetensors")
    assert all(torch.isfinite(tensor).all() for tensor in kept.values() if tensor.is_floating_point())


def test_a_gradient_that_is_not_finite_does_not_reach_the_checkpoint(tmp_path):
    class Breaks(VAE):
        calls = 0

        def loss(self, batch):
            losses = super().loss(batch)
            Breaks.calls += self.training
            if Breaks.calls == 6:  # adds 0 to the loss and NaN to its gradient, on a step that is saved
                losses["loss"] = losses["loss"] + (next(self.parameters()) * 0).sum().abs().sqrt()
            return losses

    with pytest.raises(
        TrainingError, match=r"step 6: a weight is not finite; the checkpoint of step 3 is kept"
    ):
        _train(tmp_path, 10, model=Breaks, validate_every=100)
    kept = load_file(tmp_path / "checkpoint.safetensors")
    assert all(torch.isfinite(tensor).all() for tensor in kept.values() if tensor.is_floating_point())


@pytest.mark.parametrize("moment", ["in a step", "in an evaluation"])
def test_ctrl_c_is_answered_between_steps(moment, tmp_path, capsys):
    """A real signal in the middle of a step or an evaluation with averaged weights; the resumed run
    is the same.
    """

    class Interrupted(VAE):
        calls = 0

        def loss(self, batch):
            if self.training == (moment == "in a step"):
                Interrupted.calls += 1
                if Interrupted.calls == 4:
                    signal.raise_signal(signal.SIGINT)
            return super().loss(batch)

    straight, _ = _train(tmp_path / "a", 10, ema=0.9)
    with pytest.raises(KeyboardInterrupt):
        _train(tmp_path / "b", 10, ema=0.9, model=Interrupted)
    assert "interrupted at step" in capsys.readouterr().out
    assert signal.getsignal(signal.SIGINT) is signal.default_int_handler
    resumed, _ = _train(tmp_path / "b", 10, ema=0.9)
    for name, weight in straight.state_dict().items():
        assert torch.equal(resumed.state_dict()[name], weight), name


def test_a_second_ctrl_c_stops_at_once():
    with held_back() as interrupted:
        signal.raise_signal(signal.SIGINT)
        assert interrupted()
        with pytest.raises(KeyboardInterrupt):
            signal.raise_signal(signal.SIGINT)


def test_what_is_known_of_a_person_comes_with_every_sample_of_hers():
    volumes = [
        volume.with_(data=np.full_like(volume.data, number), covariates=known)
        for number, (volume, known) in enumerate(
            zip(_cohort(2), ({"age": "75", "sex": "m"}, {}), strict=True)
        )
    ]
    options = {"dims": 2, "size": (32, 32), "covariates": ("sex", "age")}
    sampler = Sampler(volumes, TrainingConfig(flip=1.0), **options)
    x, _, covariates = sampler.draw([0, 0, 0], 8)
    expected = np.where(x[:, :1, 0, 0] == 0, [[-1.0, 1.0]], np.nan)
    np.testing.assert_array_equal(covariates, expected)
    sampler.expect_known(options["covariates"])
    with pytest.raises(TrainingError, match="learns from sex, but no training case has any"):
        Sampler([volumes[1].with_(covariates={"age": 20})], TrainingConfig(), **options).expect_known(
            options["covariates"]
        )


def test_lesion_slices_and_empty_slices_are_never_drawn():
    volumes = _cohort(2, lesion=True)
    volumes[0].mask[5] = False
    config = TrainingConfig(slices="lesion-free")
    sampler = Sampler(volumes, config, dims=2, size=(32, 32))
    assert {place for index, place in sampler.places if index == 0} == {0, 1, 3, 4}
    everything = [volume.with_(lesion=np.ones(volume.shape, bool)) for volume in volumes]
    with pytest.raises(TrainingError, match="no lesion voxel"):
        Sampler(everything, config, dims=2, size=(32, 32))


def test_samples_come_with_their_truth_and_as_many_lesions_as_asked_for():
    volumes = _cohort(2, lesion=True)
    sampler = Sampler(
        volumes,
        TrainingConfig(balance=0.75, flip=0.5, slices="lesion-free"),
        dims=2,
        size=(32, 32),
        lesions=True,
    )
    assert len(sampler) == 12  # lesion-free is for those who do not learn from lesions
    x, mask, lesion = sampler.draw([0, 0, 0], 200)
    assert x.shape == mask.shape == lesion.shape
    touched = lesion.flatten(1).amax(dim=1) > 0
    assert 0.7 < touched.float().mean() < 0.9  # three quarters, and a fifth of the rest
    for volume in volumes:
        volume.data[0][volume.lesion] = 7
    x, _, lesion = sampler.draw([0, 0, 1], 50)
    assert torch.equal(x == 7, lesion > 0)  # mirrored with the image


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


def test_cases_without_a_usable_patch_are_left_out():
    healthy, sick = _cohort(1, shape=(8, 16, 16)), _cohort(1, shape=(8, 16, 16), lesion=True)
    config = TrainingConfig(slices="lesion-free")
    sampler = Sampler([*sick, *healthy], config, dims=3, size=(8, 16, 16))
    assert {index for index, _ in sampler.places} == {1}
    assert torch.equal(sampler.draw([0, 0, 0], 3)[0][0, 0], torch.from_numpy(healthy[0].data[0]))
    with pytest.raises(TrainingError, match=r"usable patch.*smaller patches"):
        Sampler(sick, config, dims=3, size=(8, 16, 16))


def test_patches_have_enough_foreground():
    volume = _cohort(1, shape=(20, 20, 20))[0]
    volume.mask[:, :, 8:] = False
    sampler = Sampler([volume], TrainingConfig(min_foreground=0.5), dims=3, size=(8, 8, 8))
    _, inside = sampler.draw([0, 0, 0], 50)
    shares = inside.mean(dim=(1, 2, 3, 4))
    assert shares.min() == 0.5
    assert shares.max() == 1


def test_batches_depend_on_seed_and_step_alone():
    sampler = Sampler(_cohort(), TrainingConfig(flip=0.5, gain=0.1, gamma=0.3), dims=2, size=(32, 32))
    assert torch.equal(sampler.draw([1, 2, 0], 4)[0], sampler.draw([1, 2, 0], 4)[0])
    assert not torch.equal(sampler.draw([1, 2, 0], 4)[0], sampler.draw([1, 3, 0], 4)[0])


@pytest.mark.parametrize(("dims", "size"), [(2, (16, 16)), (3, (8, 16, 16))])
def test_partners_are_other_cases_at_the_same_place(dims, size):
    def case(number, low):
        place = np.indices((12, 24, 24), dtype=np.float32)
        index = sum(
            place * np.array([1, 100, 10_000]).reshape(3, 1, 1, 1)
        )  # what a voxel's value says of its place
        mask = np.zeros(index.shape, bool)
        mask[low : low + 8, 4:20, 4:20] = True
        return Volume(data=(index + number * 1e6)[None] * mask, affine=np.eye(4), mask=mask)

    cases = [case(1, 0), case(2, 3), case(3, 3)]
    config = TrainingConfig(flip=0.5, min_foreground=0.1)
    sampler = Sampler(cases, config, dims=dims, size=size, partners=True)
    x, mask, other, there = sampler.draw([0, 1, 0], 24)
    assert other.shape == x.shape
    both = (mask > 0) & (there > 0)
    assert both.any()
    number, partner = (each.double().div(1e6).floor() for each in (x, other))
    assert (number[both] != partner[both]).all()
    shift = {
        (1, 2): 3,
        (1, 3): 3,
        (2, 1): -3,
        (3, 1): -3,
        (2, 3): 0,
        (3, 2): 0,
    }  # along D, as the middles of the foregrounds
    moved = (other - x).double() - (partner - number) * 1e6
    for key, expected in shift.items():
        pair = both & (number == key[0]) & (partner == key[1])
        assert (moved[pair].round() == expected).all(), key
    again = sampler.draw([0, 1, 0], 24)
    assert all(torch.equal(*each) for each in zip(again, (x, mask, other, there), strict=True))
    plain = Sampler(cases, config, dims=dims, size=size)
    assert len(plain.draw([0, 1, 0], 2)) == 2


def test_the_partner_of_a_single_case_is_its_mirror_image():
    (volume,) = _cohort(1)
    sampler = Sampler([volume], TrainingConfig(gamma=0.2), dims=2, size=(32, 32), partners=True)
    x, _, other, _ = sampler.draw([0, 0, 0], 4)
    torch.testing.assert_close(other, x.flip(-1))


def test_validation_watches_the_error_of_models_that_have_one(tmp_path):
    class Erring(VAE):
        def loss(self, batch):
            losses = super().loss(batch)
            return losses if self.training else losses | {"error": losses["loss"] * 0 + 0.25}

    _, summary = _train(tmp_path, 4, model=Erring)
    assert summary["best_validation"] == pytest.approx(0.25)


class Noting(DAE):
    """Notes in what precision its loss computes."""

    seen = ()

    def loss(self, batch):
        losses = super().loss(batch)
        self.seen = (
            *self.seen,
            torch.get_autocast_dtype("cpu") if torch.is_autocast_enabled("cpu") else torch.float32,
        )
        return losses


@pytest.mark.parametrize(("precision", "dtype"), [("32-true", torch.float32), ("bf16-mixed", torch.bfloat16)])
def test_the_loss_computes_in_the_precision_that_is_asked_for(tmp_path, precision, dtype):
    torch.manual_seed(0)
    model = Noting(channels=1, dims=2, size=(32, 32), network={"width": 4, "depth": 2})
    config = TrainingConfig(steps=2, batch_size=2, precision=precision)
    train(model, _cohort(), config, tmp_path, dims=2, size=(32, 32), device="cpu", seed=0)
    assert set(model.seen) == {dtype}
    assert all(weight.dtype == torch.float32 for weight in model.parameters())


def test_settings():
    config = TrainingConfig(steps=100, learning_rate=1.0, schedule="cosine", warmup=10)
    assert config.rate(0) == pytest.approx(0.1)
    assert config.rate(10) == pytest.approx(1.0)
    assert config.rate(99) < 0.01
    assert config.rate(20, spent=1.0) == 0.0  # where time is limited a cosine ends with it
    assert TrainingConfig(schedule="plateau", learning_rate=1.0).rate(5, cuts=2) == 0.25
    with pytest.raises(ConfigError, match="Did you mean 'steps'"):
        TrainingConfig.from_dict({"step": 5})
    with pytest.raises(
        ConfigError, match=r"training\.steps=many: expected a number, as in training\.steps=2000"
    ):
        TrainingConfig.from_dict({"steps": "many"})
    with pytest.raises(ConfigError, match="Did you mean 'cosine'"):
        TrainingConfig(schedule="cosinus")
    with pytest.raises(ConfigError, match="Did you mean 'bf16-mixed'"):
        TrainingConfig(precision="b16-mixed")
    assert TrainingConfig(schedule="plateau").plateau == 5
    assert TrainingConfig(schedule="plateau", patience=5).plateau == 2


@pytest.mark.parametrize(
    ("name", "value", "expected"),
    [
        ("steps", 0, "1 or more"),
        ("learning_rate", 0.0, "above 0"),
        ("learning_rate", float("nan"), "above 0"),
        ("patience", -1, "0 or more"),
        ("flip", 1.1, r"in \[0, 1\]"),
        ("ema", 1.0, r"in \[0, 1\)"),
        ("beta1", 1.0, r"in \[0, 1\)"),
    ],
)
def test_settings_out_of_range_are_refused(name, value, expected):
    with pytest.raises(ConfigError, match=rf"training\.{name}=.*{expected}"):
        TrainingConfig(**{name: value})


CHILD = """
import sys
from pathlib import Path

import numpy as np
import torch

from aberra.models.vae import VAE
from aberra.training import TrainingConfig, train
from aberra.volume import Volume

torch.set_num_threads(1)
rng = np.random.default_rng(0)
data = [
    Volume(data=rng.random((1, 6, 32, 32), dtype=np.float32), affine=np.eye(4), mask=np.ones((6, 32, 32), bool))
    for _ in range(3)
]
torch.manual_seed(0)
model = VAE(channels=1, size=(32, 32), network={"width": 4}, latent=8)
folder, steps, devices = Path(sys.argv[1]), int(sys.argv[2]), int(sys.argv[3])
config = TrainingConfig(steps=steps, batch_size=4, checkpoint_every=5, log_every=1, ema=0.9, validate_every=4, devices=devices)
summary = train(model, data, config, folder, validation=data[:1], dims=2, size=(32, 32), device="cpu")
with (folder / "returned").open("a") as file:
    file.write("nothing " if summary is None else "weights ")
"""
"""A training in a process of its own."""


def _child(folder, steps, *, devices=1):
    script = folder.parent / "child.py"
    script.write_text(CHILD)
    return subprocess.Popen([sys.executable, str(script), str(folder), str(steps), str(devices)])


def _tensors(folder):
    return load_file(folder / "checkpoint.safetensors")


@pytest.mark.slow
def test_a_killed_run_goes_on_bit_for_bit(tmp_path):
    steps, killed = 400, tmp_path / "killed"
    child = _child(killed, steps)
    deadline = time.monotonic() + 120
    while not (killed / "checkpoint.safetensors").exists():
        assert child.poll() is None
        assert time.monotonic() < deadline
        time.sleep(0.005)
    child.kill()
    child.wait()
    assert not (killed / "returned").exists()
    assert _child(killed, steps).wait() == 0
    assert _child(tmp_path / "straight", steps).wait() == 0
    expected, found = _tensors(tmp_path / "straight"), _tensors(killed)
    assert expected.keys() == found.keys()
    assert all(torch.equal(found[name], tensor) for name, tensor in expected.items())
    rows = [
        [
            {k: v for k, v in json.loads(line).items() if k != "seconds"}
            for line in path.read_text().splitlines()
        ]
        for path in (killed / "metrics.jsonl", tmp_path / "straight" / "metrics.jsonl")
    ]
    assert rows[0] == rows[1]


@pytest.mark.slow
def test_two_processes_train_together_and_one_has_the_weights_to_save(tmp_path):
    assert _child(tmp_path / "run", 8, devices=2).wait() == 0
    assert sorted((tmp_path / "run" / "returned").read_text().split()) == ["nothing", "weights"]
    rows = [json.loads(line) for line in (tmp_path / "run" / "metrics.jsonl").read_text().splitlines()]
    assert [row["step"] for row in rows if "loss" in row] == list(range(1, 9))


def test_a_loss_is_told_how_far_the_training_is(tmp_path):
    """The same in both batches of a step, and after it in validation."""
    seen = []

    class Curious(VAE):
        def loss(self, batch):
            seen.append((self.training, batch.step, batch.progress, batch.turn, batch.lesion))
            return super().loss(batch)

    _train(tmp_path, 4, model=Curious, accumulate=2, validate_every=4)
    steps = [step for training, step, *_ in seen if training]
    assert steps == [0, 0, 1, 1, 2, 2, 3, 3]
    assert {step for training, step, *_ in seen if not training} == {4}
    assert all(
        progress == step / 4 and (turn, lesion) == ("", None) for _, step, progress, turn, lesion in seen
    )

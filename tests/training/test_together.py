"""Processes that torchrun starts train one model as one process does."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from copy import deepcopy
from pathlib import Path

import pytest
import torch
from torch import nn

from aberra.devices import ranks
from aberra.errors import ConfigError
from aberra.models.ae import AE
from aberra.models.fanogan import FAnoGAN
from aberra.models.intensity import Intensity
from aberra.training import TrainingConfig, metrics, together, train
from small_scans import cohort, scan

QUICK = {
    "prepare.size": 16, "model.network.width": 4, "model.network.dropout": 0, "model.latent": 4, "training.steps": 12, "training.batch_size": 4,
    "training.log_every": 1, "training.validate_every": 4, "training.checkpoint_every": 4, "training.learning_rate": 1e-3,
}  # fmt: skip


def _fit(start, manifest, out, **changed):
    options = [part for key, value in (QUICK | changed).items() for part in ("--set", f"{key}={value}")]
    command = [*start, "-m", "aberra", "fit", "ae", manifest, "--out", out, "--device", "cpu", *options]
    environment = os.environ | {"OMP_NUM_THREADS": "1"}
    return subprocess.run(
        list(map(str, command)), capture_output=True, text=True, check=False, env=environment
    )


def _torchrun(count):
    run = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--local-addr", "127.0.0.1"]
    return [*run, "--nproc-per-node", str(count)]


def _lines(run):
    return [json.loads(line) for line in (run / "metrics.jsonl").read_text().splitlines()]


def _rows(out):
    return _lines(out / "run")


@pytest.fixture(scope="module")
def fitted(tmp_path_factory):
    """The same fit by one process and by two."""
    folder = tmp_path_factory.mktemp("together")
    manifest = cohort(folder, 4, split=True)
    done = {count: _fit(start, manifest, folder / str(count)) for count, start in ((1, [sys.executable]), (2, _torchrun(2)))}  # fmt: skip
    for each in done.values():
        assert each.returncode == 0, each.stderr
    return folder, manifest, done


def test_two_processes_have_the_loss_curve_of_one(fitted):
    folder, _, _ = fitted
    alone, together = (_rows(folder / name) for name in ("1", "2"))
    assert [row["step"] for row in together] == [row["step"] for row in alone]
    assert sum("validation" in row for row in alone) == 3
    for one, other in zip(alone, together, strict=True):
        assert one.keys() == other.keys()
        for key, value in one.items():
            # Adam makes steps of the rounding in biases before batch norms, whose moments lag behind
            near = 1e-2 if key == "validation" else 1e-3
            assert other[key] == pytest.approx(value, rel=near), (one["step"], key)
    losses = [row["loss"] for row in alone if "loss" in row]
    assert losses[-1] < 0.9 * losses[0], "a curve that does not fall shows nothing"


def test_one_process_speaks_and_saves(fitted):
    folder, _, done = fitted
    assert done[2].stdout.count("next:") == 1
    assert done[2].stdout.splitlines()[-1] == done[1].stdout.splitlines()[-1].replace("/1 ", "/2 ")
    scores = [json.loads((folder / name / "calibration.json").read_text())["scores"] for name in ("1", "2")]
    assert scores[1] == pytest.approx(scores[0], rel=2e-2)


def _train(folder, **options):
    """Twelve steps of a tiny autoencoder; what a script may do, too."""
    volumes = [scan(seed) for seed in range(3)]
    torch.manual_seed(0)
    model = AE(channels=1, size=(16, 16), network={"width": 4, "dropout": 0.0}, latent=4)
    config = TrainingConfig(steps=12, batch_size=4, log_every=1, validate_every=4, **options)
    return train(model, volumes, config, folder, validation=volumes[:1], dims=2, size=(16, 16), device="cpu")


def test_one_goes_on_where_two_were_stopped(tmp_path):
    script = tmp_path / "script.py"
    script.write_text(
        "from pathlib import Path\nimport sys\nfrom test_together import _train\n_train(Path(sys.argv[1]), minutes=1e-9)\n"
    )
    here = Path(__file__).parent
    search = os.pathsep.join([str(here), str(here.parent), os.environ.get("PYTHONPATH", "")])
    command = [*_torchrun(2), str(script), str(tmp_path / "stopped")]
    subprocess.run(command, check=True, env=os.environ | {"OMP_NUM_THREADS": "1", "PYTHONPATH": search})
    first = metrics.validations(tmp_path / "stopped" / "metrics.jsonl")
    assert not first  # the time was over after one step, for both of them
    _train(tmp_path / "stopped")
    _train(tmp_path / "straight")
    found, expected = (_lines(tmp_path / name) for name in ("stopped", "straight"))
    assert [row["step"] for row in found if "loss" in row] == list(range(1, 13))
    for one, other in zip(expected, found, strict=True):
        assert other == pytest.approx(one, rel=1e-4)


def test_of_one_process_a_shared_batch_norm_is_batch_norm(monkeypatch):
    """Torch's own layers are the reference: output, gradients and moments."""
    monkeypatch.setattr(torch.distributed, "get_world_size", lambda: 1)
    monkeypatch.setattr(torch.distributed, "all_reduce", lambda total: total)
    for layer, shape in ((nn.BatchNorm2d(3), (4, 3, 5, 6)), (nn.BatchNorm3d(3, momentum=None), (4, 3, 5, 6, 2)), (nn.BatchNorm1d(3, affine=False), (8, 3))):  # fmt: skip
        other = deepcopy(layer)
        assert together.share_batch_norms(other) == 1
        for step in range(2):
            x = (5 + 3 * torch.randn(shape, generator=torch.Generator().manual_seed(step))).requires_grad_()
            y = x.detach().clone().requires_grad_()
            out, expected = other(y), layer(x)
            torch.testing.assert_close(out, expected, rtol=1e-4, atol=1e-5)
            (out**3).sum().backward()
            (expected**3).sum().backward()
            torch.testing.assert_close(y.grad, x.grad, rtol=1e-3, atol=1e-4)
        assert other.state_dict().keys() == layer.state_dict().keys()
        for name, value in layer.state_dict().items():
            torch.testing.assert_close(other.state_dict()[name], value, rtol=1e-4, atol=1e-5)
        together.forget_shared(other)
        assert torch.equal(other.eval()(x), type(other).forward(other, x))
        assert "forward" not in vars(other)


def test_ranks_are_torchruns(monkeypatch):
    for name in ("TORCHELASTIC_RUN_ID", "RANK", "WORLD_SIZE"):
        monkeypatch.delenv(name, raising=False)
    assert ranks() == (0, 1)
    monkeypatch.setenv("RANK", "1")  # a cluster's own, of something else
    monkeypatch.setenv("WORLD_SIZE", "4")
    assert ranks() == (0, 1)
    monkeypatch.setenv("TORCHELASTIC_RUN_ID", "none")
    assert ranks() == (1, 4)


@pytest.mark.parametrize(
    ("model", "options", "why"),
    [
        (lambda: FAnoGAN(channels=1, size=(16, 16), network={"width": 4}, latent=4), {}, "learns in turns"),
        (Intensity, {}, "no training by gradient descent"),
        (lambda: AE(channels=1, size=(16, 16), network={"width": 4}, latent=4), {"batch_size": 5}, "multiple of 2"),
        (lambda: AE(channels=1, size=(16, 16), network={"width": 4}, latent=4), {"trim": 0.1}, "of a whole batch"),
    ],
)  # fmt: skip
def test_what_cannot_be_shared_is_refused(model, options, why, monkeypatch):
    with pytest.raises(ConfigError, match=f"^training.devices=2: .*{why}"):
        together.expect_together(model(), TrainingConfig(devices=2, **options))
    monkeypatch.setattr(together, "ranks", lambda: (0, 2))
    with pytest.raises(ConfigError, match=f"^torchrun with 2 processes: .*{why}"):
        together.expect_together(model(), TrainingConfig(**options))
    monkeypatch.setattr(together, "ranks", lambda: (0, 1))
    together.expect_together(model(), TrainingConfig(**options))

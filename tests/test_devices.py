"""What is chosen with GPUs that are only said to be there."""

from __future__ import annotations

from contextlib import contextmanager

import pytest
import torch

from aberra.detector.windows import CPU_BATCH, CUDA_BATCH, Runner
from aberra.devices import choose_device, takes_bf16
from aberra.errors import ConfigError


def test_the_first_gpu_is_chosen_or_the_one_asked_for(fake_gpus):
    fake_gpus(2)
    assert choose_device() == choose_device("cuda") == torch.device("cuda")
    assert choose_device("cuda:1") == torch.device("cuda", 1)
    assert choose_device("cpu").type == "cpu"
    with pytest.raises(ConfigError, match="device cuda:2: not there, there are 2 GPUs; use auto or cpu"):
        choose_device("cuda:2")
    fake_gpus(0)
    assert choose_device().type == "cpu"
    with pytest.raises(ConfigError, match="device cuda: not there, torch finds no GPU here"):
        choose_device("cuda")


def test_a_gpu_that_is_there_and_cannot_be_used_is_one_line(fake_gpus, monkeypatch):
    fake_gpus(1)

    def broken(*_, **__):
        raise RuntimeError("CUDA error: no kernel image is available\nCompile with ...")

    monkeypatch.setattr(torch, "zeros", broken)
    with pytest.raises(
        ConfigError, match=r"cannot be used \(CUDA error: no kernel image is available\); use"
    ):
        choose_device("cuda")


@pytest.mark.parametrize(("capability", "expected"), [((8, 0), True), ((12, 0), True), ((7, 5), False)])
def test_bf16_is_for_gpus_that_compute_in_it(fake_gpus, capability, expected):
    fake_gpus(1, capability)
    assert takes_bf16(torch.device("cuda")) is expected
    assert not takes_bf16(torch.device("cpu"))


@pytest.mark.parametrize("dims", [2, 3])
def test_gpus_see_more_windows_at_once(fake_gpus, dims):
    fake_gpus(1)
    assert Runner(dims=dims, size=(8,) * dims).batch_size == CUDA_BATCH[dims]
    assert Runner(dims=dims, size=(8,) * dims, device="cpu").batch_size == CPU_BATCH[dims] < CUDA_BATCH[dims]
    assert Runner(dims=dims, size=(8,) * dims, batch_size=3).batch_size == 3


@pytest.mark.parametrize(
    ("capability", "grad", "expected"), [((9, 0), False, True), ((9, 0), True, False), ((7, 0), False, False)]
)
def test_detection_is_in_bf16_where_no_gradient_is_asked_for(
    fake_gpus, monkeypatch, capability, grad, expected
):
    asked = []

    @contextmanager
    def recorded(kind, precision, *, enabled):
        asked.append((kind, precision, enabled))
        yield

    fake_gpus(1, capability)
    run = Runner(dims=2, size=(8, 8), device="cuda")
    monkeypatch.setattr(torch, "autocast", recorded)
    x = torch.rand(2, 1, 8, 8)
    assert torch.equal(run._apply(lambda batch: 2 * batch, x, grad=grad), 2 * x)
    assert asked == [("cuda", torch.bfloat16, expected)]


def _short_of_memory(most, seen):
    def function(batch):
        seen.append(len(batch))
        if len(batch) > most:
            raise torch.cuda.OutOfMemoryError("CUDA out of memory")
        return 3 * batch

    return function


def test_a_batch_that_does_not_fit_is_halved_until_it_does(capfd):
    run, seen = Runner(dims=2, size=(8, 8), batch_size=16, device="cpu"), []
    x, mask = torch.rand(1, 10, 8, 8), torch.ones(10, 8, 8, dtype=torch.bool)
    assert torch.equal(run(_short_of_memory(3, seen), x, mask), 3 * x)
    assert seen == [10, 8, 4, 2, 2, 2, 2, 2]  # nothing is asked twice once it fits
    assert run.batch_size == 2  # of the next scan, too
    assert capfd.readouterr().err.splitlines()[-1] == "CUDA out of memory: batch size is now 2"


def test_a_window_that_does_not_fit_at_all_is_one_line():
    run = Runner(dims=2, size=(8, 8), batch_size=2, device="cpu")
    with pytest.raises(ConfigError, match=r"one window of \(8, 8\) does not fit on cpu; use --device cpu"):
        run(_short_of_memory(0, []), torch.rand(1, 2, 8, 8), torch.ones(2, 8, 8, dtype=torch.bool))

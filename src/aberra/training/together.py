"""Several processes that train one model as one process would, on a device each."""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING, Any

import torch
from torch import nn
from torch.nn.modules.batchnorm import _BatchNorm

from aberra.capabilities import AnchorsClasses, LearnsInTurns, Trains
from aberra.devices import ranks
from aberra.errors import ConfigError

if TYPE_CHECKING:
    from torch import Tensor

    from aberra.training.config import TrainingConfig


def expect_together(model: nn.Module, config: TrainingConfig) -> None:
    """Refuse several processes for a model that they cannot train as one process would.

    Raises:
        ConfigError: says why.
    """
    count = processes(config)
    how = f"torchrun with {count} processes" if ranks()[1] > 1 else f"training.devices={count}"
    if count == 1:
        return
    if isinstance(model, LearnsInTurns):
        raise ConfigError(f"{how}: a model that learns in turns (a GAN) trains on one device")
    if not isinstance(model, Trains):
        raise ConfigError(
            f"{how}: this model has no training by gradient descent to share; run it in one process (members of an ensemble: --on)"
        )
    if isinstance(model, AnchorsClasses) and model.anchor:
        raise ConfigError(
            f"{how}: a model that sees samples of {model.anchor} behind every batch trains on one device"
        )
    if config.trim:
        raise ConfigError(f"{how}: training.trim is of a whole batch; leave one of the two out")
    if config.batch_size % count:
        raise ConfigError(
            f"{how}: training.batch_size={config.batch_size} cannot be shared by {count}; choose a multiple of {count}"
        )


def processes(config: TrainingConfig) -> int:
    """How many processes train one model, each on a device of its own."""
    count = ranks()[1]
    return count if count > 1 else config.devices


def share_batch_norms(model: nn.Module) -> int:
    """Let batch norms take mean and variance of the whole batch, not of the process's own share;
    returns how many there are.

    As ``torch.nn.SyncBatchNorm``, on CPUs, too, and without other modules, so that the weights keep
    their names.
    """
    found = [module for module in model.modules() if isinstance(module, _BatchNorm)]
    for module in found:
        module.forward = partial(_normed, module)  # type: ignore[method-assign]
    return len(found)


def forget_shared(model: nn.Module) -> None:
    """Undo :func:`share_batch_norms`; a finished model is used by one process."""
    for module in model.modules():
        if isinstance(module, _BatchNorm):
            vars(module).pop("forward", None)


def _normed(module: Any, x: Tensor) -> Tensor:
    """Batch norm of a share (B', C, S) of a batch, all shares being of one size (Ioffe and Szegedy
    2015, Algorithm 1, over all processes).
    """
    if not module.training:
        normed: Tensor = type(module).forward(module, x)
        return normed
    count = torch.distributed.get_world_size()
    axes, shape = [0, *range(2, x.ndim)], [1, -1, *[1] * (x.ndim - 2)]
    mean = _of_all(x.float().mean(axes)) / count
    centred = x.float() - mean.reshape(shape)
    variance = _of_all(centred.square().mean(axes)) / count
    if module.track_running_stats:
        with torch.no_grad():
            module.num_batches_tracked += 1
            share = module.momentum or 1 / float(module.num_batches_tracked)
            values = count * x.numel() // x.shape[1]
            module.running_mean.lerp_(mean.detach(), share)
            module.running_var.lerp_(variance.detach() * values / (values - 1), share)
    normed = centred * (variance + module.eps).rsqrt().reshape(shape)
    if module.affine:
        normed = normed * module.weight.reshape(shape) + module.bias.reshape(shape)
    return normed.to(x.dtype)


def _of_all(x: Tensor) -> Tensor:
    total: Tensor = _Sum.apply(x)  # type: ignore[no-untyped-call]
    return total


class _Sum(torch.autograd.Function):
    """The sum over all processes; so is its gradient."""

    @staticmethod
    def forward(ctx: Any, x: Tensor) -> Tensor:
        del ctx
        return _summed(x)

    @staticmethod
    def backward(ctx: Any, gradient: Tensor) -> Tensor:
        del ctx
        return _summed(gradient)


def _summed(x: Tensor) -> Tensor:
    total = x.clone()
    torch.distributed.all_reduce(total)
    return total

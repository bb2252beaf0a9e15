"""Adam, once for each player."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import torch

from aberra.capabilities import HasRates, LearnsInTurns

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from torch import nn

    from aberra.training.config import TrainingConfig


class Adams:
    """One Adam for each player of a model that learns in turns, under the player's name; else one
    for all, under "".

    A parameter of two players, such as a decoder that is a generator, too, has moments of its own
    in each. In shared ones the smaller gradient (a critic's, beside that of a sum over pixels)
    would count for next to nothing.

    Weight decay is decoupled from the gradient (AdamW: Loshchilov and Hutter 2019, Algorithm 2) and
    leaves norms and biases alone; without decay AdamW is Adam. On CUDA all parameters move in one
    fused kernel. Parts of a model that :class:`aberra.capabilities.HasRates` move at their own
    share of the learning rate.

    Args:
        model: on its device.
        config: settings.
    """

    def __init__(self, model: nn.Module, config: TrainingConfig) -> None:
        players = model.players() if isinstance(model, LearnsInTurns) else {"": model.parameters()}
        self.parameters = {name: list(parameters) for name, parameters in players.items()}
        names = {parameter: name for name, parameter in model.named_parameters()}
        shares = {
            parameter: model.rate_of(name) if isinstance(model, HasRates) else 1.0
            for parameter, name in names.items()
        }
        self.each = {
            name: torch.optim.AdamW(
                _groups(parameters, config.weight_decay, shares),
                lr=config.learning_rate,
                betas=(config.beta1, config.beta2),
                amsgrad=config.amsgrad,
                fused=True if parameters and parameters[0].is_cuda else None,
            )
            for name, parameters in self.parameters.items()
        }

    def set_rate(self, rate: float) -> None:
        """Set the learning rate of all."""
        for adam in self.each.values():
            for group in adam.param_groups:
                group["lr"] = rate * group["share"]

    def state_dict(self) -> dict[str, Any]:
        """Moments by number: parameters are numbered in the model's order, from one player to the
        next.
        """
        numbers = self._numbers()
        return {
            "state": {
                numbers[name][parameter]: adam.state[parameter]
                for name, adam in self.each.items()
                for parameter in self.parameters[name]
                if parameter in adam.state
            }
        }

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Take over what :meth:`state_dict` gave."""
        numbers = self._numbers()
        for name, adam in self.each.items():
            # Adam itself numbers by group
            order = [parameter for group in adam.param_groups for parameter in group["params"]]
            moments = {
                index: state["state"][numbers[name][parameter]]
                for index, parameter in enumerate(order)
                if numbers[name][parameter] in state["state"]
            }
            adam.load_state_dict(adam.state_dict() | {"state": moments})

    def _numbers(self) -> dict[str, dict[nn.Parameter, int]]:
        """Each player's parameters and their numbers."""
        numbers, first = {}, 0
        for name, parameters in self.parameters.items():
            numbers[name] = {parameter: first + index for index, parameter in enumerate(parameters)}
            first += len(parameters)
        return numbers


def _groups(
    parameters: Sequence[nn.Parameter], decay: float, shares: Mapping[nn.Parameter, float]
) -> list[dict[str, Any]]:
    """Weights of layers, which decay, and norms and biases, which have one axis and do not; those
    of each share of the learning rate apart.
    """
    groups: dict[tuple[float, float], list[nn.Parameter]] = {}
    for parameter in parameters:
        groups.setdefault((shares[parameter], decay if parameter.ndim > 1 else 0.0), []).append(parameter)
    return [{"params": group, "weight_decay": own, "share": share} for (share, own), group in groups.items()]

"""Adam, once for each player."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import torch

from aberra.capabilities import LearnsInTurns

if TYPE_CHECKING:
    from collections.abc import Mapping

    from torch import nn

    from aberra.training.config import TrainingConfig


class Adams:
    """One Adam for each player of a model that learns in turns, under the player's name; else one for all, under "".

    A parameter of two players, such as a decoder that is a generator, too, has moments of its own in each. In shared ones the
    smaller gradient (a critic's, beside that of a sum over pixels) would count for next to nothing.

    Args:
        model: on its device.
        config: settings.
    """

    def __init__(self, model: nn.Module, config: TrainingConfig) -> None:
        players = model.players() if isinstance(model, LearnsInTurns) else {"": model.parameters()}
        self.each = {
            name: torch.optim.Adam(
                list(parameters),
                lr=config.learning_rate,
                betas=(config.beta1, config.beta2),
                weight_decay=config.weight_decay,
                amsgrad=config.amsgrad,
            )
            for name, parameters in players.items()
        }

    def set_rate(self, rate: float) -> None:
        """Set the learning rate of all."""
        for adam in self.each.values():
            for group in adam.param_groups:
                group["lr"] = rate

    def state_dict(self) -> dict[str, Any]:
        """Moments by number, parameters numbered from one player to the next."""
        return {
            "state": {
                first + index: slot
                for first, adam in self._numbered()
                for index, slot in adam.state_dict()["state"].items()
            }
        }

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Take over what :meth:`state_dict` gave."""
        for first, adam in self._numbered():
            count = len(adam.param_groups[0]["params"])
            moments = {
                number - first: slot
                for number, slot in state["state"].items()
                if first <= number < first + count
            }
            adam.load_state_dict(adam.state_dict() | {"state": moments})

    def _numbered(self) -> list[tuple[int, torch.optim.Adam]]:
        """Each Adam behind the number of its first parameter."""
        numbered, first = [], 0
        for adam in self.each.values():
            numbered.append((first, adam))
            first += len(adam.param_groups[0]["params"])
        return numbered

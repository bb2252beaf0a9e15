"""What is asked of a model: one file a score. Names are in :mod:`aberra.registry`."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Protocol

from aberra.capabilities import CAPABILITIES
from aberra.errors import PairingError
from aberra.registry import lookup, names

if TYPE_CHECKING:
    from collections.abc import Mapping

    from torch import Tensor

    from aberra.detector.windows import Runner


@dataclass(frozen=True)
class Scored:
    """A score's answer for one prepared volume.

    Attributes:
        map: (D, H, W), non-negative, zero outside the mask.
        reconstruction: (C, D, H, W), or None.
        uncertainty: (D, H, W), non-negative, higher is less sure of the map; or None.
        kinds: label value to the probability of that kind of lesion, (D, H, W); or None.
    """

    map: Tensor
    reconstruction: Tensor | None = None
    uncertainty: Tensor | None = None
    kinds: Mapping[int, Tensor] | None = None


class Score(Protocol):
    """Asks one question of a model. One whose map is a lesion's probability says so: ``probability = True``.

    One whose map is a difference of intensities has ``unit = "intensity"``: its mean is an ℓ1 error.
    """

    needs: tuple[str, ...]

    def __call__(self, model: Any, x: Tensor, mask: Tensor, run: Runner) -> Scored:
        """Score a prepared volume: ``x`` (C, D, H, W), ``mask`` (D, H, W) bool."""
        ...


def check_pairing(model: Any, score: Score) -> None:
    """Refuse a pairing that cannot work; takes a model or its class.

    Raises:
        PairingError: names what is missing and which models have it.
    """
    missing = [need for need in score.needs if not _has(model, need)]
    if not missing:
        return
    able = [name for name in sorted(names("models")) if answers(lookup("models", name), score)]
    cls = model if isinstance(model, type) else type(model)
    raise PairingError(
        f"score '{type(score).__name__}' needs {', '.join(missing)}, which model '{cls.__name__}' does not have; "
        f"models that do: {', '.join(able) or 'none'}"
    )


def answers(model: Any, score: Any) -> bool:
    """Whether a model or its class has all that a score or its class needs."""
    return all(_has(model, need) for need in score.needs)


def _has(model: Any, capability: str) -> bool:
    """Whether a model or class has every method of a capability."""
    protocol = CAPABILITIES[capability]
    return all(
        callable(getattr(model, member, None)) for member in vars(protocol) if not member.startswith("_")
    )

"""What is asked of a model: one file a score. Names are in :mod:`aberra.registry`."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any, Protocol

from aberra.compare.smoothing import smoothed
from aberra.errors import PairingError
from aberra.options import Sigma, accepted, conforming
from aberra.registry import build, lookup, named, names

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    from torch import Tensor

    from aberra.detector.windows import Runner


@dataclass(frozen=True)
class Scored:
    """A score's answer for one prepared volume.

    Attributes:
        map: (D, H, W), non-negative inside the mask.
        reconstruction: (C, D, H, W), or None.
        uncertainty: (D, H, W), non-negative, higher is less sure of the map; or None.
        kinds: label value to the probability of that kind of lesion, (D, H, W); or None.
    """

    map: Tensor
    reconstruction: Tensor | None = None
    uncertainty: Tensor | None = None
    kinds: Mapping[int, Tensor] | None = None

    def inside(self, mask: Tensor) -> Scored:
        """The same, zero outside a mask (D, H, W)."""
        return replace(
            self,
            map=self.map * mask,
            reconstruction=None if self.reconstruction is None else self.reconstruction * mask,
            uncertainty=None if self.uncertainty is None else self.uncertainty * mask,
            kinds=None if self.kinds is None else {kind: p * mask for kind, p in self.kinds.items()},
        )


class Score(Protocol):
    """Asks one question of a model; constructor arguments are the options in ``[score]``.

    Attributes:
        needs: what it asks of the model, protocols of :mod:`aberra.capabilities`.
    """

    needs: tuple[type, ...]

    def __call__(self, model: Any, x: Tensor, mask: Tensor, run: Runner) -> Scored:
        """Score a prepared volume: ``x`` (C, D, H, W), ``mask`` (D, H, W) bool."""
        ...


@dataclass(frozen=True)
class SmoothedScore:
    """A score as a method configures it: every score's map is smoothed here, and zero outside the
    mask.

    Attributes:
        score: gives the map.
        smooth: σ of a Gaussian over the map, in prepared pixels within the slice (2-D) or voxels
            (3-D); 0 is off.
    """

    score: Score
    smooth: float = 0.0

    @classmethod
    def of(cls, config: Mapping[str, Any]) -> SmoothedScore:
        """Build from ``[score]``: ``name``, the score's own options and ``smooth``, unless the
        score smooths a part of its own.

        Raises:
            ConfigError: unknown name or key, or a value that cannot be.
        """
        options = dict(config)
        kind, _ = named("scores", {"name": config.get("name")})
        smooth = 0.0 if "smooth" in accepted(kind) else options.pop("smooth", 0.0)
        return cls(build("scores", options), conforming(smooth, Sigma, "score.smooth", 1.0))

    def __call__(self, model: Any, x: Tensor, mask: Tensor, run: Runner) -> Scored:
        """Score a prepared volume: ``x`` (C, D, H, W), ``mask`` (D, H, W) bool."""
        scored = self.score(model, x, mask, run).inside(mask)
        return replace(scored, map=smoothed(scored.map, mask, sigma=self.smooth, dims=run.dims))


def options_of(config: Mapping[str, Any]) -> set[str]:
    """Dotted names of all options that a configured score takes, ``restore.draws`` among them."""
    score, _ = named("scores", {"name": config.get("name")})
    tables = {"smooth", *accepted(score)}
    parts: dict[str, type] = {}
    if "restore" in tables:
        parts["restore"] = lookup("restore", (config.get("restore") or score.RESTORE)["name"])
    if "compare" in tables:
        from aberra.compare.comparison import Comparison

        parts["compare"] = Comparison
    return tables | {f"{part}.{option}" for part, cls in parts.items() for option in accepted(cls)}


def check_pairing(model: Any, score: Score) -> None:
    """Refuse a pairing that cannot work; takes a model or its class.

    Raises:
        PairingError: names what is missing and which models have it.
    """
    missing = [need.__name__ for need in score.needs if not _has(model, need)]
    if not missing:
        return
    able = [name for name, cls in _models() if answers(cls, score)]
    cls = model if isinstance(model, type) else type(model)
    raise PairingError(
        f"score '{type(score).__name__}' needs {', '.join(missing)}, which model '{cls.__name__}' does not have; "
        f"models that do: {', '.join(able) or 'none'}"
    )


def answers(model: Any, score: Any) -> bool:
    """Whether a model or its class has all that a score or its class needs."""
    return all(_has(model, need) for need in score.needs)


def _models() -> Iterator[tuple[str, type]]:
    """Every model that can be imported; a plugin that cannot is not what a message about others
    fails of.
    """
    for name in sorted(names("models")):
        try:
            cls = lookup("models", name)
        except Exception:  # noqa: BLE001, S112 - whatever a plugin's import raises
            continue
        yield name, cls


def _has(model: Any, capability: type) -> bool:
    """Whether a model or class has every method of a capability."""
    members = {member for cls in capability.__mro__ for member in vars(cls) if not member.startswith("_")}
    return all(callable(getattr(model, member, None)) for member in members)

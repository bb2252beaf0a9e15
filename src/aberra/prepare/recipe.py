"""A recipe: preparation steps in order, with a fingerprint."""

from __future__ import annotations

import inspect
from typing import TYPE_CHECKING, Any, Self

from aberra.errors import AberraError, ConfigError, InputError
from aberra.files import config_hash
from aberra.foreground import constant
from aberra.registry import build

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Mapping, Sequence

    from aberra.volume import Volume


KEEPING = ("orient", "brain-mask", "register", "register-rigid", "resample", "crop")
"""Steps that leave intensities as they are."""


class Recipe:
    """Steps that turn a scan into what a model sees.

    Args:
        steps: callables from volume to volume.
        config: what each was built from.

    Examples:
        >>> import numpy as np
        >>> from aberra import Volume
        >>> from aberra.prepare import Recipe
        >>> steps = [{"name": "orient"}, {"name": "resample", "spacing": [2, 2, 2]}]
        >>> recipe = Recipe.from_config(steps)
        >>> scan = Volume(data=np.arange(64.0).reshape(1, 4, 4, 4), affine=np.eye(4))
        >>> recipe(scan).shape
        (2, 2, 2)
    """

    def __init__(
        self, steps: Sequence[Callable[[Volume], Volume]], config: Sequence[Mapping[str, Any]]
    ) -> None:
        self.steps = list(steps)
        self.config = [dict(entry) for entry in config]

    @classmethod
    def from_config(cls, config: Sequence[Mapping[str, Any]]) -> Self:
        """Build from a list of tables, each with the ``name`` of a step and its options.

        Raises:
            ConfigError: unknown step, option or value.
        """
        return cls([build("prepare", entry) for entry in config], config)

    def to_config(self) -> list[dict[str, Any]]:
        """Return what :meth:`from_config` takes."""
        return self.config

    @property
    def fingerprint(self) -> str:
        """16 hex digits over configuration with defaults, learnt state and each step's code
        version.
        """
        versions = [getattr(step, "version", 0) for step in self.steps]
        parts = [list(pair) for pair in zip(self.complete, versions, strict=True)]
        return config_hash([parts, self.state()])

    @property
    def complete(self) -> list[dict[str, Any]]:
        """The configuration with what it leaves to defaults."""
        return [
            {
                name: parameter.default
                for name, parameter in inspect.signature(type(step)).parameters.items()
                if parameter.default is not parameter.empty
            }
            | entry
            for entry, step in zip(self.config, self.steps, strict=True)
        ]

    def __call__(self, volume: Volume) -> Volume:
        """Prepare a scan.

        Raises:
            InputError: a channel is constant, so that there is nothing to see in it.
            AberraError: a step refuses the scan; the message names both.
        """
        if volume.data.any() and (flat := constant(volume)):
            raise InputError(f"{_name(volume)}: {flat}; export the scan again, or leave it out")
        for entry, step in zip(self.config, self.steps, strict=True):
            try:
                volume = step(volume)
            except AberraError as error:
                raise type(error)(f"{_name(volume)}: {entry['name']}: {error}") from error
        return volume

    @property
    def keeps_intensities(self) -> bool:
        """Whether intensities stay the scan's own: no step but those of place and mask, and a
        normalisation that is none.
        """
        rest = [entry for entry in self.config if entry["name"] not in KEEPING]
        plain = {"name": "normalise", "method": "none"}
        return all({key: value for key, value in entry.items() if value} == plain for entry in rest)

    @property
    def appends(self) -> tuple[str, ...]:
        """Channels that a prepared scan has behind its own."""
        return tuple(name for step in self.steps for name in getattr(step, "appends", ()))

    def place(self, device: str) -> None:
        """Tell the steps that run a network where: ``auto``, ``cpu`` or ``cuda``."""
        for step in self.steps:
            if hasattr(step, "device"):
                step.device = device

    def view(self, volume: Volume) -> Volume:
        """The scan as it is judged, on its own grid: without its skull where the recipe takes that
        away.
        """
        for step in self.steps:
            if hasattr(step, "view"):
                volume = step.view(volume)
        return volume

    def fit(self, volumes: Callable[[], Iterable[Volume]]) -> None:
        """Let the steps that learn see healthy volumes, prepared by the steps before them.

        Args:
            volumes: gives the volumes anew at each call.
        """
        for position, step in enumerate(self.steps):
            learn = getattr(step, "fit", None)
            if learn is not None:
                before = Recipe(self.steps[:position], self.config[:position])
                learn(before(volume) for volume in volumes())

    def state(self) -> list[dict[str, Any]]:
        """Learnt state, one entry a step, empty where a step learns nothing."""
        return [step.state() if hasattr(step, "state") else {} for step in self.steps]

    def load_state(self, state: Sequence[Mapping[str, Any]]) -> None:
        """Take back what :meth:`state` gave.

        Raises:
            ConfigError: it is not of these steps, or a step's is missing.
        """
        if len(state) != len(self.steps):
            raise ConfigError(f"{len(state)} learnt states of {len(self.steps)} steps of preparation")
        for step, config, entry in zip(self.steps, self.config, state, strict=True):
            if hasattr(step, "load_state"):
                step.load_state(entry)
            elif entry:
                raise ConfigError(f"{config['name']}: learns nothing, but has a state")


def _name(volume: Volume) -> str:
    return str(volume.provenance.get("path") or volume.provenance.get("case", "scan"))

"""Where a training starts from: the weights of another model, as far as they fit."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

from aberra.capabilities import Trains
from aberra.detector import Detector
from aberra.detector.folder import resolve_model
from aberra.detector.weights import WEIGHTS, state_of
from aberra.errors import ConfigError, ModelError, TrainingError
from aberra.files import file_hash
from aberra.registry import lookup

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from torch import Tensor, nn

    from aberra.cohort import Cohort
    from aberra.method import Method

PLACES = (
    ("", ""),
    ("encoder.", "encoder.0."),
    ("encoder.0.", "encoder."),
    ("", "encoder."),
    ("encoder.", ""),
)
"""Beginnings of names, theirs and ours, under which the same layers may lie: models with heads have
the network's encoder itself, others a sequence that begins with it, and some a whole model."""


def check_start(method: Method) -> None:
    """Refuse a start for a model that has no training to start.

    Raises:
        ConfigError: says so.
    """
    start, name = method.training.get("start"), method.model["name"]
    if start and not issubclass(lookup("models", name), Trains):
        raise ConfigError(
            f"training.start={start}: model '{name}' is not trained step by step, so there is nothing to start"
        )


class Start(NamedTuple):
    """What a training starts from; nothing by default, which changes nothing.

    Attributes:
        place: where it is from, as the user said it.
        weights: name to tensor.
        hash: of the file that holds them.
        learnt: content hashes of the cases that they were learnt from, where that is known.
    """

    place: str = ""
    weights: Mapping[str, Tensor] = {}
    hash: str = ""
    learnt: Sequence[str] = ()

    @classmethod
    def of(cls, method: Method, held_out: Cohort, channels: Sequence[str]) -> Start:
        """Read what a method says in ``training.start``.

        Args:
            method: its training.
            held_out: cases that training is watched with.
            channels: that are read of them.

        Raises:
            ModelError: there is no such model, or it is damaged.
            TrainingError: it has learnt from held-out cases; names them.
        """
        start = cls.read(place) if (place := method.training.get("start")) else cls()
        seen = [case.case for case in held_out if case.content_hash(channels) in start.learnt]
        if seen:
            raise TrainingError(
                f"training.start={place}: it has learnt from {len(seen)} of the held-out case(s): {', '.join(seen[:5])}; "
                "fit both with the same manifest and seed, or say in a column 'split' which are held out"
            )
        return start

    @classmethod
    def read(cls, place: str) -> Start:
        """Read a saved or shipped detector, or a file of weights.

        Args:
            place: a detector's folder, the name of a shipped one, or a ``.safetensors`` file.

        Raises:
            ModelError: there is none, or it is damaged.
        """
        from safetensors.torch import load_file

        if not place.endswith(".safetensors"):
            detector, folder = Detector.load(place, device="cpu"), resolve_model(place)
            learnt = detector.facts.get("learnt", [])
            return cls(place, state_of(detector.model), file_hash(folder / WEIGHTS), learnt)
        try:
            return cls(place, load_file(place), file_hash(Path(place)))
        except Exception as error:
            raise ModelError(
                f"{place}: cannot be read as weights ({error}); give a detector's folder or a .safetensors file"
            ) from error

    @property
    def facts(self) -> dict[str, Any]:
        """What tells one start from another: the same place may hold other weights tomorrow."""
        return {"start_hash": self.hash} if self.place else {}

    def begin(self, model: nn.Module) -> dict[str, Any]:
        """Put the tensors whose names and shapes agree into a model; the others stay as they were
        drawn.

        The encoder's agree under one of :data:`PLACES`, the one that gives most of them, and so do
        the others.

        Returns:
            How many were taken, for the detector's facts.

        Raises:
            ModelError: no weight fits (an offset that happens to is not enough).
        """
        if not self.place:
            return {}
        own = model.state_dict()
        encoder = [name for name in own if name.startswith("encoder.")]
        rest = [name for name in own if not name.startswith("encoder.")]
        taken = self._most(own, encoder) | self._most(own, rest)
        if not any(tensor.ndim > 1 for tensor in taken.values()):
            raise ModelError(
                f"training.start={self.place}: none of its {len(self.weights)} tensors has name and shape of one of "
                f"{type(model).__name__}'s {len(own)}; expected a model with the same encoder: the same "
                "model.network, and prepare.size where a layer depends on it"
            )
        model.load_state_dict(taken, strict=False)
        return {"start_tensors": f"{len(taken)} of {len(own)}"}

    def _most(self, own: Mapping[str, Tensor], names: Sequence[str]) -> dict[str, Tensor]:
        """Tensors that fit those of a model, under the place that gives most."""

        def fitting(theirs: str, ours: str) -> dict[str, Tensor]:
            named = {name: theirs + name.removeprefix(ours) for name in names if name.startswith(ours)}
            return {
                name: self.weights[other]
                for name, other in named.items()
                if other in self.weights and self.weights[other].shape == own[name].shape
            }

        return max((fitting(*place) for place in PLACES), key=len)

"""Where a training starts from: the weights of another model, as far as they fit."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

from aberra.capabilities import MayBeFrozen, Trains
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
    ("", "network."),
)
"""Beginnings of names, theirs and ours, under which the same layers may lie: models with heads have
the network's encoder itself, others a sequence that begins with it, and some a whole model or
network."""

COUNTER = "num_batches_tracked"
"""Of batch norm: a number that nothing depends on, and that not every file has."""
SHOWN = 5
"""Tensors that a message names."""


def check_start(method: Method) -> None:
    """Refuse a start for a model that has no training to start, and a frozen encoder without one.

    Raises:
        ConfigError: says so.
    """
    start, name = method.training.get("start"), method.model["name"]
    model = lookup("models", name)
    if not start and issubclass(model, MayBeFrozen) and model.would_freeze(method.model):
        raise ConfigError(
            "model.encoder: it does not learn here, so its weights have to come from elsewhere; say where with "
            "training.start: a detector's folder, or a .safetensors file of yours (nothing is downloaded)"
        )
    if start and not issubclass(model, Trains):
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
            ModelError: no weight fits (an offset that happens to is not enough), or not every one
                of an encoder that does not learn here does.
        """
        if not self.place:
            return {}
        if isinstance(model, MayBeFrozen):
            self = self._replace(weights=model.renamed(self.weights))  # noqa: PLW0642
        own = model.state_dict()
        encoder = [name for name in own if name.startswith("encoder.")]
        rest = [name for name in own if not name.startswith("encoder.")]
        taken = self._most(own, encoder) | self._most(own, rest)
        if isinstance(model, MayBeFrozen) and model.is_frozen():
            self._expect_whole(own, [name for name in encoder if not name.endswith(COUNTER)])
        if not any(tensor.ndim > 1 for tensor in taken.values()):
            raise ModelError(
                f"training.start={self.place}: none of its {len(self.weights)} tensors has name and shape of one of "
                f"{type(model).__name__}'s {len(own)}; expected a model with the same encoder: the same "
                "model.network, and prepare.size where a layer depends on it"
            )
        model.load_state_dict(taken, strict=False)
        return {"start_tensors": f"{len(taken)} of {len(own)}"}

    def _expect_whole(self, own: Mapping[str, Tensor], names: Sequence[str]) -> None:
        """Refuse weights that leave a part of an encoder as it was drawn, and name what is missing.

        Raises:
            ModelError: says what does not fit.
        """
        taken = self._most(own, names)
        if len(taken) == len(names):
            return
        prefix, ours = max(PLACES, key=lambda place: self._named(names, *place))
        wrong = []
        for name in (each for each in names if each not in taken):
            other = prefix + name.removeprefix(ours)
            here = "×".join(map(str, own[name].shape))
            there = "×".join(map(str, self.weights[other].shape)) if other in self.weights else "missing"
            wrong.append(f"{other}: {there}, expected {here}")
        more = f" and {len(wrong) - SHOWN} more" if len(wrong) > SHOWN else ""
        raise ModelError(
            f"training.start={self.place}: {len(wrong)} of the encoder's {len(names)} tensors do not fit, and it does not "
            f"learn here: {'; '.join(wrong[:SHOWN])}{more}; give [model.encoder] the options of the network that the weights are of"
        )

    def _named(self, names: Sequence[str], theirs: str, ours: str) -> int:
        """How many of a model's tensors have a name in the weights, whatever their shapes."""
        return sum(
            name.startswith(ours) and theirs + name.removeprefix(ours) in self.weights for name in names
        )

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

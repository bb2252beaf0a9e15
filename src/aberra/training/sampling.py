"""Draws batches from prepared volumes.

A batch depends on (seed, step) alone, so resuming needs no state.
"""

from __future__ import annotations

from functools import cached_property
from typing import TYPE_CHECKING, Any, Protocol, runtime_checkable

import numpy as np
import torch

from aberra.capabilities import (
    AnchorsClasses,
    LearnsFromLesions,
    LearnsFromUnlabelled,
    TakesConditions,
    TellsKinds,
)
from aberra.covariates import column_of, numbers_of
from aberra.errors import TrainingError
from aberra.kinds import GUESSES, UNDECIDED, UNTOLD, is_guessed
from aberra.training.config import LESION_FREE

if TYPE_CHECKING:
    from collections.abc import Sequence

    from numpy.typing import NDArray
    from torch import nn

    from aberra.training.config import TrainingConfig
    from aberra.volume import Volume

CORNERS = 10_000
"""Most patch positions kept a case; a random choice of the usable ones where there are more."""


@runtime_checkable
class Draws(Protocol):
    """What :func:`aberra.training.train` learns from: samples as tuples of tensors (B, C, S), (B,
    1, S) and, where there is truth, (B, 1, S); of models that learn from covariates these, (B, K),
    come last, and of models that learn from simulated samples those, (B, C, S), behind all.
    """

    def __len__(self) -> int:
        """Samples in an epoch."""
        ...

    def draw(self, seed: Sequence[int], count: int) -> tuple[torch.Tensor, ...]:
        """Random samples that depend on ``seed`` alone.

        Args:
            seed: of the run, then step, 0 and what tells apart several batches of a step.
            count: B.

        Several threads may ask at a time, and not quite in order.
        """
        ...

    def fixed(self, count: int, seed: int) -> tuple[torch.Tensor, ...]:
        """At most ``count`` samples, always the same."""
        ...


class Sampler:
    """Slices (2-D) or patches (3-D) of prepared cases.

    A sample is its intensities (C, S) and foreground (1, S), and with ``lesions`` its truth (1, S)
    as well; all float. With ``kinds`` the truth has label values instead of 0 and 1.

    Args:
        volumes: prepared, usually memory-mapped.
        config: ``slices``, ``min_foreground`` and augmentation are used.
        dims: 2 or 3.
        size: spatial shape S of a sample.
        lesions: samples come with their truth, too; ``balance`` of them are drawn where lesions
            are.
        partners: samples come with intensities (C, S) and foreground (1, S) of another case at the
            same place as seen from the middle of the foreground, too, augmented alike; of a single
            case, with itself mirrored left and right.
        kinds: label values that are asked for; only these count as lesions then.
        covariates: samples come with what is known of the person, (K,), last; NaN where unknown.
        unlabelled: guesses are told from truth
            (:class:`aberra.capabilities.LearnsFromUnlabelled`), and half of a batch is of each; else
            they are learnt as truth, and undecided voxels are no foreground.
        anchor: one of the covariates; behind every drawn batch come two samples more of people in
            whom it is 1, one without lesions and one with.

    Raises:
        TrainingError: no slice or patch qualifies.
    """

    def __init__(
        self,
        volumes: Sequence[Volume],
        config: TrainingConfig,
        *,
        dims: int,
        size: Sequence[int],
        lesions: bool = False,
        kinds: Sequence[int] = (),
        partners: bool = False,
        covariates: Sequence[str] = (),
        unlabelled: bool = False,
        anchor: str = "",
    ) -> None:
        self.volumes = volumes
        self.config = config
        self.dims = dims
        self.size = tuple(size)
        self.lesions = lesions
        self.kinds = kinds
        self.middles = [_middle_of(volume) for volume in volumes] if partners else []
        self.names = tuple(covariates)
        self.anchor = anchor
        self.covariates = [
            np.array(numbers_of(covariates, volume.covariates), dtype=np.float32)
            for volume in (volumes if covariates else ())
        ]
        self.unlabelled = unlabelled
        self.guessed = [lesions and is_guessed(volume.covariates) for volume in volumes]
        # who learns from lesions sees them
        self.lesion_free = config.slices == LESION_FREE and not lesions
        self.window = (1, *self.size) if dims == 2 else self.size
        self.places: list[tuple[int, int]] = []
        self.corners: dict[int, NDArray[np.intp]] = {}
        self.diseased: list[int] = []
        for index, volume in enumerate(volumes):
            places = [0]
            if dims == 2:
                places = self._slices(volume)
            elif len(corners := self._corners(volume, index)):
                self.corners[index] = corners
            else:
                continue
            if lesions and (truth := self._truth(volume)) is not None:
                lesion = np.isin(truth, kinds) if kinds else truth
                if self.guessed[index] and volume.kinds is not None:
                    lesion = volume.kinds == 1
                touched = np.atleast_1d(lesion.any(axis=(1, 2) if dims == 2 else None))
                self.diseased += [
                    len(self.places) + number for number, place in enumerate(places) if touched[place]
                ]
            self.places += [(index, place) for place in places]
        if not self.places:
            what, smaller = (
                ("slice", "") if dims == 2 else ("patch", " or choose smaller patches (prepare.size)")
            )
            raise TrainingError(
                f"none of the {len(volumes)} training cases has a usable {what}: at least {config.min_foreground:.0%} foreground"
                f"{' and no lesion voxel' if self.lesion_free else ''}; lower training.min_foreground{smaller}"
            )
        self.pools = self._pools()

    def __len__(self) -> int:
        return len(self.places)

    @cached_property
    def healthy(self) -> NDArray[np.intp]:
        """Numbers of the places without lesions."""
        return np.setdiff1d(np.arange(len(self.places)), self.diseased)

    @cached_property
    def anchors(self) -> tuple[NDArray[np.intp], ...]:
        """Numbers of the anchor's places, of those without lesions and of those with; nothing
        without an anchor.

        Raises:
            TrainingError: there are none.
        """
        if not self.anchor:
            return ()
        column = self.names.index(self.anchor)
        of_anchor = np.array([self.covariates[index][column] == 1 for index, _ in self.places])
        found = tuple(
            places[of_anchor[places]] for places in (self.healthy, np.asarray(self.diseased, dtype=np.intp))
        )
        if missing := [
            what for what, places in zip(("healthy", "diseased"), found, strict=True) if not len(places)
        ]:
            raise TrainingError(
                f"the model needs healthy and diseased samples of {self.anchor.replace('=', ' ')}; "
                f"there is no {' and no '.join(missing)} one in split 'train'"
            )
        return found

    def draw(self, seed: Sequence[int], count: int) -> tuple[torch.Tensor, ...]:
        """Random samples: intensities (B, C, S), foreground (B, 1, S) and, with ``lesions``, truth
        (B, 1, S).
        """
        rng = np.random.default_rng(list(seed))
        # outlined ones have the odd sample
        shares = [count // len(self.pools)] * len(self.pools)
        shares[0] += count - sum(shares)
        picks = np.concatenate(
            [self._picks(rng, share, *pool) for share, pool in zip(shares, self.pools, strict=True)]
        )
        picks = np.append(picks, [rng.choice(places) for places in self.anchors]).astype(np.intp)
        return self._stack([self._sample(int(pick), rng, augment=True) for pick in picks])

    def _pools(self) -> list[tuple[NDArray[np.intp], ...]]:
        """Numbers of all places, of those without lesions and of those with; outlined and other
        cases apart where that matters and there are both.
        """
        places, diseased = np.arange(len(self.places)), np.asarray(self.diseased, dtype=np.intp)
        told = np.array([not self.guessed[index] for index, _ in self.places])
        if not self.unlabelled or told.all() or not told.any():
            return [(places, self.healthy, diseased)]
        return [
            tuple(each[kept[each]] for each in (places, self.healthy, diseased)) for kept in (told, ~told)
        ]

    def _picks(
        self,
        rng: np.random.Generator,
        count: int,
        places: NDArray[np.intp],
        healthy: NDArray[np.intp],
        diseased: NDArray[np.intp],
    ) -> NDArray[np.intp]:
        """Random places; where the classes are balanced, healthy and diseased in turns, else
        ``balance`` of them among the diseased.
        """
        if self.config.classes == "balanced" and len(healthy) and len(diseased):
            kinds = (healthy, diseased)
            return np.array(
                [kinds[n % 2][rng.integers(len(kinds[n % 2]))] for n in range(count)], dtype=np.intp
            )
        picks = places[rng.integers(len(places), size=count)]
        if self.config.balance and len(diseased):
            chosen = rng.random(count) < self.config.balance
            picks = np.where(chosen, diseased[rng.integers(len(diseased), size=count)], picks)
        return picks

    def fixed(self, count: int, seed: int) -> tuple[torch.Tensor, ...]:
        """At most ``count`` samples, evenly spread over the cases, always the same."""
        rng = np.random.default_rng(seed)
        picks = np.unique(
            np.linspace(0, len(self.places) - 1, min(count, len(self.places))).round().astype(int)
        )
        return self._stack([self._sample(int(pick), rng, augment=False) for pick in picks])

    def expect_known(self, covariates: Sequence[str]) -> None:
        """Refuse to learn from covariates that no case has.

        Raises:
            TrainingError: names them.
        """
        unknown = [
            name
            for index, name in enumerate(covariates)
            if all(np.isnan(each[index]) for each in self.covariates)
        ]
        if unknown:
            raise TrainingError(
                f"the model learns from {', '.join(map(column_of, unknown))}, but no training case has any; "
                "the manifest needs a column of this name"
            )
        for index, name in enumerate(covariates):
            column, asked, wanted = name.partition("=")
            if asked and not any(each[index] == 1 for each in self.covariates):
                there = sorted({str(volume.covariates.get(column) or "nothing") for volume in self.volumes})
                raise TrainingError(
                    f"model.target={wanted}: no training case has this {column}; there are: {', '.join(there)}"
                )

    def _truth(self, volume: Volume) -> NDArray[np.bool] | NDArray[np.uint8] | None:
        """Label values of the lesions where they are asked for and not all 1, else where lesions
        are; as stored, not copied. A guess is of no kind.
        """
        kinds = self.kinds and volume.kinds is not None and not is_guessed(volume.covariates)
        return volume.kinds if kinds else volume.lesion

    def _slices(self, volume: Volume) -> list[int]:
        """Numbers along D of the usable slices."""
        mask = np.ones(volume.shape, dtype=bool) if volume.mask is None else volume.mask
        good = mask.mean(axis=(1, 2)) >= self.config.min_foreground
        if self.lesion_free and volume.lesion is not None:
            good &= ~volume.lesion.any(axis=(1, 2))
        return [int(place) for place in np.flatnonzero(good)]

    def _sample(
        self, pick: int, rng: np.random.Generator, *, augment: bool
    ) -> tuple[NDArray[np.float32], ...]:
        index, place = self.places[pick]
        volume = self.volumes[index]
        low: Sequence[int] = (
            (place, *_middle(volume.shape[1:], self.size))
            if self.dims == 2
            else rng.choice(self.corners[index]).tolist()
        )
        arrays: list[NDArray[np.generic]] = [
            volume.data,
            np.ones((1, *volume.shape), dtype=bool) if volume.mask is None else volume.mask[None],
        ]
        if self.lesions:
            truth = self._truth(volume)
            arrays.append(np.zeros((1, *volume.shape), dtype=bool) if truth is None else truth[None])
            if self.guessed[index] and volume.kinds is not None:
                arrays[-1] = volume.kinds[None]
        sample = self._window(arrays, low)
        if self.guessed[index]:
            sample = self._told(*sample)
        if self.middles:
            sample += self._partner(index, low, rng)
        if augment:
            sample = _changed(sample, *self._change(rng), images=(0, -2) if self.middles else (0,))
        return (*sample, self.covariates[index]) if self.covariates else sample

    def _told(
        self, x: NDArray[np.float32], mask: NDArray[np.float32], guess: NDArray[np.float32]
    ) -> tuple[NDArray[np.float32], ...]:
        """A sample whose truth is a guess, as the model is to see it."""
        undecided = guess == UNDECIDED
        if self.unlabelled:
            return x, mask, np.where(undecided, np.float32(UNTOLD), guess + np.float32(GUESSES))
        return x, mask * ~undecided, guess * ~undecided

    def _window(
        self, arrays: Sequence[NDArray[np.generic]], low: Sequence[int]
    ) -> tuple[NDArray[np.float32], ...]:
        return tuple(
            _cut(array, low, self.window).reshape(-1, *self.size).astype(np.float32) for array in arrays
        )

    def _partner(
        self, index: int, low: Sequence[int], rng: np.random.Generator
    ) -> tuple[NDArray[np.float32], ...]:
        """Intensities and foreground of another case at the place of a window, or the mirror image
        of the only one.
        """
        count = len(self.volumes)
        other = (index + 1 + int(rng.integers(count - 1))) % count if count > 1 else index
        volume = self.volumes[other]
        there = [
            start + round(new - old)
            for start, old, new in zip(low, self.middles[index], self.middles[other], strict=True)
        ]
        if self.dims == 2:
            there[0] = min(max(there[0], 0), volume.shape[0] - 1)
        mask = np.ones(volume.shape, dtype=bool) if volume.mask is None else volume.mask
        found = self._window([volume.data, mask[None]], there)
        return found if count > 1 else tuple(array[..., ::-1] for array in found)

    def _corners(self, volume: Volume, index: int) -> NDArray[np.intp]:
        """Low corners (N, 3) of the usable patches; negative along an axis where the volume is
        smaller.
        """
        mask = np.ones(volume.shape, dtype=bool) if volume.mask is None else volume.mask
        good = _window_sums(mask, self.size) >= max(1, self.config.min_foreground * np.prod(self.size))
        if self.lesion_free and volume.lesion is not None:
            good &= _window_sums(volume.lesion, self.size) == 0
        places = np.flatnonzero(good)
        if len(places) > CORNERS:
            places = places[np.random.default_rng(index).integers(len(places), size=CORNERS)]
        middle = [min(0, each) for each in _middle(volume.shape, self.size)]
        return np.stack(np.unravel_index(places, good.shape), axis=1) + middle

    def _change(self, rng: np.random.Generator) -> tuple[bool, float, float]:
        """Draw an augmentation: whether to mirror, gain and γ (1 where off); the same draws whether
        used or not.
        """
        config = self.config
        mirrored, gain, gamma = rng.random(), rng.uniform(-1, 1), rng.uniform(-1, 1)
        return mirrored < config.flip, 1 + gain * config.gain, np.exp(gamma * config.gamma)

    @staticmethod
    def _stack(samples: list[tuple[NDArray[np.float32], ...]]) -> tuple[torch.Tensor, ...]:
        return tuple(torch.from_numpy(np.stack(parts)) for parts in zip(*samples, strict=True))


def samplers(
    model: nn.Module,
    data: Sequence[Volume] | Draws,
    validation: Sequence[Volume] | Draws,
    config: TrainingConfig,
    *,
    dims: int,
    size: Sequence[int],
) -> tuple[Draws, Draws | None]:
    """What a model learns from, and what it is watched with, where there is something.

    Raises:
        TrainingError: nothing to learn from, or no lesion of a kind that the model is to tell
            apart.
    """
    kinds: Sequence[int] = model.kinds if isinstance(model, TellsKinds) else ()
    options: dict[str, Any] = {
        "dims": dims, "size": size, "lesions": isinstance(model, LearnsFromLesions), "kinds": kinds,
        "covariates": model.covariates if isinstance(model, TakesConditions) else (),
        "unlabelled": isinstance(model, LearnsFromUnlabelled),
    }  # fmt: skip
    anchor = model.anchor if isinstance(model, AnchorsClasses) else ""
    learnt = data if isinstance(data, Draws) else Sampler(data, config, **options, anchor=anchor)
    if isinstance(learnt, Sampler):
        learnt.expect_known(options["covariates"])
        _ = learnt.anchors  # what is missing is said before the first step
    if kinds and isinstance(learnt, Sampler) and not learnt.diseased:
        raise TrainingError(
            f"model.kinds={list(kinds)}: no training sample has a lesion of these label values; "
            f"the masks have {_labels(learnt.volumes)}"
        )
    if not len(validation):
        return learnt, None
    return learnt, validation if isinstance(validation, Draws) else Sampler(validation, config, **options)


def _labels(volumes: Sequence[Volume]) -> str:
    """The label values of all lesion masks, for messages."""
    values = {
        int(value)
        for volume in volumes
        if (labels := volume.labels) is not None
        for value in np.unique(labels)
    }
    return ", ".join(map(str, sorted(values - {0}))) or "none"


def _changed(
    sample: tuple[NDArray[np.float32], ...],
    mirror: bool,
    gain: float,
    gamma: float,
    *,
    images: Sequence[int],
) -> tuple[NDArray[np.float32], ...]:
    """Mirror left and right (W); change γ, then gain, of the arrays that are ``images``."""
    if mirror:
        sample = tuple(array[..., ::-1] for array in sample)
    arrays: list[NDArray[np.floating]] = list(sample)
    for place in images:
        data = arrays[place]
        if gamma != 1:
            top = max(float(data.max()), 1e-6)
            data = np.sign(data) * top * (np.abs(data) / top) ** gamma
        arrays[place] = data * gain if gain != 1 else data
    return tuple(np.ascontiguousarray(array, dtype=np.float32) for array in arrays)


def _middle_of(volume: Volume) -> tuple[float, ...]:
    """Index of the middle of the foreground's bounding box, (d, h, w)."""
    if volume.mask is None:
        return tuple((length - 1) / 2 for length in volume.shape)
    ends = [np.flatnonzero(volume.mask.any(axis=tuple({0, 1, 2} - {axis})))[[0, -1]] for axis in range(3)]
    return tuple(float(end.mean()) for end in ends)


def _middle(shape: Sequence[int], size: Sequence[int]) -> tuple[int, ...]:
    """Low corner that centres a window on a slice; negative where the slice is smaller."""
    return tuple((length - edge) // 2 for length, edge in zip(shape, size, strict=True))


def _window_sums(array: NDArray[np.bool], window: Sequence[int]) -> NDArray[np.int32]:
    """Number of true voxels in the window at every low corner; a window reaches over axes that are
    shorter.
    """
    sums: NDArray[np.int32] = array.astype(np.int32)
    for axis, edge in enumerate(window):
        reach = min(edge, array.shape[axis])
        total = np.concatenate([np.zeros_like(sums.take([0], axis)), sums.cumsum(axis, dtype=np.int32)], axis)
        low, high = np.arange(array.shape[axis] - reach + 1), np.arange(reach, array.shape[axis] + 1)
        sums = total.take(high, axis) - total.take(low, axis)
    return sums


def _cut(array: NDArray[np.generic], low: Sequence[int], window: Sequence[int]) -> NDArray[np.generic]:
    """Cut a window out of (C, D, H, W); zeros where it reaches beyond."""
    box = tuple(
        slice(max(0, start), max(0, min(start + edge, length)))
        for start, edge, length in zip(low, window, array.shape[1:], strict=True)
    )
    found = array[(slice(None), *box)]
    if found.shape[1:] == tuple(window):
        return np.asarray(found)
    out = np.zeros((len(array), *window), dtype=array.dtype)
    target = tuple(slice(part.start - start, part.stop - start) for part, start in zip(box, low, strict=True))
    out[(slice(None), *target)] = found
    return out

"""Endless training samples from label maps, for :func:`aberra.training.train`: a sample depends on its number alone."""

from __future__ import annotations

from dataclasses import dataclass, field
from functools import lru_cache
from typing import TYPE_CHECKING, Any

import numpy as np

from aberra.prepare.normalise import Normalise
from aberra.synthesis.anatomy import Anatomy
from aberra.synthesis.heads import draw_head, render_head

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from concurrent.futures import Future, ProcessPoolExecutor

    import torch
    from numpy.typing import NDArray

    from aberra.volume import Volume

Arrays = tuple["NDArray[np.float16]", "NDArray[np.bool]", "NDArray[np.uint8]"]

IMAGES, PATCHES = 6, 8
"""Images that are mixed with one another, and patches cut out of each."""


@dataclass(frozen=True, kw_only=True)
class HeadSource:
    """Patches of drawn images of real heads.

    Images are drawn whole and normalised as scans are in use, then cut: patches of :data:`IMAGES` images are mixed.

    Args:
        anatomies: files of label maps.
        contrasts: weights by name.
        profiles: weights by name; ``healthy`` has no lesion.
        size: shape S of a patch, 3-D.
        spacing: mm.
        on_lesions: share of patches with a lesion near their middle, in images with lesions.
        seed: of everything.
        ahead: draw in another process while the network learns.
    """

    anatomies: tuple[str, ...]
    contrasts: Mapping[str, float]
    profiles: Mapping[str, float]
    size: tuple[int, int, int] = (64, 64, 64)
    spacing: float = 1.5
    on_lesions: float = 0.5
    seed: int = 0
    ahead: bool = True
    _state: dict[str, Any] = field(default_factory=dict, repr=False, compare=False)

    def __len__(self) -> int:
        """Samples in an epoch, by convention one patch an anatomy."""
        return len(self.anatomies)

    def image(self, number: int) -> Volume:
        """Image ``number``, prepared: normalised inside its mask."""
        rng = np.random.default_rng([self.seed, number])
        contrast, profile = (
            str(rng.choice(list(weights), p=np.array(list(weights.values())) / sum(weights.values())))
            for weights in (self.contrasts, self.profiles)
        )
        path = self.anatomies[int(rng.integers(len(self.anatomies)))]
        head = draw_head(rng, contrast, None if profile == "healthy" else profile)
        volume = Normalise(method="interdecile")(render_head(head, _anatomy(path), self.spacing))
        gain, shift = rng.uniform(0.93, 1.07), rng.uniform(-0.04, 0.04)
        mask = np.asarray(volume.mask)
        return volume.with_(data=((volume.data * gain + shift) * mask).astype(np.float32), lesion=volume.lesion, kinds=volume.kinds)

    def block(self, number: int) -> Arrays:
        """Samples of a block in their order: intensities, foreground and label values, (IMAGES · PATCHES, *S) each."""
        rng = np.random.default_rng([self.seed, number, 1])
        samples = []
        for index in range(IMAGES):
            volume = self.image(number * IMAGES + index)
            samples += [self._patch(volume, rng) for _ in range(PATCHES)]
        order = rng.permutation(len(samples))
        x, mask, lesion = (np.stack([samples[each][part] for each in order]) for part in range(3))
        return x.astype(np.float16), mask, lesion

    def draw(self, seed: Sequence[int], count: int) -> tuple[torch.Tensor, ...]:
        """Samples of step ``seed[1]``: intensities, foreground and label values, (B, 1, S) each, float32."""
        first = seed[1] * count
        return self._samples(first, count)

    def fixed(self, count: int, seed: int) -> tuple[torch.Tensor, ...]:
        """Always the same samples."""
        del seed
        return self._samples(0, count)

    def _samples(self, first: int, count: int) -> tuple[torch.Tensor, ...]:
        import torch

        parts = [self._sample(number) for number in range(first, first + count)]
        return tuple(
            torch.from_numpy(np.stack(each).astype(np.float32)[:, None]) for each in zip(*parts, strict=True)
        )

    def _sample(self, number: int) -> tuple[NDArray[Any], ...]:
        block, index = divmod(number, IMAGES * PATCHES)
        x, mask, lesion = self._block(block)
        return x[index], mask[index], lesion[index]

    def _block(self, number: int) -> Arrays:
        """A block, from the process that draws ahead where there is one."""
        state = self._state
        if state.get("number") != number:
            waiting: dict[int, Future[Arrays]] = state.setdefault("waiting", {})
            state["block"] = waiting.pop(number).result() if number in waiting else self._ask(number).result() if self.ahead else self.block(number)
            state["number"] = number
            if self.ahead:
                for following in (number + 1, number + 2):
                    if following not in waiting:
                        waiting[following] = self._ask(following)
        found: Arrays = state["block"]
        return found

    def _ask(self, number: int) -> Future[Arrays]:
        from concurrent.futures import ProcessPoolExecutor
        from multiprocessing import get_context

        pool: ProcessPoolExecutor = self._state.setdefault(
            "pool", ProcessPoolExecutor(1, mp_context=get_context("spawn"))
        )
        plain = HeadSource(**{name: getattr(self, name) for name in self.__dataclass_fields__ if name != "_state"})
        return pool.submit(plain.block, number)

    def close(self) -> None:
        """Stop the process that draws ahead."""
        pool = self._state.pop("pool", None)
        if pool is not None:
            pool.shutdown(wait=False, cancel_futures=True)

    def _patch(self, volume: Volume, rng: np.random.Generator) -> tuple[NDArray[Any], ...]:
        """Cut one patch around a voxel of the brain, or of a lesion."""
        mask, labels = np.asarray(volume.mask), np.asarray(volume.labels)
        wanted = labels if rng.random() < self.on_lesions and labels.any() else mask
        at = np.unravel_index(int(rng.choice(np.flatnonzero(wanted))), mask.shape)
        low = [
            int(np.clip(c - edge // 2 + rng.integers(-edge // 4, edge // 4 + 1), min(0, length - edge), max(0, length - edge)))
            for c, edge, length in zip(at, self.size, mask.shape, strict=True)
        ]
        return tuple(_cut(array, low, self.size) for array in (volume.data[0], mask, labels))


@dataclass(frozen=True, kw_only=True)
class Planted:
    """Samples of another family, to choose weights by: healthy images with the lesions of :mod:`aberra.synthesis.lesions` planted in.

    Args:
        anatomies: files of label maps that were not trained on.
        contrasts: weights by name.
        size: shape S of a patch, 3-D.
        spacing: mm.
        images: how many.
        seed: of everything.
    """

    anatomies: tuple[str, ...]
    contrasts: Mapping[str, float]
    size: tuple[int, int, int] = (64, 64, 64)
    spacing: float = 1.5
    images: int = 16
    seed: int = 0
    _state: dict[str, Any] = field(default_factory=dict, repr=False, compare=False)

    def __len__(self) -> int:
        """Images."""
        return self.images

    def image(self, number: int) -> Volume:
        """Image ``number``, prepared; every eighth has no lesion."""
        from aberra.synthesis.lesions import draw_lesion, plant

        source = HeadSource(
            anatomies=(self.anatomies[number % len(self.anatomies)],), contrasts=self.contrasts, profiles={"healthy": 1}, seed=self.seed
        )
        volume = source.image(number)
        rng = np.random.default_rng([self.seed, number, 2])
        usual = {"flair": "hyper", "t2": "hyper", "t1": "hypo"}.get(volume.channels[0], "hypo")
        sources = (usual, usual, usual, "hyper", "hypo", "texture", "tumour")
        kinds = np.zeros(volume.shape, dtype=np.uint8)
        for _ in range(0 if number % 8 == 7 else int(rng.integers(1, 9))):
            lesion = draw_lesion(volume, rng, sources=sources, radius_mm=(1.5, float(rng.choice((4, 12, 30)))))
            planted, label = plant(volume.with_(lesion=None), lesion)
            change = planted.data[0] - volume.data[0]
            kinds[label >= 0.5] = 3 if lesion.source == "texture" else 1 if change[label >= 0.5].mean() > 0 else 2
            volume = planted
        kinds *= np.asarray(volume.mask)
        return volume.with_(lesion=kinds > 0, kinds=kinds)

    def fixed(self, count: int, seed: int) -> tuple[torch.Tensor, ...]:
        """Always the same samples, as many of each image."""
        import torch

        del seed
        if count not in self._state:
            cutter = HeadSource(anatomies=self.anatomies, contrasts=self.contrasts, profiles={"healthy": 1}, size=self.size, on_lesions=0.7)
            samples = []
            for number in range(self.images):
                rng = np.random.default_rng([self.seed, number, 3])
                volume = self.image(number)
                samples += [cutter._patch(volume, rng) for _ in range(-(-count // self.images))]
            self._state[count] = tuple(
                torch.from_numpy(np.stack(each).astype(np.float32)[:, None]) for each in zip(*samples[:count], strict=True)
            )
        found: tuple[torch.Tensor, ...] = self._state[count]
        return found

    def draw(self, seed: Sequence[int], count: int) -> tuple[torch.Tensor, ...]:
        """Some of the fixed samples."""
        rng = np.random.default_rng(list(seed))
        samples = self.fixed(2 * self.images, 0)
        picks = rng.integers(len(samples[0]), size=count)
        return tuple(each[picks] for each in samples)


@lru_cache(maxsize=64)
def _anatomy(path: str) -> Anatomy:
    return Anatomy.read(path)


def _cut(array: NDArray[Any], low: Sequence[int], size: Sequence[int]) -> NDArray[Any]:
    """Cut a box out of (D, H, W); zeros where it reaches beyond."""
    out = np.zeros(tuple(size), dtype=array.dtype)
    source = tuple(slice(max(0, start), min(start + edge, length)) for start, edge, length in zip(low, size, array.shape, strict=True))
    out[tuple(slice(part.start - start, part.stop - start) for part, start in zip(source, low, strict=True))] = array[source]
    return out

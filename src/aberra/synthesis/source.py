"""Training samples without end, drawn from label maps, for :func:`aberra.training.train`."""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache
from threading import Lock
from typing import TYPE_CHECKING, Any, Protocol

import numpy as np

from aberra.errors import ConfigError, expect_known
from aberra.io import read
from aberra.prepare.atlas_maps import with_maps
from aberra.prepare.grid import window
from aberra.prepare.normalise import Normalise
from aberra.synthesis.anatomy import remembered
from aberra.synthesis.contrast import CONTRASTS
from aberra.synthesis.fields import rotation
from aberra.synthesis.heads import acquired, draw_head, rendered
from aberra.synthesis.landmarks import place
from aberra.synthesis.profiles import profiles
from aberra.synthesis.scans import MappedScan

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from concurrent.futures import Future, ProcessPoolExecutor

    import torch
    from numpy.typing import NDArray

    from aberra.volume import Volume

    Arrays = tuple[NDArray[np.float16], NDArray[np.bool], NDArray[np.uint8]]

HEALTHY = "healthy"
"""Among profiles: images without lesion."""

GAIN, OFFSET = 0.07, 0.04
"""Largest error of the normalisation, relative and absolute: masks and lesions move it a little."""


TURNED, SCALED, MOVED_MM = 0.03, 0.02, 2.0
"""Standard deviations by which a registration to the atlas may be wrong: radians, shares, mm."""


@dataclass(frozen=True, kw_only=True)
class HeadSource:
    """Patches of drawn images of real heads, in blocks.

    Images are drawn whole and normalised as scans are in use (``interdecile``), then cut; the
    patches of a block are mixed.

    Args:
        anatomies: files of label maps.
        contrasts: weights by name.
        profiles: weights by name; ``healthy`` has no lesion.
        size: shape S of a patch, 3-D.
        spacing: mm.
        on_lesions: share of patches with a lesion near their middle, in images with lesions.
        mixed: share of images with lesions that have those of a second profile, too.
        images: that are mixed with one another.
        patches: cut out of each.
        scans: healthy scans that lesions are painted into, besides: file, file of its tissue map,
            channel's name.
        real: share of images that are one of these.
        masks: files of real lesion masks.
        masked: share of images whose lesions have their shapes.
        maps: append the atlas' tissue maps as channels,
            as :class:`aberra.prepare.atlas_maps.AtlasMaps` does, not quite in place.
        seed: of everything.

    Raises:
        ConfigError: no anatomy, unknown contrast or profile, or no weight above 0.

    Examples:
        >>> from aberra.synthesis.source import HeadSource
        >>> drawn = dict(contrasts={"flair": 1}, profiles={"ms": 2, "healthy": 1})
        >>> source = HeadSource(anatomies=("a.nii.gz",), **drawn)
        >>> source.samples  # 8 patches of each of 6 images
        48
    """

    anatomies: tuple[str, ...]
    contrasts: Mapping[str, float]
    profiles: Mapping[str, float]
    size: tuple[int, int, int] = (64, 64, 64)
    spacing: float = 1.5
    on_lesions: float = 0.8
    mixed: float = 0.3
    images: int = 6
    patches: int = 8
    scans: tuple[tuple[str, str, str], ...] = ()
    real: float = 0.0
    masks: tuple[str, ...] = ()
    masked: float = 0.5
    maps: bool = False
    seed: int = 0

    def __post_init__(self) -> None:
        if not self.anatomies:
            raise ConfigError("no label map to draw from; expected a folder of NIfTI label maps")
        for what, weights, known in (
            ("contrast", self.contrasts, CONTRASTS),
            ("lesion profile", self.profiles, {**profiles(), HEALTHY: None}),
        ):
            expect_known(what, weights, known)
            if not weights or min(weights.values()) < 0 or not sum(weights.values()):
                raise ConfigError(f"{what}: weights {dict(weights)}; expected numbers from 0, not all 0")

    @property
    def samples(self) -> int:
        """Of a block."""
        return self.images * self.patches

    def image(self, number: int) -> Volume:
        """Image ``number``, prepared: normalised inside its mask, axes SPL."""
        rng = np.random.default_rng([self.seed, number])
        contrast, profile, second = (
            choice(rng, weights) for weights in (self.contrasts, self.profiles, self.profiles)
        )
        path = self.anatomies[int(rng.integers(len(self.anatomies)))]
        mixed = rng.random() < self.mixed and profile != HEALTHY
        chosen = sorted({profile, second if mixed else profile} - {HEALTHY})
        masks = self.masks if self.masks and rng.random() < self.masked else ()
        if self.scans and rng.random() < self.real:
            volume, structures = self._painted(rng, contrast, chosen, masks)
        else:
            head = draw_head(rng, contrast, chosen, masks)
            volume, structures = rendered(head, remembered(path), self.spacing)
        volume = Normalise(method="interdecile")(volume)
        gain, offset = 1 + rng.uniform(-GAIN, GAIN), rng.uniform(-OFFSET, OFFSET)
        volume = volume.with_(data=np.where(np.asarray(volume.mask), volume.data * gain + offset, 0))
        if not self.maps:
            return volume
        return with_maps(volume, _misplaced(place(structures, volume.affine), rng))

    def _painted(
        self, rng: np.random.Generator, contrast: str, profiles: Sequence[str], masks: Sequence[str]
    ) -> tuple[Volume, NDArray[np.uint8]]:
        """A real scan with lesions, mirrored in half of the cases, as another scanner might have
        seen it.
        """
        scan = _mapped(*self.scans[int(rng.integers(len(self.scans)))], self.spacing)
        volume = scan.painted(tuple(lesion for name in profiles for lesion in scan.draw(name, rng, masks)))
        head = draw_head(rng, contrast)
        # some scanners correct for their coil
        x = volume.data[0] / np.float32(scan.scales[0]) / scan.gains[0] ** np.float32(rng.uniform())
        seen = acquired(head, x, self.spacing, rng) * np.asarray(volume.mask)
        turn = slice(None, None, -1 if head.mirror else 1)
        labels = np.ascontiguousarray(np.asarray(volume.labels)[..., turn])
        seen_so = volume.with_(
            data=np.ascontiguousarray(seen[None, ..., turn]),
            mask=np.ascontiguousarray(np.asarray(volume.mask)[..., turn]),
            lesion=labels > 0,
            kinds=labels,
        )
        return seen_so, np.ascontiguousarray(scan.structures[..., turn])

    def block(self, number: int) -> Arrays:
        """Samples of a block: intensities (N, C, *S), foreground and label values, (N, 1, *S) each."""
        rng = np.random.default_rng([self.seed, number, 1])
        found = []
        for index in range(self.images):
            volume = self.image(number * self.images + index)
            found += [self._patch(volume, rng) for _ in range(self.patches)]
        order = rng.permutation(len(found))
        x, mask, lesion = (np.stack([found[each][part] for each in order]) for part in range(3))
        return x.astype(np.float16), mask, lesion

    def _patch(self, volume: Volume, rng: np.random.Generator) -> tuple[NDArray[Any], ...]:
        """Cut one patch around a voxel of the brain, or of a lesion."""
        mask, labels = np.asarray(volume.mask), np.asarray(volume.labels)
        wanted = labels if rng.random() < self.on_lesions and labels.any() else mask
        at = np.unravel_index(int(rng.choice(np.flatnonzero(wanted))), mask.shape)
        low = []
        for index, edge, length in zip(at, self.size, mask.shape, strict=True):
            start = int(index) - edge // 2 + int(rng.integers(-edge // 4, edge // 4 + 1))
            low.append(int(np.clip(start, min(0, length - edge), max(0, length - edge))))
        return tuple(window(array, low, self.size) for array in (volume.data, mask[None], labels[None]))


def choice(rng: np.random.Generator, weights: Mapping[str, float]) -> str:
    """One of the names, by their weights."""
    return str(rng.choice(list(weights), p=np.array(list(weights.values())) / sum(weights.values())))


class Blocks(Protocol):
    """Samples without end, in blocks that do not depend on each other."""

    @property
    def samples(self) -> int:
        """Of a block."""
        ...

    def block(self, number: int) -> Arrays:
        """Intensities (N, C, *S), foreground and truth, (N, 1, *S) each."""
        ...


class Stream:
    """Samples of blocks in their order, so that a batch depends on its step alone; the next blocks
    are drawn in other processes meanwhile.

    Args:
        source: of the blocks; it is sent to the other processes.
        ahead: blocks that are drawn ahead; 0 draws here, when one is asked for.
        workers: processes that draw; what is drawn does not depend on it.

    Examples:
        >>> from aberra.synthesis.source import HeadSource, Stream
        >>> source = HeadSource(anatomies=("a.nii.gz",), contrasts={"flair": 1}, profiles={"ms": 1})
        >>> len(Stream(source, ahead=0))
        48
    """

    def __init__(self, source: Blocks, *, ahead: int = 2, workers: int = 1) -> None:
        self.source = source
        self.ahead = ahead and max(ahead, workers + 1)
        self.workers = workers
        self.pool: ProcessPoolExecutor | None = None
        self.waiting: dict[int, Future[Arrays]] = {}
        self.current: tuple[int, Arrays] | None = None
        self.lock = Lock()

    def __len__(self) -> int:
        """Samples of a block: there is no epoch."""
        return self.source.samples

    def draw(self, seed: Sequence[int], count: int) -> tuple[torch.Tensor, ...]:
        """Samples of step ``seed[1]``: intensities (B, C, S), foreground and label values, (B, 1,
        S) each, float.
        """
        return self._samples(seed[1] * count, count)

    def fixed(self, count: int, seed: int) -> tuple[torch.Tensor, ...]:
        """The first samples."""
        del seed
        return self._samples(0, count)

    def close(self) -> None:
        """End the processes that draw ahead."""
        if self.pool is not None:
            self.pool.shutdown(wait=False, cancel_futures=True)
        self.pool, self.waiting = None, {}

    def _samples(self, first: int, count: int) -> tuple[torch.Tensor, ...]:
        import torch

        rows = []
        with self.lock:  # several threads may ask
            for number in range(first, first + count):
                block, index = divmod(number, self.source.samples)
                rows.append([part[index] for part in self._block(block)])
        return tuple(torch.from_numpy(np.stack(part).astype(np.float32)) for part in zip(*rows, strict=True))

    def _block(self, number: int) -> Arrays:
        if self.current is None or self.current[0] != number:
            self.current = (number, self._found(number))
        return self.current[1]

    def _found(self, number: int) -> Arrays:
        if not self.ahead:
            return self.source.block(number)
        if self.pool is None:
            from concurrent.futures import ProcessPoolExecutor
            from multiprocessing import get_context

            # spawned, not forked: a fork of a process whose threads compute can hang
            self.pool = ProcessPoolExecutor(
                self.workers, mp_context=get_context("spawn"), initializer=_follow_parent
            )
        for each in range(number, number + 1 + self.ahead):
            if each not in self.waiting:
                self.waiting[each] = self.pool.submit(self.source.block, each)
        return self.waiting.pop(number).result()


def _follow_parent() -> None:
    """End this process when its parent does, however that ended: nobody else would."""
    import os
    from multiprocessing import parent_process
    from threading import Thread

    def wait() -> None:
        parent = parent_process()
        if parent is not None:
            parent.join()
            os._exit(0)

    Thread(target=wait, daemon=True).start()


@lru_cache(maxsize=256)
def _mapped(path: str, labels: str, channel: str, spacing: float) -> MappedScan:
    return MappedScan.of(read(path, channel=channel), labels, spacing=spacing)


def _misplaced(to_scan: NDArray[np.float64], rng: np.random.Generator) -> NDArray[np.float64]:
    """An affine with the errors that a registration has: a few millimetres, degrees and hundredths."""
    wrong = np.eye(4)
    wrong[:3, :3] = rotation(rng.normal(0, TURNED, 3)).astype(np.float32) * rng.normal(1, SCALED, 3)
    wrong[:3, 3] = rng.normal(0, MOVED_MM, 3)
    found: NDArray[np.float64] = to_scan @ wrong
    return found

"""Simulated healthy scans of few details beside real ones, for models that learn two domains at
once.
"""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

from aberra.synthesis.phantom import CONTRASTS, draw_phantom, render

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    import torch

    from aberra.training.sampling import Draws
    from aberra.volume import Volume

FINEST_MM = 2.0
"""Finer voxels would show no more of what is smooth."""

STREAM = 20_200_000
"""Added to seeds, so that a cohort of phantoms of the same seed has other heads."""


def simulated_scans(
    channels: Sequence[str], *, spacing: float, seed: int, count: int, detail: float = 0.0
) -> Iterator[Volume]:
    """Brain phantoms whose tissue is smooth: each head has other folds, and nothing else.

    Args:
        channels: sequences of :data:`aberra.synthesis.phantom.CONTRASTS`; others get contrasts at
            random.
        spacing: voxel size in mm; 2 or more is made.
        seed: of the heads.
        count: how many.
        detail: share of the phantoms' own texture, noise, shading and blur along z; 0 is tissue of
            constant intensity with partial volume at its borders, 1 the phantoms as they are.

    Yields:
        Scans on the phantoms' grid, one channel for each of ``channels``.

    Examples:
        >>> from aberra.synthesis.simulated import simulated_scans
        >>> scan, = simulated_scans(["flair"], spacing=8.0, seed=0, count=1)
        >>> scan.channels, scan.spacing
        (('flair',), (8.0, 8.0, 8.0))
    """
    contrasts = [name if name in CONTRASTS else "random" for name in channels]
    for case in range(count):
        drawn = [
            draw_phantom(STREAM + seed + index, case, contrast) for index, contrast in enumerate(contrasts)
        ]
        shared = drawn[0]  # one head in all contrasts
        heads = [
            replace(
                shared,
                contrast=each.contrast,
                means=each.means,
                texture=detail * each.texture,
                bias=detail * each.bias,
                noise=detail * each.noise,
                slice_blur_mm=detail * each.slice_blur_mm,
            )
            for each in drawn
        ]
        yield render(heads, max(spacing, FINEST_MM)).with_(channels=tuple(channels))


class Simulated:
    """Real samples, and behind each a simulated one that has nothing to do with it.

    Args:
        samples: draws real ones.
        simulated: draws the others, of the same shape.
    """

    def __init__(self, samples: Draws, simulated: Draws) -> None:
        self.samples = samples
        self.simulated = simulated

    def __len__(self) -> int:
        """As many as there are real ones."""
        return len(self.samples)

    def draw(self, seed: Sequence[int], count: int) -> tuple[torch.Tensor, ...]:
        """Random samples: what the real ones are, and simulated intensities (B, C, S)."""
        return (*self.samples.draw(seed, count), self.simulated.draw([*seed, 6], count)[0])

    def fixed(self, count: int, seed: int) -> tuple[torch.Tensor, ...]:
        """Always the same samples; simulated ones come again where there are fewer."""
        import torch

        real, simulated = self.samples.fixed(count, seed), self.simulated.fixed(count, seed)[0]
        return (*real, simulated[torch.arange(len(real[0])) % len(simulated)])

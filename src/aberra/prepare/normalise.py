"""Intensities."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Annotated, Literal

import numpy as np

from aberra.errors import ConfigError, InputError
from aberra.options import Within, configured

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from aberra.volume import Volume

NormaliseMethod = Literal["percentile", "zscore", "robust", "interdecile", "equalise", "window", "none"]


class Normalise:
    """Bring intensities onto a common scale inside the mask, channel by channel; zero outside.

    Args:
        method: ``percentile`` (divide by the ``percentile``-th inside the mask, as Baur et al.
            2021), ``zscore`` (zero mean, unit variance inside the mask, as Heer 2021), ``robust``
            (zero median, unit median absolute deviation · 1.4826: as a z-score where values are
            normal, but a large lesion does not move the rest), ``interdecile`` (zero median, unit
            distance from the 10th to the 90th percentile: the range from the darkest to the
            brightest tissue, whatever their shares), ``equalise`` (rank inside the mask in (0, 1],
            as M0), ``window`` (CT: ``low`` to ``high`` HU onto [0, 1]) or ``none``.
        percentile: of method ``percentile``; Baur's text says 98.
        clip: cut to [low, high] afterwards, as in [0, 1.5] for percentiles or [-1.5, 1.5] for
            z-scores; empty is off.
        low: of the CT window.
        high: of the CT window.

    Raises:
        ConfigError: unknown method or an empty window.

    Examples:
        >>> import numpy as np
        >>> from aberra import Volume
        >>> from aberra.prepare.normalise import Normalise
        >>> scan = Volume(data=np.arange(64.0).reshape(1, 4, 4, 4), affine=np.eye(4))
        >>> scan = scan.with_(mask=np.ones(scan.shape, dtype=bool))
        >>> scaled = Normalise(method="zscore")(scan).data
        >>> bool(abs(scaled.mean()) < 1e-5), round(float(scaled.std()), 3)
        (True, 1.0)
    """

    name = "normalise"
    version = 1

    @configured("normalise")
    def __init__(
        self,
        *,
        method: NormaliseMethod = "percentile",
        percentile: Annotated[float, Within(0, 100, "(]")] = 98.0,
        clip: Sequence[float] = (),
        low: float = 0.0,
        high: float = 80.0,
    ) -> None:
        if high <= low or (clip and (len(clip) != 2 or clip[1] <= clip[0])):
            raise ConfigError(
                f"normalise: low={low:g}, high={high:g}, clip={list(clip)}; expected an upper end above the lower"
            )
        self.method = method
        self.percentile = percentile
        self.clip = [float(end) for end in clip]
        self.low = low
        self.high = high

    def __call__(self, volume: Volume) -> Volume:
        """Return the normalised volume.

        Raises:
            InputError: a channel is constant inside the mask, so that there is no scale (``window``
                and ``none`` need none).
        """
        mask = volume.judged
        data = np.zeros_like(volume.data)
        for index, (channel, name) in enumerate(zip(volume.data, volume.channels, strict=True)):
            inside = channel[mask]
            if not inside.size:
                continue
            if inside.min() == inside.max() and self.method not in {"window", "none"}:
                raise InputError(f"{name} is constant inside the foreground; is this the right file?")
            values = self._scaled(inside)
            data[index][mask] = np.clip(values, self.clip[0], self.clip[1]) if self.clip else values
        return volume.with_(data=data)

    def _scaled(self, inside: NDArray[np.float32]) -> NDArray[np.float32]:
        scaled: NDArray[np.floating] = inside
        if self.method == "percentile":
            top = float(np.percentile(inside, self.percentile))
            scaled = inside / (top if top > 0 else max(float(np.abs(inside).max()), 1e-6))
        elif self.method == "zscore":
            scaled = (inside - inside.mean(dtype=np.float64)) / inside.std(dtype=np.float64)
        elif self.method == "robust":
            middle = np.median(inside)
            spread = 1.4826 * float(np.median(np.abs(inside - middle)))
            # where most voxels are the same, the median deviation is 0
            scaled = (inside - middle) / (spread or float(inside.std(dtype=np.float64)))
        elif self.method == "interdecile":
            low, middle, high = np.percentile(inside, (10, 50, 90))
            scaled = (inside - middle) / (float(high - low) or float(inside.std(dtype=np.float64)))
        elif self.method == "equalise":
            ordered, counts = np.unique(inside, return_counts=True)
            scaled = (np.cumsum(counts) / inside.size).take(np.searchsorted(ordered, inside))
        elif self.method == "window":
            scaled = np.clip((inside - self.low) / (self.high - self.low), 0, 1)
        return scaled.astype(np.float32)

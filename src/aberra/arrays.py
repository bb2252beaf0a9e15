"""Detectors for arrays, with scikit-learn's interface."""

from __future__ import annotations

import shutil
from pathlib import Path
from tempfile import mkdtemp
from typing import TYPE_CHECKING, Any
from weakref import finalize

import numpy as np
from sklearn.base import BaseEstimator, OutlierMixin
from sklearn.utils.validation import check_is_fitted

from aberra.cohort import Case, Cohort
from aberra.detector import Detector
from aberra.errors import ConfigError, InputError
from aberra.method import Method
from aberra.options import conforming
from aberra.volume import Volume

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from numpy.typing import ArrayLike, NDArray

    from aberra.result import Result

LEAST = 2
"""Samples to learn from, and to calibrate on."""


class ArrayDetector(OutlierMixin, BaseEstimator):  # type: ignore[misc]
    """Learns from healthy arrays, and scores others: for images and volumes that are in memory
    already, and for scikit-learn's tools.

    Samples are images (N, H, W) or volumes (N, D, H, W) of one shape and one channel, axes as in
    ``Volume``. Files of them are made in a temporary folder, so nothing here is faster or otherwise
    different than ``aberra fit``.

    As everywhere in aberra a higher score is more anomalous. scikit-learn has it the other way:
    ``score_samples`` and ``decision_function`` are negated, ``predict`` says −1 where p ≤ ``level``.

    Args:
        method: name of the catalogue, or a method's file.
        settings: over the method's, ``{"training.steps": 500}``.
        spacing: of a voxel in mm, (H, W) or (D, H, W).
        calibration: share of the samples that is held out for thresholds and p-values.
        level: p-value at which ``predict`` says −1.
        seed: of weights, batches and the choice of what is held out.
        out: folder for the detector; a temporary one without, which is gone with this object.

    Attributes:
        detector_: what was learnt; ``detector_.save(folder)`` keeps it for ``aberra detect``.
        shape_: of a sample.

    Examples:
        >>> import numpy as np
        >>> from aberra.arrays import ArrayDetector
        >>> images = 1 + np.random.default_rng(0).random((12, 24, 24)) / 9
        >>> odd = images[:1].copy()
        >>> odd[0, 8:12, 8:12] = 3
        >>> found = ArrayDetector("intensity").fit(images)
        >>> bool(found.anomaly(odd)[0] > found.anomaly(images).max()), found.maps(odd).shape
        (True, (1, 24, 24))
    """

    def __init__(
        self,
        method: str = "dae",
        *,
        settings: dict[str, Any] | None = None,
        spacing: Sequence[float] | None = None,
        calibration: float = 0.25,
        level: float = 0.05,
        seed: int = 0,
        out: str | Path | None = None,
    ) -> None:
        self.method = method
        self.settings = settings
        self.spacing = spacing
        self.calibration = calibration
        self.level = level
        self.seed = seed
        self.out = out

    def fit(self, X: ArrayLike, y: None = None) -> ArrayDetector:
        """Learn from healthy samples.

        Args:
            X: (N, H, W) or (N, D, H, W), finite.
            y: not used.

        Raises:
            InputError: not such an array, or too few samples.
            ConfigError: no such method or setting.
        """
        del y
        data = _checked(X)
        if not 0 < self.calibration < 1:
            raise ConfigError(
                f"ArrayDetector: calibration {self.calibration}; expected a share between 0 and 1"
            )
        held = max(LEAST, round(self.calibration * len(data)))
        if len(data) < held + LEAST:
            raise InputError(
                f"ArrayDetector.fit: {len(data)} sample(s); expected at least {held + LEAST}, of which {held} are held out"
            )
        order = np.random.default_rng(self.seed).permutation(len(data))
        splits = dict.fromkeys(order[:held].tolist(), "val")
        self.shape_ = data.shape[1:]
        folder = Path(mkdtemp(prefix="aberra-"))
        finalize(self, shutil.rmtree, folder, ignore_errors=True)
        cases = []
        for number, volume in enumerate(self._volumes(data)):
            volume.write(path := folder / "data" / f"{number}.nii.gz")
            split = splits.get(number, "train")
            cases.append(
                Case(case=str(number), patient=str(number), channels={"image": path}, label=0, split=split)
            )
        self.detector_ = Detector.fit(
            Method.load(conforming(self.method, str, "method", "dae"), self.settings or {}),
            Cohort(cases, "arrays"),
            out=Path(self.out) if self.out is not None else folder / "detector",
            seed=self.seed,
        )
        return self

    def results(self, X: ArrayLike) -> Iterator[Result]:
        """What :meth:`aberra.detector.Detector.detect` says of each sample, one after the other."""
        check_is_fitted(self, "detector_")
        data = _checked(X)
        if data.shape[1:] != self.shape_:
            raise InputError(
                f"ArrayDetector: samples of {data.shape[1:]}; it was fitted on {self.shape_}, give the same shape"
            )
        return (self.detector_.detect(volume) for volume in self._volumes(data))

    def maps(self, X: ArrayLike) -> NDArray[np.float32]:
        """Anomaly maps, of the samples' shape; higher is more anomalous."""
        return np.stack([result.map.data[0].reshape(self.shape_) for result in self.results(X)])

    def anomaly(self, X: ArrayLike) -> NDArray[np.float64]:
        """A score a sample (N,); higher is more anomalous."""
        return np.array([result.score for result in self.results(X)])

    def p_values(self, X: ArrayLike) -> NDArray[np.float64]:
        """Conformal p-values among the held-out healthy samples, (N,)."""
        return np.array([result.p for result in self.results(X)])

    def score_samples(self, X: ArrayLike) -> NDArray[np.float64]:
        """The negated anomaly score (N,): higher is more normal."""
        return -self.anomaly(X)

    def decision_function(self, X: ArrayLike) -> NDArray[np.float64]:
        """P − ``level`` (N,): below or at 0 is anomalous."""
        return self.p_values(X) - self.level

    def predict(self, X: ArrayLike) -> NDArray[np.int64]:
        """−1 where p ≤ ``level``, else 1, (N,)."""
        return np.where(self.decision_function(X) <= 0, -1, 1)

    def _volumes(self, data: NDArray[np.float32]) -> Iterator[Volume]:
        """Samples as volumes, images with a depth of 1."""
        steps = [float(step) for step in (self.spacing or [1.0] * (data.ndim - 1))]
        if len(steps) != data.ndim - 1 or min(steps) <= 0:
            raise ConfigError(
                f"ArrayDetector: spacing {self.spacing}; expected {data.ndim - 1} lengths in mm, one an axis"
            )
        flat = data.ndim == 3
        # first axis to superior, second to posterior, third to left: as prepared volumes lie
        affine = np.zeros((4, 4))
        affine[2, 0], affine[1, 1], affine[0, 2], affine[3, 3] = (
            *([1.0] * flat + steps) * np.array([1, -1, -1]),
            1.0,
        )
        for sample in data:
            yield Volume(data=sample[None, None] if flat else sample[None], affine=affine)


def _checked(X: ArrayLike) -> NDArray[np.float32]:
    """Samples as float32."""
    try:
        data = np.asarray(X, np.float32)
    except (TypeError, ValueError) as error:
        raise InputError(f"ArrayDetector: no array of numbers ({error})") from error
    if data.ndim not in {3, 4} or not data.size:
        raise InputError(
            f"ArrayDetector: an array of shape {data.shape}; expected images (N, H, W) or volumes (N, D, H, W)"
        )
    if not np.isfinite(data).all():
        raise InputError("ArrayDetector: NaN or infinite values; replace them first")
    return data

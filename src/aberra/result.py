"""What ``detect`` returns for one scan, and how it lies on disk."""

from __future__ import annotations

from dataclasses import asdict, dataclass, field
from typing import TYPE_CHECKING, Any

import numpy as np

from aberra.errors import ConfigError, InputError
from aberra.files import atomic_path, read_json, write_json
from aberra.options import Share, checked, complete, conforming
from aberra.volume import Volume, expect_path

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from numpy.typing import NDArray

ARRAYS = ("map", "mask", "reconstruction", "uncertainty", "kinds")
"""What a result has beside its numbers, a file each."""


SCANS_OWN = "intensities_kept"
"""What the input says where the reconstruction is in the scan's own intensities."""

LEARNT_FROM = (
    "the detector has learnt from this scan: its map and score say nothing of how it does on new ones"
)
"""Among the warnings of a result where that is so."""


@dataclass(frozen=True, kw_only=True)
class Component:
    """One connected region above the threshold.

    Attributes:
        volume_mm3: its volume.
        voxels: its size on the scan's grid.
        centre_mm: centre of mass (x, y, z) in RAS+ scanner space.
        centre_index: the voxel (d, h, w) of the region nearest to that centre.
        peak: highest score inside.
        mean: mean score inside.
    """

    volume_mm3: float
    voxels: int
    centre_mm: tuple[float, float, float]
    centre_index: tuple[int, int, int]
    peak: float
    mean: float


@dataclass(frozen=True, kw_only=True)
class Result:
    """Anomaly map, mask and numbers of one scan, on the scan's own grid.

    Attributes:
        case: case name; also the name of its folder.
        paths: the scan's file for each channel.
        map: anomaly map, shape (1, D, H, W), non-negative, higher is more anomalous.
        mask: the map at ``threshold``, small components removed, shape (D, H, W).
        reconstruction: the healthy version of the scan in prepared intensities, or None.
        uncertainty: how unsure the map is, shape (1, D, H, W), non-negative, or None.
        kinds: label value of the likeliest kind of lesion where that of any lesion is above 0.5, 0
            elsewhere, shape (D, H, W), uint8; None where kinds are not told apart.
        score: one number for the case, higher is more anomalous.
        p: conformal p-value of ``score`` among healthy cases; None without calibration.
        components: regions of ``mask``, largest first.
        threshold: ``{"protocol": ..., "value": ...}``.
        scale: map values of the colour scale, ``{"low": ..., "high": ...}`` from healthy quantiles.
        healthy_scores: the calibration cases' scores, sorted, for plots.
        warnings: what the reader of this result must know.
        seconds: wall time of detection.
        model: ``{"name", "fingerprint", "method"}``.
        input: ``{"sha256", "shape", "affine", "spacing_mm", "orientation"}``.
        versions: library versions.
        gate: what a second detector says of the scan, ``{"model", "score", "p", "level",
            "trusted"}`` (:mod:`aberra.workflows.gate`); empty without.
        probability: that the case is diseased, by a classifier that learnt from labels
            (``[case] score`` is ``probability``); None without.

    Examples:
        >>> import numpy as np
        >>> from aberra import Result, Volume
        >>> anomaly = Volume(data=np.zeros((1, 4, 4, 4)), affine=np.eye(4))
        >>> rest = dict(reconstruction=None, components=[], paths={}, scale={"low": 0, "high": 1})
        >>> rest |= dict(threshold={"protocol": "fixed-0.5", "value": 0.5})
        >>> rest |= dict(map=anomaly, mask=anomaly.data[0] > 0.5)
        >>> result = Result(case="s01", score=0.1, p=0.8, **rest)
        >>> result.to_json()["score"]
        0.1
    """

    case: str
    paths: dict[str, str]
    map: Volume
    mask: np.ndarray[Any, np.dtype[np.bool]]
    reconstruction: Volume | None
    score: float
    p: Share | None
    components: list[Component]
    threshold: dict[str, Any]
    scale: dict[str, float]
    healthy_scores: list[float] = field(default_factory=list)
    warnings: list[str] = field(default_factory=list)
    seconds: float = 0.0
    model: dict[str, str] = field(default_factory=dict)
    input: dict[str, Any] = field(default_factory=dict)
    versions: dict[str, str] = field(default_factory=dict)
    gate: dict[str, Any] = field(default_factory=dict)
    uncertainty: Volume | None = None
    kinds: NDArray[np.uint8] | None = None
    probability: Share | None = None

    def save(self, folder: Path | str, *, unless: Callable[[], bool] = lambda: False) -> None:
        """Write ``result.json``, ``map.nii.gz`` and ``mask.nii.gz``, whole or not at all.

        Where they exist also ``reconstruction.nii.gz``, ``uncertainty.nii.gz`` and
        ``kinds.nii.gz``. An older result is replaced, nothing else is.

        Args:
            folder: new, empty, or of an older result.
            unless: see :func:`aberra.files.atomic_path`.

        Raises:
            OutputError: the folder holds something else, or cannot be written.
        """
        with atomic_path(folder, last="result.json", unless=unless) as temporary:
            temporary.mkdir()
            self.map.write(temporary / "map.nii.gz")
            for name, labels in (("mask", self.mask), ("kinds", self.kinds)):
                if labels is not None:
                    flat = self.map.with_(data=labels[None].astype(np.float32), channels=("mask",))
                    flat.write(temporary / f"{name}.nii.gz")
            if self.reconstruction is not None:
                self.reconstruction.write(temporary / "reconstruction.nii.gz")
            if self.uncertainty is not None:
                self.uncertainty.write(temporary / "uncertainty.nii.gz")
            write_json(temporary / "result.json", self.to_json())

    def _repr_html_(self) -> str:
        """What a notebook shows."""
        from aberra.report.notebook import result_html

        return result_html(self)

    def to_json(self) -> dict[str, Any]:
        """Everything but the arrays."""
        content = {key: value for key, value in self.__dict__.items() if key not in {*ARRAYS, "components"}}
        return content | {"components": [asdict(component) for component in self.components]}

    @classmethod
    def load(cls, folder: Path | str) -> Result:
        """Read a saved result.

        Raises:
            InputError: the folder is not a finished result, or is damaged.
        """
        folder = expect_path(folder, "Result.load")
        source = folder / "result.json"
        try:
            content = conforming(read_json(source), dict[str, Any], "result")
            found = conforming(content.pop("components", []), list[dict[str, Any]], "components")
            components = [_component(each) for each in found]
            numbers = checked(cls, content, given=(*ARRAYS, "components"))
            complete(cls, numbers | dict.fromkeys((*ARRAYS, "components")), "result")
        except FileNotFoundError as error:
            raise InputError(f"{folder}: no result.json; `aberra detect` writes one for each case") from error
        except (ConfigError, OSError, ValueError, RecursionError) as error:
            raise InputError(f"{source}: damaged ({error}); run `aberra detect` again") from error
        arrays = {
            name: Volume.read(path, channel="anomaly" if name == "map" else name)
            for name in ARRAYS
            if (path := folder / f"{name}.nii.gz").is_file() or name in {"map", "mask"}
        }
        for name, array in arrays.items():
            if not array.same_grid(arrays["map"], tolerance=1e-2):
                raise InputError(
                    f"{folder}: {name}.nii.gz is on another grid than map.nii.gz; run `aberra detect` again"
                )
        kinds = arrays.get("kinds")
        return cls(
            map=arrays["map"],
            mask=arrays["mask"].data[0] > 0,
            reconstruction=arrays.get("reconstruction"),
            uncertainty=arrays.get("uncertainty"),
            kinds=None if kinds is None else kinds.data[0].astype(np.uint8),
            components=components,
            **numbers,
        )


def grid_facts(scan: Volume) -> dict[str, Any]:
    """What a result says of its scan's grid."""
    return {
        "shape": list(scan.shape),
        "affine": scan.affine.tolist(),
        "spacing_mm": [round(step, 5) for step in scan.spacing],
        "orientation": scan.orientation,
    }


def _component(content: dict[str, Any]) -> Component:
    """A region as JSON has it, which knows no tuples."""
    found = complete(Component, checked(Component, content, "components"), "components")
    return Component(**found | {key: tuple(found[key]) for key in ("centre_mm", "centre_index")})

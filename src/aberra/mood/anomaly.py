"""What is drawn about an anomaly, before anything is changed."""

from __future__ import annotations

from dataclasses import asdict, dataclass, fields, replace
from typing import TYPE_CHECKING, Any

import numpy as np

from aberra.errors import expect_known
from aberra.foreground import box_of
from aberra.mood.slabs import SLABS
from aberra.mood.taxonomy import taxonomy

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from aberra.mood.scan import Scan
    from aberra.mood.taxonomy import Subclass

STRETCH = (0.7, 1.4)
"""Of the axes of an ellipsoid or blob, against its radius."""

MARGIN = 0.1
"""Share of the foreground's extent at either end that slabs keep away from: their loss would not be
seen there."""


@dataclass(frozen=True, kw_only=True)
class Anomaly:
    """Everything that is drawn about an anomaly.

    Attributes:
        subclass: of the taxonomy, which says what is done.
        centre: index (d, h, w).
        radius_mm: mean radius; half the thickness of a slab.
        stretch: of the axes.
        amount: in the operation's unit; of ``fill`` the intensity itself.
        direction: a unit vector along the axes of the array.
        seed: of shape, texture and noise.
        file: the picture, or the mask whose lesion gives the shape; empty where none is used.
        slab: axis, first slice, number of slices, first slice of the other slab; zeros where none
            is.
        lesion: of a disease, as :class:`aberra.synthesis.profiles.Lesion`; empty for others.

    Examples:
        >>> from aberra.mood import Anomaly
        >>> drawn = Anomaly(subclass="sphere", centre=(8, 9, 10), radius_mm=4.0, amount=0.7)
        >>> Anomaly.from_json(drawn.to_json()) == drawn
        True
    """

    subclass: str
    centre: tuple[int, int, int]
    radius_mm: float
    amount: float
    stretch: tuple[float, float, float] = (1.0, 1.0, 1.0)
    direction: tuple[float, float, float] = (1.0, 0.0, 0.0)
    seed: int = 0
    file: str = ""
    slab: tuple[int, int, int, int] = (0, 0, 0, 0)
    lesion: Mapping[str, Any] | None = None

    def to_json(self) -> dict[str, Any]:
        """As a case's JSON has it."""
        return asdict(self)

    @classmethod
    def from_json(cls, record: Mapping[str, Any]) -> Anomaly:
        """Of what :meth:`to_json` gave, be it read from a file."""
        return cls(**as_tuples({each.name: record[each.name] for each in fields(cls) if each.name in record}))

    @property
    def kind(self) -> Subclass:
        """Its subclass.

        Raises:
            ConfigError: there is none of that name.
        """
        expect_known("subclass of anomalies", [self.subclass], taxonomy())
        return taxonomy()[self.subclass]


def as_tuples(record: Mapping[str, Any]) -> dict[str, Any]:
    """What was drawn, from JSON, which knows lists only."""
    return {name: tuple(each) if isinstance(each, list) else each for name, each in record.items()}


def draw(
    subclass: Subclass,
    scan: Scan,
    rng: np.random.Generator,
    *,
    images: Sequence[str] = (),
    masks: Sequence[str] = (),
) -> Anomaly:
    """Draw an anomaly that fits into a scan.

    Its centre lies as deep in the foreground as its radius is long; where the foreground is not
    deep enough, the radius is what fits. Lesions of a disease lie where the tissue map has the
    disease's sites, slabs anywhere but at the ends.

    Args:
        subclass: of the taxonomy.
        scan: the healthy scan.
        rng: source of randomness.
        images: files of pictures to choose from.
        masks: files of lesion masks to choose from.
    """
    if subclass.operation == "disease":
        return _of_disease(subclass, scan, rng)
    radius = float(np.exp(rng.uniform(*np.log(subclass.radius_mm))))
    radius = np.floor(1000 * min(radius, float(scan.depth.max()))) / 1000
    places = np.flatnonzero(scan.depth >= radius)
    place = np.unravel_index(places[rng.integers(len(places))], scan.depth.shape)
    centre = (int(place[0]), int(place[1]), int(place[2]))
    amount = float(rng.uniform(*subclass.amount)) * float(rng.choice(subclass.signs))
    if subclass.relative:
        amount = _apart(scan, centre, radius, amount)
    turned = rng.standard_normal(3)
    stretched = subclass.shape in {"ellipsoid", "blob"}
    files = {"images": images, "masks": masks}.get(subclass.needs, ())
    drawn = Anomaly(
        subclass=subclass.name,
        centre=centre,
        radius_mm=float(radius),
        amount=round(amount, 4),
        stretch=_three(rng.uniform(*STRETCH, 3) if stretched else np.ones(3)),
        direction=_three(turned / np.linalg.norm(turned)),
        seed=int(rng.integers(2**31)),
        file=str(rng.choice(list(files))) if files else "",
    )
    return replace(drawn, slab=_slab(drawn, scan, rng)) if subclass.operation in SLABS else drawn


def _three(values: Sequence[float] | np.ndarray[Any, Any]) -> tuple[float, float, float]:
    a, b, c = (round(float(value), 4) for value in values)
    return a, b, c


def _apart(scan: Scan, centre: tuple[int, int, int], radius: float, contrast: float) -> float:
    """The intensity that differs from the mean within a radius by a contrast; in the other
    direction where that would leave [0, 1].
    """
    near = (scan.offsets(centre) ** 2).sum(axis=0) <= radius**2
    mean = float(scan.data[near & scan.inside].mean())
    return mean + contrast if 0 <= mean + contrast <= 1 else float(np.clip(mean - contrast, 0, 1))


def _slab(drawn: Anomaly, scan: Scan, rng: np.random.Generator) -> tuple[int, int, int, int]:
    """Axis, first slice, number of slices and, not overlapping, first slice of another slab."""
    axis = int(rng.integers(3))
    extent = box_of(scan.inside)[axis]
    length = extent.stop - extent.start
    low = extent.start + max(1, int(MARGIN * length))  # there is a slice before it to repeat
    high = max(extent.stop - int(MARGIN * length), low + 2)
    count = int(np.clip(round(2 * drawn.radius_mm / scan.volume.spacing[axis]), 1, (high - low) // 2))
    first, second = sorted(int(each) for each in rng.integers(0, high - low - 2 * count + 1, 2))
    slabs = [low + first, low + second + count]
    start, other = slabs if rng.random() < 0.5 else slabs[::-1]
    return axis, start, count, other


def _of_disease(subclass: Subclass, scan: Scan, rng: np.random.Generator) -> Anomaly:
    """The largest of the lesions that a disease's profile has in one scan."""
    lesion = max(scan.mapped.draw(subclass.profile, rng), key=lambda each: each.radius)
    return Anomaly(
        subclass=subclass.name,
        centre=(0, 0, 0),  # the tissue map says where
        radius_mm=lesion.radius,
        amount=lesion.step,
        seed=lesion.seed,
        lesion=asdict(lesion),
    )

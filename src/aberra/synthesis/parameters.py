"""What is drawn about a lesion before it is planted."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import Any

from aberra.errors import ConfigError, unknown

SHAPES = ("ellipsoid", "blob", "tube", "mask")
SOURCES = ("hyper", "hypo", "texture", "patch", "mass", "ventricle", "tumour")
BLENDS = ("alpha", "poisson")
LABELS = ("binary", "soft", "displacement")


@dataclass(frozen=True, kw_only=True)
class LesionParameters:
    """Everything that is drawn about a lesion.

    Attributes:
        shape: ``ellipsoid``, ``blob``, ``tube`` or ``mask`` (a real lesion's shape from ``mask_file``).
        source: ``hyper`` or ``hypo`` (brighter, darker), ``texture`` (foreign), ``patch`` (from elsewhere in the scan; FPI),
            ``mass`` (bright core that pushes tissue away), ``ventricle`` (the fluid at the centre grows) or ``tumour`` (a mass
            that is dark in :data:`aberra.synthesis.lesions.DARK_TUMOUR` and bright in other channels; its truth is the tumour alone, as raters of BraTS
            outline it, while the truth of ``mass`` is all tissue that moved by a millimetre, too).
        blend: ``alpha`` (soft edge) or ``poisson`` (gradient domain; for ``patch`` and ``texture``).
        label: what :func:`aberra.synthesis.lesions.plant` returns besides the binary truth: ``binary``, ``soft`` or ``displacement`` (mm).
        centre: index (d, h, w).
        radius_mm: mean radius.
        stretch: relative semi-axes.
        strength: change of intensity, share of the scan's median foreground.
        offset: for ``patch``, where the foreign tissue is taken from, relative index.
        seed: of shape and texture.
        mask_file: for shape ``mask``.
    """

    shape: str
    source: str
    blend: str
    label: str
    centre: tuple[int, int, int]
    radius_mm: float
    stretch: tuple[float, float, float]
    strength: float
    offset: tuple[int, int, int]
    seed: int
    mask_file: str = ""

    def __post_init__(self) -> None:
        for kind, value, known in (
            ("lesion shape", self.shape, SHAPES),
            ("lesion source", self.source, SOURCES),
            ("lesion blend", self.blend, BLENDS),
            ("lesion label", self.label, LABELS),
        ):
            if value not in known:
                raise unknown(kind, value, known)
        if self.blend == "poisson" and self.source not in {"patch", "texture"}:
            raise ConfigError(
                f"lesion source '{self.source}' with poisson blending: gradients do not see a constant change; use alpha"
            )

    def to_json(self) -> dict[str, Any]:
        """All fields."""
        return asdict(self)

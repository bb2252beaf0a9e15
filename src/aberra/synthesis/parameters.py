"""What is drawn about a lesion before it is planted."""

from __future__ import annotations

from dataclasses import dataclass

from aberra.errors import ConfigError, expect_known

BOXES = ("box", "cube")
SHAPES = ("ellipsoid", "sphere", "blob", "tube", "mask", *BOXES)
EDGE_MM = 1.0
"""Usual width of the soft edge: what partial volume does to a real border."""
FOREIGN = ("foreign", "foreign-shifted")
"""Sources that take tissue out of another scan."""
PATCHES = ("patch", *FOREIGN)
"""Sources that are real tissue."""
SOURCES = ("hyper", "hypo", "texture", "patch", "mass", "ventricle", "tumour")
BLENDS = ("alpha", "poisson", "mixed")
LABELS = ("binary", "soft", "displacement", "intensity")


@dataclass(frozen=True, kw_only=True)
class LesionParameters:
    """Everything that is drawn about a lesion.

    Attributes:
        shape: ``ellipsoid``, ``sphere``, ``blob``, ``tube``, ``box``, ``cube`` or ``mask`` (a real
            lesion's shape from ``mask_file``).
        source: ``hyper`` or ``hypo`` (brighter, darker), ``texture`` (foreign), ``patch`` (from
            elsewhere in the scan), ``foreign`` (from the same place of another scan),
            ``foreign-shifted`` (from another place of it), ``mass`` (bright core that pushes tissue
            away), ``ventricle`` (the fluid at the centre grows) or ``tumour`` (a mass that is dark
            in :data:`aberra.synthesis.lesions.DARK_TUMOUR` and bright in other channels; its truth
            is the tumour alone, as raters of BraTS outline it, while the truth of ``mass`` is all
            tissue that moved by a millimetre, too).
        blend: ``alpha`` (soft edge), or in the gradient domain, for patches and textures,
            ``poisson`` (the gradients are interpolated) or ``mixed`` (of the two weighted gradients
            the stronger one; PII), see :func:`aberra.synthesis.poisson.poisson_blend`.
        label: what :func:`aberra.synthesis.lesions.plant` returns besides the binary truth:
            ``binary``, ``soft`` (membership times ``factor``; of patches 0 where they changed
            nothing), ``displacement`` (mm) or ``intensity`` (a logistic function of the change, in
            [0, 1)).
        centre: index (d, h, w).
        radius_mm: mean radius.
        stretch: relative semi-axes.
        strength: change of intensity, share of the scan's median foreground.
        offset: where a patch's tissue is taken from: the centre less this index.
        seed: of shape and texture.
        mask_file: for shape ``mask``.
        edge_mm: width of the soft edge; 0 is a hard one.
        factor: weight α of what is planted, in (0, 1]; 1 − α of the scan stays.
        scale: enlargement of a patch's tissue.
        gain: of a patch's intensity.

    Examples:
        >>> import numpy as np
        >>> from aberra import Volume
        >>> from aberra.synthesis import draw_lesion, plant
        >>> scan = Volume(data=np.full((1, 24, 24, 24), 100.0), affine=np.eye(4))
        >>> lesion = draw_lesion(scan, np.random.default_rng(0), sources=("hyper",))
        >>> lesion.source, lesion.shape, bool(plant(scan, lesion)[0].data.max() > 100)
        ('hyper', 'tube', True)
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
    edge_mm: float = EDGE_MM
    factor: float = 1.0
    scale: float = 1.0
    gain: float = 1.0

    def __post_init__(self) -> None:
        expect_known("lesion shape", [self.shape], SHAPES)
        expect_known("lesion source", [self.source], (*SOURCES, *FOREIGN))
        expect_known("lesion blend", [self.blend], BLENDS)
        expect_known("lesion label", [self.label], LABELS)
        if self.blend != "alpha" and self.source not in {"texture", *PATCHES}:
            raise ConfigError(
                f"lesion source '{self.source}' with {self.blend} blending: gradients do not see a constant change; use alpha"
            )

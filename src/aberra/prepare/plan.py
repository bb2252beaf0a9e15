"""From a cohort's fingerprint to a recipe: spacing, field of view, mask and normaliser, after
nnU-Net's idea.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from math import ceil
from operator import mul
from typing import TYPE_CHECKING, Any, Literal

from aberra.errors import ConfigError
from aberra.options import Dims, Edge, NotNegative, accepted, checked, configured
from aberra.prepare.atlas import atlas_grid
from aberra.prepare.brain_mask import MaskMethod
from aberra.prepare.normalise import NormaliseMethod

if TYPE_CHECKING:
    from aberra.cohort.fingerprint import Fingerprint  # noqa: TC004  (not an option)

SLICE = 128
"""In-plane size of the comparative study (Baur et al. 2021, arXiv 2004.03271)."""

PATCH = 64
"""Longest edge of a 3-D patch; a 64³ patch trains on a laptop."""

COARSEST = 96
"""3-D volumes are resampled so that the foreground's longest edge spans at most so many voxels."""

MARGIN = 0.95
"""Share of the field of view that the foreground may fill."""

WHOLE_HEAD_MM = 100.0
"""Foreground larger than this along every axis is a head, which can be registered to an atlas."""

ATLAS_MM = 2.0
"""Voxel size of the atlas where no other is asked for."""

CLIP = (0.0, 2.0)
"""After division by the 98th percentile: keeps lesions brighter than it and cuts fat and
vessels."""


@configured("prepare")
def plan(
    fingerprint: Fingerprint,
    *,
    dims: Dims = 2,
    size: Edge | Sequence[Edge] | None = None,
    spacing: tuple[NotNegative, NotNegative, NotNegative] | None = None,
    normalise: NormaliseMethod | Mapping[str, Any] = "percentile",
    mask: MaskMethod | Mapping[str, Any] = "auto",
    bias_field: bool = False,
    denoise: bool = False,
    match: bool = False,
    grid: Literal["slices", "common"] = "slices",
    register: Literal["none", "auto", "mni152"] = "none",
) -> dict[str, Any]:
    """Choose a recipe for a cohort.

    Args:
        fingerprint: of the training cases.
        dims: of the network, 2 (slices) or 3 (volumes).
        size: network input; an edge or one a spatial axis. None plans it: 128 (less for small
            objects) in 2-D, patches of at most 64 in 3-D.
        spacing: mm along S, P, L; None plans it so that the foreground fits, never finer than the
            data.
        normalise: a method of :class:`~aberra.prepare.normalise.Normalise`, or its options.
        mask: a method of :class:`~aberra.prepare.brain_mask.BrainMask`, or its options.
        bias_field: correct by N4.
        denoise: smooth by curvature flow, as Baur et al. 2021.
        match: match histograms to the healthy cohort.
        grid: ``slices`` or ``common`` (every case on one grid, for voxel-wise statistics).
        register: ``mni152``, ``none`` or ``auto`` (``mni152`` for whole heads); only with
            ``grid = "common"``.

    Returns:
        ``{"prepare": [steps], "size": [spatial shape]}``.

    Raises:
        ConfigError: a wish that cannot be met.
    """
    image = fingerprint.kind == "image"
    if spacing is not None and not all(spacing) and (dims == 3 or grid == "common"):
        raise ConfigError(
            f"prepare.spacing={list(spacing)}: expected three sizes in mm above 0; 0 keeps an axis only where slices are cut"
        )
    if image and register == "mni152":
        raise ConfigError('prepare.register="mni152" needs volumes of whole brains; these are 2-D images')
    own = fingerprint.spacing["median"]
    extent = [*map(mul, fingerprint.shape["max"], own)] if image else fingerprint.extent_mm["p95"]
    steps: list[dict[str, Any]] = [{"name": "orient", "to": "SPL"}]
    masked = {"method": mask} if isinstance(mask, str) else dict(mask)
    if image and masked == {"method": "auto"}:
        masked = {"method": "all"}
    steps.append({"name": "brain-mask", **masked})
    asked = {"bias-field": bias_field, "curvature-flow": denoise}
    steps += [{"name": name} for name, wanted in asked.items() if wanted]

    heads = not image and min(extent) >= WHOLE_HEAD_MM
    if grid == "common" and (register == "mni152" or (register == "auto" and heads)):
        step = float(max(spacing)) if spacing else ATLAS_MM
        steps.append({"name": "register", "target": "mni152", "spacing": step})
        chosen = list(atlas_grid(step)[0])
    else:
        if dims == 3 or grid == "common":
            voxel, chosen = _volume_plan(own, extent, size, spacing, image=image, whole=grid == "common")
            fits = all(
                length / step <= edge for length, step, edge in zip(extent, voxel, chosen, strict=True)
            )
            shape = chosen if fits or grid == "common" else None
        else:
            voxel, chosen = _slice_plan(own, extent, size, spacing, image=image)
            shape = [0, *chosen]
        # to four decimals, or as many digits where pixels are that small
        rounded = [round(edge, 4) if edge >= 0.1 else float(f"{edge:.4g}") for edge in voxel]
        steps.append({"name": "resample", "spacing": rounded})
        if shape is not None:
            steps.append({"name": "crop", "shape": list(shape), "centre": "grid" if image else "mask"})
    if match:
        steps.append({"name": "histogram-match"})
    wanted: dict[str, Any] = {"method": normalise} if isinstance(normalise, str) else dict(normalise)
    if wanted == {"method": "percentile"}:
        wanted["clip"] = list(CLIP)
    steps.append({"name": "normalise", **wanted})
    return {"prepare": steps, "size": [int(edge) for edge in chosen]}


def fit_shape(model: type[Any], dims: int, size: Sequence[int]) -> None:
    """Refuse an input shape of other dimensions than a model's.

    Raises:
        ConfigError: another number of edges than ``dims``; models without ``dims`` take 2 or 3.
    """
    wanted = (dims,) if "dims" in accepted(model) else (2, 3)
    if len(size) not in wanted:
        raise ConfigError(f"prepare.size={list(size)}: expected {wanted[0]} edges, for prepare.dims={dims}")


def checked_wishes(wishes: Mapping[str, Any]) -> dict[str, Any]:
    """Check a method's ``[prepare]``: wishes for :func:`plan`, or ``steps`` of its own, ``size``
    and ``dims``.

    Raises:
        ConfigError: an unknown wish, a value that cannot be, or a wish beside ``steps``, where it
            would do nothing.
    """
    from aberra.registry import build

    if "steps" not in wishes:
        found = checked(plan, wishes, "prepare", given=("fingerprint",))
        for step, name in (("normalise", "normalise"), ("mask", "brain-mask")):
            if isinstance(found.get(step), dict):
                build("prepare", {"name": name, **found[step]})
        return found
    found = checked(_own, wishes, "prepare", title="[prepare] with its own steps")
    for step in found["steps"]:
        build("prepare", step)
    if "size" not in found:
        raise ConfigError(
            "[prepare] with its own steps needs size, the network's spatial shape, as in size = [128, 128]"
        )
    return found


@configured("prepare")
def _own(*, steps: Sequence[Mapping[str, Any]], size: Edge | Sequence[Edge], dims: Dims = 2) -> None:
    """What ``[prepare]`` may say instead of wishes."""


def _slice_plan(
    own: Sequence[float],
    extent: Sequence[float],
    size: int | Sequence[int] | None,
    spacing: Sequence[float] | None,
    *,
    image: bool,
) -> tuple[list[float], list[int]]:
    """Voxel size (S, P, L) and slice size (P, L) for a 2-D network."""
    margin = 1.0 if image else MARGIN
    if size is not None and not isinstance(size, int):
        edges = list(size)
    else:
        needed = max(extent[1] / own[1], extent[2] / own[2]) / margin
        edge = size or min(SLICE, max(32, _multiple(needed)))
        edges = [edge, edge]
    if len(edges) != 2:
        raise ConfigError(f"prepare.size={size}; a 2-D network needs one or two edges")
    if spacing is not None:
        return [float(step) for step in spacing], edges
    fit = max(length / (margin * edge) for length, edge in zip(extent[1:], edges, strict=True))
    inplane = max(fit, min(own[1:]))
    return [0.0 if image else max(own[0], inplane), inplane, inplane], edges


def _volume_plan(
    own: Sequence[float],
    extent: Sequence[float],
    size: int | Sequence[int] | None,
    spacing: Sequence[float] | None,
    *,
    image: bool,
    whole: bool,
) -> tuple[list[float], list[int]]:
    """Voxel size and patch (S, P, L) of a 3-D network: as asked for, or the foreground up to the
    largest patch; all of it on a common grid.
    """
    if spacing is not None:
        voxel = [float(step or mine) for step, mine in zip(spacing, own, strict=True)]
    else:
        voxel = [max(step, max(extent) / COARSEST) for step in own]
    needed = [length / step for length, step in zip(extent, voxel, strict=True)]
    if size is not None and not isinstance(size, int):
        if len(size) != 3:
            raise ConfigError(f"prepare.size={size}; a 3-D network needs one or three edges")
        edges = [int(edge) for edge in size]
    elif whole:
        edges = [1 if image and axis == 0 else ceil(edge / MARGIN) for axis, edge in enumerate(needed)]
    else:
        edges = [size or min(PATCH, _multiple(edge)) for edge in needed]
    return voxel, edges


def _multiple(edge: float) -> int:
    """Next multiple of 16, which four halvings need."""
    return 16 * max(1, ceil(edge / 16 - 1e-6))

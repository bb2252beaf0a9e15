"""Affine registration to MNI152."""

from __future__ import annotations

from hashlib import sha256
from typing import TYPE_CHECKING, Any, Literal

import numpy as np

from aberra.options import AtlasVoxel, configured
from aberra.prepare.atlas import WORKING_MM, atlas_grid, template
from aberra.prepare.grid import regrid, resample_to, warn

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from aberra.volume import Volume

LPS = np.diag([-1.0, -1.0, 1.0, 1.0])
OVERLAP = 0.8
"""Dice of the two brain masks below which the registration counts as failed; on 23 scans that were
right it was .84 to .96."""
RIGID_OVERLAP = 0.7
"""The same where brains keep their size."""


KEPT = 1024
"""Transforms that are remembered."""

_found: dict[str, tuple[NDArray[np.float64], str]] = {}


class Register:
    """Move a brain onto the MNI152 atlas grid (nilearn's packaged ICBM 2009a template) by an affine
    transform.

    SimpleITK: Mattes mutual information, regular-step gradient descent from the aligned centres of
    mass. The result lies on the atlas grid in orientation SPL, but its ``affine`` still maps to the
    scan's own millimetres, so that maps find back.

    The check is the overlap (Dice) of the scan's mask with the atlas' brain:
    ``provenance["registration"]`` has ``target``, ``overlap`` and ``ok``, and where it is not ok
    there is a warning.

    Args:
        target: ``mni152``.
        spacing: voxel size of the atlas grid in mm.

    Raises:
        ConfigError: unknown target.

    Examples:
        >>> import numpy as np
        >>> from aberra import Volume
        >>> from aberra.prepare.register import Register
        >>> grey, origin = np.ones((1, 1, 8, 8)), {"kind": "image"}
        >>> image = Volume(data=grey, affine=np.eye(4), provenance=origin)
        >>> Register(spacing=4.0)(image) is image  # no brain to register
        True
    """

    name = "register"
    version = 3

    @configured("register")
    def __init__(self, *, target: Literal["mni152"] = "mni152", spacing: AtlasVoxel = 2.0) -> None:
        self.target = target
        self.spacing = float(spacing)

    def __call__(self, volume: Volume) -> Volume:
        """Return the scan on the atlas grid; images are left as they are."""
        return onto_atlas(volume, self.spacing)


def onto_atlas(volume: Volume, spacing: float, *, rigid: bool = False) -> Volume:
    """A scan on the atlas grid of ``spacing`` mm, with what the check of the registration says;
    images are left as they are.
    """
    if volume.is_image:
        return volume
    from aberra.prepare.resample import smoothed

    to_scan, fact, why = locate(volume, rigid=rigid)
    shape, grid = atlas_grid(spacing)
    # an affine scales little: the scan's voxels are thinned out by about the ratio of the spacings
    data = smoothed(volume.data, (spacing / step for step in volume.spacing))
    return noted(regrid(volume, to_scan @ grid, shape, data=data), fact, why)


def locate(volume: Volume, *, rigid: bool = False) -> tuple[NDArray[np.float64], dict[str, Any], str]:
    """Find where MNI152 lies in a scan, by an affine or by a ``rigid`` transform.

    Returns:
        The affine from atlas mm to scan mm (RAS+), the ``target`` and ``overlap`` of the brain
        masks and whether that is ``ok``, and why it is not.
    """
    from aberra.prepare.resample import Resample

    _, inside, atlas = template()
    # thin out before searching, so that the pyramid starts from what it needs
    coarse = Resample(spacing=[max(WORKING_MM, step) for step in volume.spacing])(volume)
    moving = coarse.data[0] if coarse.mask is None else coarse.data[0] * coarse.mask
    if moving.min() < 0:  # normalised: the background would be as bright as the usual tissue
        moving = moving - moving.min() if coarse.mask is None else (moving - moving.min()) * coarse.mask
    to_scan, failed = _remembered(moving, coarse.affine, rigid=rigid)
    brain = (moving != 0) if coarse.mask is None else coarse.mask
    here = resample_to(brain, coarse.affine, to_scan @ atlas, inside.shape, order=0)
    overlap = 2 * float((here & inside).sum()) / float(here.sum() + inside.sum())
    least = RIGID_OVERLAP if rigid else OVERLAP
    ok = not failed and overlap >= least
    why = failed or f"the brain masks overlap by {overlap:.2f}, expected {least} or more"
    return to_scan, {"target": "mni152", "overlap": round(overlap, 3), "ok": ok}, "" if ok else why


def noted(volume: Volume, fact: dict[str, Any], why: str) -> Volume:
    """Keep what a registration found in the provenance, and warn where it failed."""
    moved = volume.with_(provenance={**volume.provenance, "registration": fact})
    if not why:
        return moved
    return warn(
        moved,
        f"registration to MNI152 failed ({why}), so what depends on anatomy is not to be trusted; is this a whole brain, "
        "right side up, with the skull taken away? Check the orientation in the header and the brain mask",
    )


def _remembered(
    moving: NDArray[np.float32], moving_affine: NDArray[np.float64], *, rigid: bool
) -> tuple[NDArray[np.float64], str]:
    """As :func:`_search` on the atlas, once a scan: methods that are compared look at the same
    ones.
    """
    key = sha256(np.ascontiguousarray(moving).data)
    key.update(repr((moving.shape, moving_affine.round(6).tolist(), rigid)).encode())
    if (name := key.hexdigest()) not in _found:
        brain, _, atlas = template()
        _found[name] = _search(brain, atlas, moving, moving_affine, rigid)
        while len(_found) > KEPT:
            _found.pop(next(iter(_found)))
    return _found[name]


def _search(
    fixed: NDArray[np.float32],
    fixed_affine: NDArray[np.float64],
    moving: NDArray[np.float32],
    moving_affine: NDArray[np.float64],
    rigid: bool = False,
) -> tuple[NDArray[np.float64], str]:
    """Find the affine from atlas mm to scan mm (RAS+), and why it failed, if it did."""
    import SimpleITK as sitk

    target, source = _image(fixed, fixed_affine), _image(moving, moving_affine)
    start = sitk.CenteredTransformInitializer(
        target,
        source,
        sitk.Euler3DTransform() if rigid else sitk.AffineTransform(3),
        sitk.CenteredTransformInitializerFilter.MOMENTS,
    )
    method = sitk.ImageRegistrationMethod()
    method.SetNumberOfThreads(1)  # sums in another order give another transform
    method.SetMetricAsMattesMutualInformation(32)
    method.SetMetricSamplingStrategy(method.NONE)
    method.SetInterpolator(sitk.sitkLinear)
    method.SetOptimizerAsRegularStepGradientDescent(1.0, 1e-4, 200, relaxationFactor=0.6)
    method.SetOptimizerScalesFromPhysicalShift()
    method.SetShrinkFactorsPerLevel([4, 2, 1])
    method.SetSmoothingSigmasPerLevel([3.0, 1.0, 0.0])
    method.SetInitialTransform(start, inPlace=False)
    try:
        found = method.Execute(target, source)
    except RuntimeError as error:
        return _matrix(start), str(error).strip().splitlines()[-1]
    return _matrix(found), ""


def _image(data: NDArray[np.float32], affine: NDArray[np.float64]) -> Any:
    """A SimpleITK image (LPS+) of an array with a RAS+ affine."""
    import SimpleITK as sitk

    image = sitk.GetImageFromArray(np.ascontiguousarray(data.transpose(2, 1, 0)))
    lps = LPS @ affine
    spacing = np.sqrt((lps[:3, :3] ** 2).sum(axis=0))
    image.SetSpacing(spacing.tolist())
    image.SetDirection((lps[:3, :3] / spacing).ravel().tolist())
    image.SetOrigin(lps[:3, 3].tolist())
    return image


def _matrix(transform: Any) -> NDArray[np.float64]:
    """An affine SimpleITK transform as a 4×4 matrix in RAS+."""
    origin = np.array(transform.TransformPoint((0.0, 0.0, 0.0)))
    matrix = np.eye(4)
    for axis, unit in enumerate(np.eye(3).tolist()):
        matrix[:3, axis] = np.array(transform.TransformPoint(unit)) - origin
    matrix[:3, 3] = origin
    return LPS @ matrix @ LPS

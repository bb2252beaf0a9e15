"""Affine registration to MNI152."""

from __future__ import annotations

from functools import cache
from typing import TYPE_CHECKING, Annotated, Any, Literal

import numpy as np

from aberra.options import Within, configured
from aberra.prepare.grid import regrid, warn

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from aberra.volume import Volume

LPS = np.diag([-1.0, -1.0, 1.0, 1.0])
WORKING_MM = 4
"""Voxel size at which the transform is searched: an affine needs no finer grid."""


class Register:
    """Move a brain onto the MNI152 atlas grid (nilearn's packaged ICBM 2009a template) by an affine transform.

    SimpleITK: Mattes mutual information, regular-step gradient descent from the aligned centres of mass. The result lies on
    the atlas grid in orientation SPL, but its ``affine`` still maps to the scan's own millimetres, so that maps find back.

    Args:
        target: ``mni152``.
        spacing: voxel size of the atlas grid in mm.

    Raises:
        ConfigError: unknown target.
    """

    version = 2

    @configured("register")
    def __init__(
        self, *, target: Literal["mni152"] = "mni152", spacing: Annotated[float, Within(0.5, 100)] = 2.0
    ) -> None:
        self.target = target
        self.spacing = float(spacing)

    def __call__(self, volume: Volume) -> Volume:
        """Return the scan on the atlas grid; images are left as they are."""
        if volume.is_image:
            return volume
        from aberra.prepare.resample import Resample, smoothed

        template, atlas = _template()
        # thin out before searching, so that the pyramid starts from what it needs
        coarse = Resample(spacing=[max(WORKING_MM, step) for step in volume.spacing])(volume)
        moving = coarse.data[0] if coarse.mask is None else coarse.data[0] * coarse.mask
        to_scan, failed = _search(template, atlas, moving, coarse.affine)
        low, high = _corners(template.shape, atlas)
        shape = atlas_shape(self.spacing)
        grid = np.zeros((4, 4))
        grid[2, 0], grid[1, 1], grid[0, 2], grid[3, 3] = self.spacing, -self.spacing, -self.spacing, 1
        grid[:3, 3] = [high[0], high[1], low[2]]
        # an affine scales little: the scan's voxels are thinned out by about the ratio of the spacings
        data = smoothed(volume.data, (self.spacing / step for step in volume.spacing))
        moved = regrid(volume, to_scan @ grid, shape, data=data)
        return warn(moved, f"registration to MNI152 did not converge ({failed})") if failed else moved


def atlas_shape(spacing: float) -> tuple[int, int, int]:
    """Grid (D, H, W) = (S, P, L) of the atlas at a voxel size in mm."""
    template, atlas = _template()
    low, high = _corners(template.shape, atlas)
    depth, height, width = np.ceil((high - low)[::-1] / spacing).astype(int)
    return int(depth), int(height), int(width)


def _corners(
    shape: tuple[int, ...], affine: NDArray[np.float64]
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Lowest and highest x, y, z in mm of a grid aligned with the axes."""
    ends = affine @ np.array([[0, 0, 0, 1], [*(length - 1 for length in shape), 1]]).T
    return ends[:3].min(axis=1), ends[:3].max(axis=1)


@cache
def _template() -> tuple[NDArray[np.float32], NDArray[np.float64]]:
    """The brain of the template at the working resolution, and its affine."""
    from nilearn.datasets import load_mni152_brain_mask, load_mni152_template

    brain: Any = load_mni152_template(resolution=WORKING_MM)
    mask: Any = load_mni152_brain_mask(resolution=WORKING_MM)
    data = np.asarray(brain.dataobj, dtype=np.float32) * (np.asarray(mask.dataobj) > 0)
    return data, np.asarray(brain.affine, dtype=np.float64)


def _search(
    fixed: NDArray[np.float32],
    fixed_affine: NDArray[np.float64],
    moving: NDArray[np.float32],
    moving_affine: NDArray[np.float64],
) -> tuple[NDArray[np.float64], str]:
    """Find the affine from atlas mm to scan mm (RAS+), and why it failed, if it did."""
    import SimpleITK as sitk

    target, source = _image(fixed, fixed_affine), _image(moving, moving_affine)
    start = sitk.CenteredTransformInitializer(
        target, source, sitk.AffineTransform(3), sitk.CenteredTransformInitializerFilter.MOMENTS
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
    for axis in range(3):
        unit = [0.0, 0.0, 0.0]
        unit[axis] = 1.0
        matrix[:3, axis] = np.array(transform.TransformPoint(unit)) - origin
    matrix[:3, 3] = origin
    return LPS @ matrix @ LPS

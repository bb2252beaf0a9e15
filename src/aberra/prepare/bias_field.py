"""N4 bias field correction."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from aberra.errors import ConfigError
from aberra.options import Few, configured

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from aberra.volume import Volume


class BiasField:
    """Divide by the smooth field that N4 finds inside the mask (Tustison et al. 2010), through
    SimpleITK.

    Args:
        shrink: factor by which the scan is thinned out to estimate the field.
        iterations: most iterations at each resolution level.

    Raises:
        ConfigError: shrink or iterations below 1.

    Examples:
        >>> import numpy as np
        >>> from aberra import Volume
        >>> from aberra.prepare.bias_field import BiasField
        >>> grey, origin = np.ones((1, 1, 8, 8)), {"kind": "image"}
        >>> image = Volume(data=grey, affine=np.eye(4), provenance=origin)
        >>> BiasField()(image) is image  # there is no coil
        True
    """

    name = "bias-field"
    version = 1

    @configured("bias-field")
    def __init__(self, *, shrink: Few = 4, iterations: Sequence[Few] = (30, 20, 10)) -> None:
        if not iterations:
            raise ConfigError(
                "bias-field.iterations=[]: expected 1 or more numbers, one a resolution, as in [30, 20, 10]"
            )
        self.shrink = shrink
        self.iterations = list(iterations)

    def __call__(self, volume: Volume) -> Volume:
        """Return the corrected volume, every channel on its own; images are left as they are."""
        if volume.is_image:
            return volume
        parts = [self._corrected(channel, volume.judged, volume.spacing) for channel in volume.data]
        return volume.with_(data=np.stack(parts))

    def _corrected(
        self, channel: NDArray[np.float32], mask: NDArray[np.bool], spacing: tuple[float, float, float]
    ) -> NDArray[np.float32]:
        import SimpleITK as sitk

        image: Any = sitk.GetImageFromArray(channel)
        inside: Any = sitk.GetImageFromArray((mask & (channel > 0)).astype(np.uint8))
        for each in (image, inside):
            each.SetSpacing([float(step) for step in reversed(spacing)])
        factors = [min(self.shrink, max(1, length // 8)) for length in reversed(channel.shape)]
        n4 = sitk.N4BiasFieldCorrectionImageFilter()
        n4.SetMaximumNumberOfIterations(self.iterations)
        n4.SetNumberOfThreads(1)  # with several threads the sums differ in the last digit from run to run
        n4.Execute(sitk.Shrink(image, factors), sitk.Shrink(inside, factors))
        field: NDArray[np.float32] = sitk.GetArrayFromImage(sitk.Exp(n4.GetLogBiasFieldAsImage(image)))
        return (channel / np.maximum(field, 1e-3)).astype(np.float32)

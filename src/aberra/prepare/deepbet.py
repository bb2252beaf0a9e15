"""Brain extraction by deepbet's networks (Fisch et al. 2024, Computers in Biology and Medicine 179,
108845).
"""

from __future__ import annotations

import warnings
import zlib
from collections import OrderedDict
from functools import cache
from hashlib import sha256
from importlib.metadata import PackageNotFoundError, distribution
from threading import Lock
from typing import TYPE_CHECKING, Any

import numpy as np

from aberra.errors import InputError
from aberra.foreground import EVERYWHERE, largest
from aberra.prepare.brain_net import trimmed
from aberra.prepare.grid import reoriented

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from aberra.volume import Volume

COARSE, FINE = (128, 128, 128), (256, 256, 256)
"""Grids, along R, A, S, of the network that finds the head and of the one that outlines the brain
in its box."""

SPAN = 0.02
"""A plane belongs to the box where more than this share of it is brain."""

MARGIN = 0.1
"""Room around the brain on each side, share of its size."""

KEPT = 1024
"""Masks that are remembered (compressed, some 20 kB each): a scan is looked at by fingerprint,
preparation and calibration."""

ALONE = Lock()
"""One scan at a time: a pass takes about 1 GB and all of torch's threads."""

_masks: OrderedDict[str, tuple[bytes, tuple[int, ...]]] = OrderedDict()


def extract(volume: Volume, device: str = "auto", *, trim: bool = True) -> NDArray[np.bool]:
    """Find the brain in the first channel of a head, any orientation, contrast and slice thickness.

    The networks come with the package deepbet, 2.1 M weights each; nothing is fetched. As there:
    percentiles 0.5 and 99.5 clip the scan, nearest neighbours bring it onto the networks' grids,
    the largest region is kept and its holes are filled.

    Deviation: what :mod:`aberra.prepare.brain_net` does not take for brain is left out, which is
    scalp at the vertex of thick slices.

    Args:
        volume: a head.
        device: ``auto``, ``cpu`` or ``cuda``.
        trim: leave out what deepbet alone would take for brain.

    Returns:
        Mask of shape (D, H, W), the contents of the skull; empty where there is no brain to be
        seen.

    Raises:
        InputError: deepbet is not installed.
        ConfigError: the device is not there.
    """
    from nibabel.orientations import aff2axcodes

    from aberra.devices import choose_device

    turned, affine = reoriented(volume.data[0], volume.affine, "RAS")
    data = np.ascontiguousarray(turned)
    place = str(choose_device(device))
    with ALONE:
        key = sha256(data.data).hexdigest() + repr(
            (data.shape, affine[:3, :3].round(4).tolist(), place, trim)
        )
        if key not in _masks:
            found = _extract(data, place)
            if trim and found.any():
                found = _filled(largest(trimmed(data, affine, found, place), EVERYWHERE))
            _masks[key] = zlib.compress(np.packbits(found).tobytes(), 1), found.shape
            while len(_masks) > KEPT:
                _masks.popitem(last=False)
        bits, shape = _masks[key]
    flat = np.unpackbits(np.frombuffer(zlib.decompress(bits), dtype=np.uint8), count=int(np.prod(shape)))
    mask, _ = reoriented(flat.reshape(shape).astype(bool), affine, "".join(aff2axcodes(volume.affine)))
    return np.ascontiguousarray(mask)


def _extract(data: NDArray[np.float32], device: str) -> NDArray[np.bool]:
    """Mask of a scan along R, A, S."""
    import torch
    from torch.nn.functional import interpolate

    mask = np.zeros(data.shape, dtype=bool)
    scan = torch.from_numpy(data).to(device)[None, None]
    with torch.inference_mode():
        small = interpolate(scan, COARSE, mode="nearest-exact")
        low, high = (float(small.quantile(level)) for level in (0.005, 0.995))
        if not high > low:
            return mask
        rough = _network("bbox_model.pt", device)(_normalised(small, low, high))[0, 1] > 0.5
        box = _box(largest(rough.cpu().numpy(), EVERYWHERE), data.shape)
        if box is None:
            return mask
        part = scan[0, 0][box][None, None]
        inside = _network("model.pt", device)(
            _normalised(interpolate(part, FINE, mode="nearest-exact"), low, high)
        )[:, 1:]
        found = interpolate(inside, part.shape[2:], mode="nearest-exact")[0, 0] > 0.5
    mask[box] = _filled(largest(found.cpu().numpy(), EVERYWHERE))
    return mask


@cache
def _network(name: str, device: str) -> Any:
    """One of deepbet's two networks: (B, 1, S) to probabilities (B, 2, S)."""
    import torch

    try:
        weights = distribution("deepbet").locate_file(f"data/models/{name}")
    except PackageNotFoundError as error:
        raise InputError(
            "brain extraction needs the package deepbet; pip install deepbet, or give a mask in the manifest's column 'mask'"
        ) from error
    with warnings.catch_warnings():
        # deepbet ships TorchScript, which torch reads but advises against
        warnings.filterwarnings("ignore", category=DeprecationWarning, message=".*torch.jit.*")
        return torch.jit.load(str(weights), map_location=device).eval()  # type: ignore[no-untyped-call]


def _normalised(x: Any, low: float, high: float) -> Any:
    """As deepbet was trained: clipped to [low, high], mean .449 and standard deviation .226."""
    x = ((x - low) / (high - low)).clamp(0, 1)
    return 0.226 * (x - x.mean()) / x.std() + 0.449


def _box(found: NDArray[np.bool], shape: tuple[int, ...]) -> tuple[slice, ...] | None:
    """Box of the brain with its margin, on a grid of ``shape``; None without a brain."""
    box = []
    for axis, length in enumerate(shape):
        share = found.mean(axis=tuple(other for other in range(3) if other != axis))
        hit = np.flatnonzero(share > SPAN)
        if not hit.size:
            return None
        scale = length / found.shape[axis]
        first, last = int(hit[0]), int(hit[-1]) + 1
        centre, edge = round(scale * (first + last) / 2), round(scale * (last - first) * (1 + 2 * MARGIN))
        box.append(slice(max(0, int(centre - edge / 2)), min(length, int(centre + edge / 2))))
    return tuple(box)


def _filled(found: NDArray[np.bool]) -> NDArray[np.bool]:
    """Without holes: what no path through the background joins to the border."""
    from scipy.ndimage import label

    labels, count = label(~np.pad(found, 1))
    return np.asarray((labels != labels[0, 0, 0])[1:-1, 1:-1, 1:-1]) if count > 1 else found

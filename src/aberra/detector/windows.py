"""Runs a function of batches over a whole volume: slices for 2-D models, overlap-blended windows
for 3-D.
"""

from __future__ import annotations

from contextlib import contextmanager
from itertools import product
from math import prod
from typing import TYPE_CHECKING

import torch
import torch.nn.functional as F

from aberra.devices import choose_device, takes_bf16
from aberra.errors import ConfigError

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence

    from torch import Tensor, nn

CPU_BATCH = {2: 16, 3: 2}
CUDA_BATCH = {2: 128, 3: 8}
"""Batch sizes chosen by dimension; out of memory halves them."""


LARGEST = 4_000_000
"""Voxels of a window that has grown; a whole brain at 1.5 mm has 1.2 million."""

MARGIN = 4
"""Voxels kept around the foreground in a window that has grown."""


class Runner:
    """Maps a function of batches ``(B, C, S)`` over a volume ``(C, D, H, W)``.

    A 2-D model sees windows of one slice. Where the volume is larger than the window, windows
    overlap and are blended with a raised-cosine weight; where it is smaller, it is padded with
    zeros. Windows without foreground are skipped and give zero.

    Args:
        dims: 2 or 3.
        size: the window S.
        batch_size: windows at once; None chooses by device.
        device: ``auto``, ``cpu`` or ``cuda``.
        overlap: share of a window that neighbours share.
        grows: where it is not 0, a 3-D window grows to the whole foreground, in multiples of so
            many voxels, as long as that has at most :data:`LARGEST` voxels: one pass of a
            convolutional network instead of many that overlap.

    Raises:
        ConfigError: a batch size below 1 or a device that is not there.

    Examples:
        >>> import torch
        >>> from aberra.detector.windows import Runner
        >>> run = Runner(dims=2, size=(8, 8), device="cpu")
        >>> x, mask = torch.rand(1, 3, 12, 12), torch.ones(3, 12, 12, dtype=torch.bool)
        >>> torch.allclose(run(lambda batch: 2 * batch, x, mask), 2 * x)  # seams are blended
        True
    """

    def __init__(
        self,
        *,
        dims: int,
        size: Sequence[int],
        batch_size: int | None = None,
        device: str = "auto",
        overlap: float = 0.5,
        grows: int = 0,
    ) -> None:
        self.dims = dims
        self.size = tuple(size)
        self.device = choose_device(device)
        cuda = self.device.type == "cuda"
        if batch_size is not None and batch_size < 1:
            raise ConfigError(f"batch size {batch_size}; expected 1 or more")
        self.batch_size = batch_size or (CUDA_BATCH if cuda else CPU_BATCH)[dims]
        self.overlap = overlap
        self.grows = grows
        self.window = (1, *self.size) if dims == 2 else self.size
        self._watch: Callable[[int, int], None] | None = None
        self.format = torch.channels_last if dims == 2 else torch.contiguous_format

    def place(self, model: nn.Module) -> nn.Module:
        """Move a model to the device, in the memory format that is fast there."""
        model = model.to(self.device)
        # 46 instead of 38 training images/s for the U-Net at 128² on two CPU cores
        return model.to(memory_format=self.format) if self.dims == 2 else model  # type: ignore[call-overload]

    @contextmanager
    def watched(self, watch: Callable[[int, int], None]) -> Iterator[None]:
        """Tell ``watch(done, total)`` of the windows of a volume as they are done."""
        self._watch = watch
        try:
            yield
        finally:
            self._watch = None

    def __call__(
        self,
        function: Callable[..., Tensor],
        x: Tensor,
        mask: Tensor,
        *,
        also: Sequence[Tensor] = (),
        grad: bool = False,
    ) -> Tensor:
        """Apply ``function`` everywhere.

        Args:
            function: maps (B, C, S), and (B, Cᵢ, S) of each of ``also``, to (B, K, S).
            x: shape (C, D, H, W).
            mask: foreground, shape (D, H, W), bool.
            also: further volumes on the same grid, (Cᵢ, D, H, W) each.
            grad: keep autograd on inside ``function`` (gradient scores).

        Returns:
            Shape (K, D, H, W) on the CPU, zero where no window with foreground reaches.
        """
        function = _parted(function, x, also)
        x = torch.cat([x, *also])
        if self.grows and self.dims == 3 and bool(mask.any()):
            box, shape = self._grown(mask)
            if prod(shape) <= LARGEST:
                return self._whole(function, x, box, shape, grad=grad)
        padded, corners, starts, before = self._layout(x, mask)
        weight = self._weight([len(each) > 1 for each in starts])
        total: Tensor | None = None
        weights = torch.zeros(padded.shape[1:])
        for batch, values in self._batches(function, padded, corners, grad=grad):
            if total is None:
                total = torch.zeros((values.shape[1], *padded.shape[1:]))
            for corner, value in zip(batch, values, strict=True):
                box = self._box(corner)
                total[(slice(None), *box)] += value.reshape(-1, *self.window) * weight
                weights[box] += weight
        if total is None:  # nothing to ask; only the function knows how many channels its answer would have
            empty = torch.zeros((1, len(x), *self.size), device=self.device)
            return torch.zeros((self._apply(function, empty, grad=grad).shape[1], *x.shape[1:]))
        total /= weights.clamp(min=1e-12)
        inner = tuple(slice(low, low + length) for low, length in zip(before, x.shape[1:], strict=True))
        return total[(slice(None), *inner)]

    def windows(
        self, x: Tensor, mask: Tensor, *, also: Sequence[Tensor] = ()
    ) -> Iterator[tuple[Tensor, ...]]:
        """Yield the slices or windows with foreground as :meth:`__call__` lays them out, in batches
        on the CPU.

        Args:
            x: shape (C, D, H, W).
            mask: foreground, shape (D, H, W), bool.
            also: further volumes on the same grid.

        Yields:
            (B, C, S), and (B, Cᵢ, S) of each of ``also``.
        """
        padded, corners, _, _ = self._layout(torch.cat([x, *also]), mask)
        widths = [len(each) for each in (x, *also)]
        for first in range(0, len(corners), self.batch_size):
            yield torch.split(self._cut(padded, corners[first : first + self.batch_size]), widths, dim=1)

    def _layout(
        self, x: Tensor, mask: Tensor
    ) -> tuple[Tensor, list[tuple[int, ...]], list[list[int]], list[int]]:
        """The volume padded to at least a window, corners of windows with foreground, all starts an
        axis, and what was padded before.
        """
        pads = [max(0, window - length) for window, length in zip(self.window, x.shape[1:], strict=True)]
        before = [pad // 2 for pad in pads]
        padding = [
            part
            for pad, low in zip(reversed(pads), reversed(before), strict=True)
            for part in (low, pad - low)
        ]
        padded, inside = F.pad(x, padding), F.pad(mask, padding)
        starts = [
            _starts(length, window, self.overlap)
            for length, window in zip(padded.shape[1:], self.window, strict=True)
        ]
        corners = [corner for corner in product(*starts) if bool(inside[self._box(corner)].any())]
        return padded, corners, starts, before

    def _cut(self, padded: Tensor, corners: Sequence[tuple[int, ...]]) -> Tensor:
        """Windows of a padded volume (C, D, H, W), (B, C, S)."""
        return torch.stack(
            [padded[(slice(None), *self._box(corner))].reshape(-1, *self.size) for corner in corners]
        )

    def _grown(self, mask: Tensor) -> tuple[tuple[slice, ...], tuple[int, ...]]:
        """The foreground's box, with a margin where there is room, and the shape of the window that
        holds it.
        """
        box, shape = [], []
        for axis, length in enumerate(mask.shape):
            others = [other for other in range(3) if other != axis]
            there = torch.nonzero(mask.any(dim=others[1]).any(dim=others[0])).flatten()
            low, high = max(0, int(there[0]) - MARGIN), min(length, int(there[-1]) + 1 + MARGIN)
            box.append(slice(low, high))
            shape.append(-(-(high - low) // self.grows) * self.grows)
        return tuple(box), tuple(shape)

    def _whole(
        self,
        function: Callable[[Tensor], Tensor],
        x: Tensor,
        box: tuple[slice, ...],
        shape: tuple[int, ...],
        *,
        grad: bool,
    ) -> Tensor:
        """One pass over a box, padded with zeros at its upper ends."""
        part = x[(slice(None), *box)]
        lengths = part.shape[1:]
        padding = [
            each
            for edge, length in zip(reversed(shape), reversed(lengths), strict=True)
            for each in (0, edge - length)
        ]
        values = self._apply(function, F.pad(part, padding)[None].to(self.device), grad=grad)[0]
        total = torch.zeros((len(values), *x.shape[1:]))
        total[(slice(None), *box)] = values[(slice(None), *(slice(0, length) for length in lengths))]
        if self._watch is not None:
            self._watch(1, 1)
        return total

    def _batches(
        self,
        function: Callable[[Tensor], Tensor],
        padded: Tensor,
        corners: list[tuple[int, ...]],
        *,
        grad: bool,
    ) -> Iterator[tuple[list[tuple[int, ...]], Tensor]]:
        """Yield corners and values; halves the batch when CUDA runs out of memory."""
        done = 0
        while done < len(corners):
            batch = corners[done : done + self.batch_size]
            try:
                values = self._apply(function, self._cut(padded, batch).to(self.device), grad=grad)
            except torch.cuda.OutOfMemoryError as error:
                if self.batch_size == 1:
                    raise ConfigError(
                        f"one window of {self.size} does not fit on {self.device}; use --device cpu"
                    ) from error
                self.batch_size //= 2
                from aberra.console import screen

                screen(stderr=True).print(f"CUDA out of memory: batch size is now {self.batch_size}")
                continue
            yield batch, values
            done += len(batch)
            if self._watch is not None:
                self._watch(done, len(corners))

    def _apply(self, function: Callable[[Tensor], Tensor], x: Tensor, *, grad: bool) -> Tensor:
        if self.dims == 2:
            x = x.contiguous(memory_format=torch.channels_last)
        # gradients stay in float32: bf16 leaves two to three digits, too few for a difference
        # of losses
        autocast = torch.autocast("cuda", torch.bfloat16, enabled=takes_bf16(self.device) and not grad)
        with torch.set_grad_enabled(grad), torch.inference_mode(not grad), autocast:
            return function(x).detach().float().cpu()

    def _box(self, corner: tuple[int, ...]) -> tuple[slice, ...]:
        return tuple(slice(low, low + edge) for low, edge in zip(corner, self.window, strict=True))

    def _weight(self, blended: list[bool]) -> Tensor:
        """Raised cosine along axes with several windows, one along the others; never zero."""
        weight = torch.ones(self.window)
        for axis, (edge, several) in enumerate(zip(self.window, blended, strict=True)):
            if several and edge > 1:
                ramp = torch.hann_window(edge + 2, periodic=False)[1:-1]
                weight *= ramp.reshape([-1 if other == axis else 1 for other in range(3)])
        return weight


def _parted(function: Callable[..., Tensor], x: Tensor, also: Sequence[Tensor]) -> Callable[[Tensor], Tensor]:
    """A function of several volumes as one of their channels."""
    if not also:
        return function
    widths = [len(each) for each in (x, *also)]
    return lambda batch: function(*torch.split(batch, widths, dim=1))


def _starts(length: int, window: int, overlap: float) -> list[int]:
    """First indices of windows that cover ``length``, evenly spread, overlapping at least by the
    share asked for.
    """
    if window == 1:
        return list(range(length))
    if length <= window:
        return [0]
    step = max(1, int(window * (1 - overlap)))
    count = -(-(length - window) // step) + 1
    return [round(index * (length - window) / (count - 1)) for index in range(count)]

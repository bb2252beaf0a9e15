"""What this machine's GPU does: a test of ten minutes, and a table.

    python benchmarks/gpu.py --out benchmarks/results/gpu.csv     # on a GPU
    python benchmarks/gpu.py --tiny                               # on anything: does the script run?

It asks for, a row each:

- ``train``: images a second of a training step (loss in the GPU's precision, gradient, optimiser), of
  slices, of patches of the 3-D segmenter, and of a diffusion model, by batch, with and without
  ``torch.compile``; the volumes are there already, so nothing of it is drawing. Medians of
  ``--rounds`` steps after three that warm up (and compile).
- ``detect``: windows a second of the Runner that every score uses.
- ``diffusion``: calls of the denoiser a second, times images.
- ``halving``: the batch that is left of one that does not fit: memory is limited to ``--memory`` MiB
  for it.
- ``bf16``: largest difference between the reconstruction on the GPU and the CPU's in 32 bit, as a
  share of the latter's range.
"""

from __future__ import annotations

import argparse
import statistics
from datetime import UTC, datetime
from pathlib import Path
from time import perf_counter
from typing import TYPE_CHECKING, Any, NamedTuple

import torch
from table import save, show

from aberra.batch import Batch
from aberra.benchmark.machine import commit, machine, peak_memory
from aberra.capabilities import LearnsFromLesions, LearnsFromPlanted
from aberra.detector.windows import Runner
from aberra.devices import choose_device, takes_bf16
from aberra.method import Method
from aberra.registry import build
from aberra.training import hardware

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from torch import nn

WARM = 3
"""Calls before those that count."""
TIMESTEP = 100
"""Of the diffusion, whose speed is the same at all."""
COLUMNS = ("images_per_second", "step_ms", "peak_mb", "batch_left", "difference")


class Asked(NamedTuple):
    """A network to measure.

    Attributes:
        method: of the catalogue.
        size: of a slice or patch.
        channels: of the images; maps of an atlas count.
        batches: images at once.
    """

    method: str
    size: tuple[int, ...]
    channels: int
    batches: Sequence[int]


SLICES = Asked("dae", (128, 128), 1, (16, 64))
PATCHES = Asked("synthetic-lesions-atlas", (80, 96, 80), 4, (1, 4, 8))
NOISE = Asked("anoddpm", (96, 96), 1, (16,))
TINY = (Asked("dae", (16, 16), 1, (2,)), Asked("synthetic-lesions", (16, 16, 16), 1, (1,)), Asked("anoddpm", (16, 16), 1, (2,)))  # fmt: skip


def network(asked: Asked, *, tiny: bool) -> nn.Module:
    """The method's model, on the CPU; of ``tiny`` as tests have it."""
    method = Method.load(asked.method)
    torch.manual_seed(0)
    scans = 1 if asked is PATCHES else asked.channels  # the atlas' maps are the model's own business
    return build(
        "models", (method.at_test_size() if tiny else method).model, channels=scans, dims=len(asked.size), size=asked.size
    )  # fmt: skip


def seconds_of(call: Callable[[], object], device: torch.device, rounds: int) -> float:
    """Median seconds of a call once it is warm."""
    taken = []
    for _ in range(WARM + rounds):
        started = perf_counter()
        call()
        if device.type == "cuda":
            torch.cuda.synchronize(device)
        taken.append(perf_counter() - started)
    return statistics.median(taken[WARM:])


def in_precision(device: torch.device) -> torch.autocast:
    """As training and use choose it."""
    return torch.autocast(device.type, torch.bfloat16, enabled=takes_bf16(device))


def train(
    asked: Asked, batch: int, device: torch.device, *, compiled: bool, rounds: int, tiny: bool
) -> float:
    """Seconds of a training step."""
    model = hardware.place(network(asked, tiny=tiny), device, len(asked.size)).train()
    if compiled:
        hardware.compile_networks(model)
    optimizer = torch.optim.AdamW(model.parameters(), lr=1e-4)
    x = torch.rand(batch, asked.channels, *asked.size, device=device)
    truth = (torch.rand(batch, 1, *asked.size, device=device) > 0.98).float()
    lesion = truth if isinstance(model, LearnsFromLesions | LearnsFromPlanted) else None
    samples = Batch(x, torch.ones_like(truth), torch.Generator(device).manual_seed(0), lesion)

    def step() -> None:
        with in_precision(device):
            loss = model.loss(samples)["loss"]
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()

    return seconds_of(step, device, rounds)


def runner(asked: Asked, device: torch.device, batch: int) -> Runner:
    """As a detector has one."""
    return Runner(dims=len(asked.size), size=asked.size, device=str(device), batch_size=batch)


def volume(asked: Asked, windows: int) -> tuple[torch.Tensor, torch.Tensor]:
    """A scan of so many slices, and its foreground."""
    x = torch.rand(asked.channels, windows, *asked.size, generator=torch.Generator().manual_seed(0))
    return x, torch.ones(x.shape[1:], dtype=torch.bool)


def detect(asked: Asked, batch: int, device: torch.device, *, rounds: int, tiny: bool) -> float:
    """Seconds of a batch of slices in the Runner."""
    run = runner(asked, device, batch)
    model = run.place(network(asked, tiny=tiny)).eval()
    x, mask = volume(asked, 4 * batch)
    return seconds_of(lambda: run(model.reconstruct, x, mask), device, rounds) / 4


def diffusion(asked: Asked, batch: int, device: torch.device, *, rounds: int, tiny: bool) -> float:
    """Seconds of a call of the denoiser."""
    model = hardware.place(network(asked, tiny=tiny), device, len(asked.size)).eval()
    x = torch.rand(batch, asked.channels, *asked.size, device=device)
    with torch.inference_mode(), in_precision(device):
        return seconds_of(lambda: model.denoise(x, min(TIMESTEP, model.process().steps)), device, rounds)


def halving(asked: Asked, device: torch.device, memory: int, *, tiny: bool) -> int:
    """The batch that is left of 4,096 slices (8 of ``tiny``) where there is little memory."""
    batch = 8 if tiny else 4096
    run = runner(asked, device, batch)
    model = run.place(network(asked, tiny=tiny)).eval()
    x, mask = volume(asked, batch)
    if device.type == "cuda":
        whole = torch.cuda.get_device_properties(device).total_memory
        torch.cuda.empty_cache()
        torch.cuda.set_per_process_memory_fraction(memory * 2**20 / whole, device)
    try:
        run(model.reconstruct, x, mask)
    finally:
        if device.type == "cuda":
            torch.cuda.set_per_process_memory_fraction(1.0, device)
    return run.batch_size


def agreement(asked: Asked, device: torch.device, *, tiny: bool) -> float:
    """Largest difference of a reconstruction from the CPU's, as a share of its range."""
    x, mask = volume(asked, 4)
    found = []
    for each in (torch.device("cpu"), device):
        run = runner(asked, each, 4)
        found.append(run(run.place(network(asked, tiny=tiny)).eval().reconstruct, x, mask))
    reference, other = found
    return float((other - reference).abs().max() / (reference.max() - reference.min()))


def main() -> None:
    """Read the command line, measure, print and write the table."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--rounds", type=int, default=10)
    parser.add_argument("--memory", type=int, default=2048, help="MiB, of the row halving")
    parser.add_argument("--device", default="auto")
    parser.add_argument("--tiny", action="store_true", help="networks and images of tests, one round")
    parser.add_argument("--out", type=Path, help="CSV")
    options = parser.parse_args()
    device, tiny = choose_device(options.device), options.tiny
    slices, patches, noise = TINY if tiny else (SLICES, PATCHES, NOISE)
    common: dict[str, Any] = {"rounds": 1 if tiny else options.rounds, "tiny": tiny}
    rows: list[dict[str, Any]] = []

    def add(
        what: str, asked: Asked, batch: int, peak: float | None, *, compiled: bool = False, **found: object
    ) -> None:
        rows.append({
            "what": what, "model": asked.method, "batch": batch, "compiled": int(compiled),
            **{name: found.get(name, "") for name in COLUMNS}, "peak_mb": peak or "",
            "bf16": int(takes_bf16(device)), "machine": machine(), "commit": commit(), "date": datetime.now(UTC).date().isoformat(),
        })  # fmt: skip
        show({key: value for key, value in rows[-1].items() if value != ""})

    def timed(what: str, asked: Asked, batch: int, measure: Callable[..., float], **more: bool) -> None:
        with peak_memory() as peak:
            seconds = measure(asked, batch, device, **common, **more)
        speed = {"images_per_second": round(batch / seconds, 1), "step_ms": round(1e3 * seconds, 1)}
        add(what, asked, batch, peak.mb, **speed, **more)

    for asked in (slices, patches, noise):
        for compiled in (False,) if device.type == "cpu" else (False, True):
            for batch in asked.batches:
                timed("train", asked, batch, train, compiled=compiled)
    for batch in slices.batches:
        timed("detect", slices, batch, detect)
    for batch in noise.batches:
        timed("diffusion", noise, batch, diffusion)
    add(
        "halving",
        slices,
        8 if tiny else 4096,
        None,
        batch_left=halving(slices, device, options.memory, tiny=tiny),
    )
    add("bf16", slices, 4, None, difference=f"{agreement(slices, device, tiny=tiny):.2g}")
    save(rows, options.out)


if __name__ == "__main__":
    main()

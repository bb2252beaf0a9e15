"""Training and inference speed of aberra against a plain PyTorch loop of the same network, in one
run, alternating.

python benchmarks/speed.py --rounds 5 --steps 20 --out benchmarks/results/speed.csv

In ``training on planted lesions`` the plain loop draws its batches itself, one after the other, so
that the ratio is what drawing ahead saves.
"""

from __future__ import annotations

import argparse
import statistics
import tempfile
from datetime import UTC, datetime
from pathlib import Path
from time import perf_counter
from typing import TYPE_CHECKING

import numpy as np
import torch
from table import save, show

from aberra.batch import Batch
from aberra.benchmark.machine import commit, machine
from aberra.detector.windows import Runner
from aberra.devices import choose_device
from aberra.registry import build
from aberra.synthesis.planted import Planted
from aberra.training import Sampler, TrainingConfig, train
from aberra.volume import Volume

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from aberra.training.sampling import Draws

SIZE, DEPTH, BATCH = 128, 155, 16
MODELS = ("ae", "vae", "dae")
PLANTED = "anomaly-segmenter"


def volumes(count: int = 4) -> list[Volume]:
    """Prepared volumes of noise: speed does not depend on what is in them."""
    rng = np.random.default_rng(0)
    mask = np.zeros((DEPTH, SIZE, SIZE), dtype=bool)
    mask[:, 16:112, 16:112] = True
    return [
        Volume(data=rng.random((1, DEPTH, SIZE, SIZE), dtype=np.float32) * mask, affine=np.eye(4), mask=mask)
        for _ in range(count)
    ]


def network(name: str, device: torch.device) -> torch.nn.Module:
    """The catalogue's model at 128², one channel, in the memory format that aberra chooses."""
    torch.manual_seed(0)
    options = {"network": {"width": 16}} if name == "dae" else {}
    model: torch.nn.Module = build("models", {"name": name, **options}, channels=1, dims=2, size=(SIZE, SIZE))
    return model.to(device).to(memory_format=torch.channels_last)  # type: ignore[call-overload]


def plain_training(
    name: str, draw: Callable[[int], tuple[torch.Tensor, ...]], steps: int, device: torch.device
) -> float:
    """Images a second of the shortest loop that trains the network."""
    model = network(name, device).train()
    optimizer = torch.optim.Adam(model.parameters(), lr=1e-4)
    generator = torch.Generator(device).manual_seed(0)
    bf16 = torch.autocast("cuda", torch.bfloat16, enabled=device.type == "cuda")
    started = perf_counter()
    for step in range(steps):
        x, mask, *truth = (part.to(device) for part in draw(step))
        x = x.contiguous(memory_format=torch.channels_last)
        with bf16:
            loss = model.loss(Batch(x, mask, generator, *truth, step=step))["loss"]
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
    if device.type == "cuda":
        torch.cuda.synchronize()
    return steps * BATCH / (perf_counter() - started)


def aberra_training(name: str, data: Sequence[Volume] | Draws, steps: int, device: torch.device) -> float:
    """Images a second of aberra's loop with its sampling, checks, logging and checkpoints."""
    with tempfile.TemporaryDirectory() as folder:
        summary = train(
            network(name, device), data, TrainingConfig(steps=steps, batch_size=BATCH), Path(folder),
            dims=2, size=(SIZE, SIZE), device=device.type,
        )  # fmt: skip
    return float(summary["images_per_second"])


def plain_inference(model: torch.nn.Module, volume: Volume, run: Runner) -> float:
    """Slices a second of the shortest loop that reconstructs a volume."""
    x = torch.from_numpy(volume.data[0])[:, None]
    started = perf_counter()
    with torch.inference_mode(), torch.autocast("cuda", torch.bfloat16, enabled=run.device.type == "cuda"):
        parts = [
            model.reconstruct(part.to(run.device).contiguous(memory_format=torch.channels_last)).float().cpu()
            for part in x.split(run.batch_size)
        ]
    torch.cat(parts)
    return DEPTH / (perf_counter() - started)


def aberra_inference(model: torch.nn.Module, volume: Volume, run: Runner) -> float:
    """Slices a second of the Runner that every score uses."""
    started = perf_counter()
    run(model.reconstruct, torch.from_numpy(volume.data), torch.from_numpy(volume.mask))
    return DEPTH / (perf_counter() - started)


def main() -> None:
    """Measure and print medians and their ratio."""
    options = argparse.ArgumentParser(description=__doc__)
    options.add_argument("--rounds", type=int, default=5)
    options.add_argument("--steps", type=int, default=20)
    options.add_argument("--models", nargs="*", default=(*MODELS, PLANTED))
    options.add_argument("--tasks", nargs="*", default=("training", "inference"))
    options.add_argument("--threads", type=int, help="of the network; default torch's")
    options.add_argument("--out", type=Path)
    given = options.parse_args()
    if given.threads:
        torch.set_num_threads(given.threads)
    device = choose_device()
    data = volumes()
    slices = torch.from_numpy(np.concatenate([each.data[0] for each in data]))[:, None]
    masks = torch.from_numpy(np.concatenate([each.mask for each in data]))[:, None].float()
    planted = Planted(Sampler(data, TrainingConfig(), dims=2, size=(SIZE, SIZE)), spacing=(1.0, 1.0))

    def picked(_: int) -> tuple[torch.Tensor, ...]:
        picks = torch.randint(len(slices), (BATCH,))
        return slices[picks], masks[picks]

    rows = []
    for name in given.models:
        run = Runner(dims=2, size=(SIZE, SIZE), device=device.type)
        model = run.place(network(name, device)).eval()
        if name == PLANTED:
            tasks = {
                "training on planted lesions": (
                    lambda: plain_training(
                        PLANTED, lambda step: planted.draw([0, step, 0], BATCH), given.steps, device
                    ),
                    lambda: aberra_training(PLANTED, planted, given.steps, device),
                )
            }
        else:
            tasks = {
                "training": (
                    lambda name=name: plain_training(name, picked, given.steps, device),
                    lambda name=name: aberra_training(name, data, given.steps, device),
                ),
                "inference": (
                    lambda model=model, run=run: plain_inference(model, data[0], run),
                    lambda model=model, run=run: aberra_inference(model, data[0], run),
                ),
            }
        for task, (plain, ours) in tasks.items():
            if task.split()[0] not in given.tasks:
                continue
            plain(), ours()  # warm up
            pairs = [(plain(), ours()) for _ in range(given.rounds)]
            ratio = statistics.median(b / a for a, b in pairs)
            rows.append(
                {
                    "model": name,
                    "task": task,
                    "plain_images_per_second": round(statistics.median(a for a, _ in pairs), 1),
                    "aberra_images_per_second": round(statistics.median(b for _, b in pairs), 1),
                    "ratio": round(ratio, 3),
                    "rounds": given.rounds,
                    "threads": torch.get_num_threads(),
                    "machine": machine(),
                    "commit": commit(),
                    "date": f"{datetime.now(UTC):%Y-%m-%d}",
                }
            )
            show(rows[-1])
    save(rows, given.out)


if __name__ == "__main__":
    main()

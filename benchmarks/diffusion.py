"""What guided diffusion costs and gives: network calls, seconds and AP of every sampler and number
of steps, against the thesis' chain.

python benchmarks/diffusion.py DETECTOR MANIFEST --out DIR [--split test] [--slices 32]

DETECTOR was fitted as ddim-guided. The slices, half with and half without lesions, come from the
manifest's cases; the same weights answer every row. Writes calls.csv, round_trip.csv, guides.csv,
position.csv, sweep.csv and the figures strip.png, healthy.png, sweep.png. AP is pooled over the
foreground of the slices; nothing is chosen by it. Calls are counted where the networks are called:
calls.csv holds every row at the thesis' L = T / 2, whose chain of every step is 500 up and 500
down.
"""

from __future__ import annotations

import argparse
from contextlib import contextmanager
from itertools import product
from pathlib import Path
from time import perf_counter
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np
import torch
from sklearn.metrics import average_precision_score, roc_auc_score
from table import save
from torch import Tensor

from aberra.benchmark.machine import commit, machine
from aberra.cohort import Cohort
from aberra.detector import Detector
from aberra.files import atomic_path
from aberra.restore.guided import Guided

if TYPE_CHECKING:
    from collections.abc import Iterator

EVEN = {
    "sampler": "ddim",
    "encode_steps": 0,
    "encoder": "",
    "power": 1.0,
    "guide_steps": 1,
    "reference": "scan",
}
"""Options of the thesis' chains."""
SETTINGS: list[dict[str, Any]] = [
    *({"steps": steps} for steps in (500, 100, 50, 25, 10, 5)),
    *({"steps": steps, "reference": "round-trip"} for steps in (33, 16, 8)),
    *({"steps": steps, "encode_steps": up, "encoder": "dpm-solver"} for up, steps in ((10, 40), (16, 34))),
    {"steps": 25, "power": 1.5},
    {"steps": 34, "encode_steps": 16, "encoder": "dpm-solver", "power": 1.5},
    *(
        {"steps": steps, "encode_steps": up, "encoder": "dpm-solver", "power": 1.5, "guide_steps": 3}
        for up, steps in ((16, 34), (10, 20), (7, 13))
    ),
    {
        "steps": 17,
        "encode_steps": 16,
        "encoder": "dpm-solver",
        "power": 1.5,
        "guide_steps": 3,
        "reference": "round-trip",
    },
    *({"sampler": "dpm-solver", "steps": steps} for steps in (25, 10, 5)),
    *({"sampler": "coupled", "steps": steps} for steps in (12, 6)),
    *({"sampler": "ddpm", "steps": steps} for steps in (500, 50)),
    {"sampler": "ddpm", "steps": 25, "reference": "round-trip"},
]
"""What each row changes of ``EVEN``; the first is the thesis' own setting."""


class Answer(NamedTuple):
    """What slices are compared with, their healthy counterparts (B, C, S), and what they cost a
    slice.
    """

    reference: Tensor
    restored: Tensor
    seconds: float
    network_calls: float
    guide_calls: float


@contextmanager
def counting(module: torch.nn.Module) -> Iterator[list[int]]:
    """Number of samples that each call of a network was given, while the context lasts."""
    seen: list[int] = []
    handle = module.register_forward_hook(lambda _, given, __: seen.append(len(given[0])))
    try:
        yield seen
    finally:
        handle.remove()


class Slices:
    """Prepared test slices: ``x`` (B, C, S), ``mask`` and ``lesion`` (B, 1, S), ``place`` (B,)
    relative position along the scan.
    """

    def __init__(self, detector: Detector, cohort: Cohort, count: int) -> None:
        parts: list[tuple[Tensor, ...]] = []
        for case in cohort:
            volume = detector.recipe(detector.read(case))
            mask = np.ones(volume.shape, bool) if volume.mask is None else np.asarray(volume.mask)
            lesion = np.zeros(volume.shape, bool) if volume.lesion is None else np.asarray(volume.lesion)
            good = np.flatnonzero(mask.mean(axis=(1, 2)) >= 0.5 * mask.mean(axis=(1, 2)).max())
            window = [
                slice(max(0, (n - e) // 2), max(0, (n - e) // 2) + e)
                for n, e in zip(volume.shape[1:], detector.size, strict=True)
            ]
            chosen = (slice(None), *window)
            span = np.flatnonzero(mask.any(axis=(1, 2)))
            parts.append(
                (
                    torch.tensor(np.asarray(volume.data))[:, good].transpose(0, 1)[(slice(None), *chosen)],
                    torch.tensor(mask[good])[chosen][:, None].float(),
                    torch.tensor(lesion[good])[chosen][:, None].float(),
                    torch.tensor((good - span[0]) / max(1, span[-1] - span[0])),
                )
            )
        self.x, self.mask, self.lesion, self.place = (torch.cat(each) for each in zip(*parts, strict=True))
        self.sick = self.lesion.flatten(1).amax(dim=1) > 0
        self.all = (self.x, self.mask, self.lesion, self.place)
        half = [
            where[torch.linspace(0, len(where) - 1, min(count // 2, len(where))).long()]
            for where in (torch.where(self.sick)[0], torch.where(~self.sick)[0])
        ]
        self.picked = torch.cat(half)

    def ap(self, maps: Tensor) -> float:
        """Pooled AP of maps (B, 1, S) of the picked slices."""
        inside = self.mask[self.picked] > 0
        return float(average_precision_score(self.lesion[self.picked][inside] > 0, maps[inside]))


def answer(detector: Detector, x: Tensor, **options: Any) -> Answer:
    """Ask for the healthy counterparts of slices (B, C, S), with the detector's own batch size."""
    model: Any = detector.model
    score = Guided(**({"start": 500, "scale": 100.0} | options))
    size, device = detector.runner.batch_size, detector.runner.device
    cuda = device.type == "cuda"
    if cuda:
        score.pair(model, x[:size].to(device))  # the first call compiles and chooses kernels
        begin, end = (torch.cuda.Event(enable_timing=True) for _ in range(2))
        begin.record()
    with counting(model.net) as network, counting(model.guides["class"]) as guide:
        started = perf_counter()
        parts = [score.pair(model, part.to(device)) for part in x.split(size)]
        seconds = perf_counter() - started
    if cuda:
        end.record()
        torch.cuda.synchronize()
        seconds = begin.elapsed_time(end) / 1000
    reference, found = (torch.cat(each).float().cpu() for each in zip(*parts, strict=True))
    return Answer(reference, found, seconds / len(x), sum(network) / len(x), sum(guide) / len(x))


def calls(detector: Detector, slices: Slices, own: dict[str, Any]) -> Iterator[dict[str, Any]]:
    """A row a sampler, number of steps and reference, all at L = T / 2; the first, the thesis' own,
    is what the others are held against.
    """
    x = slices.x[slices.picked]
    own = own | {"start": detector.model.process().steps // 2}  # type: ignore[operator,union-attr]
    first: Tensor | None = None
    for changed in SETTINGS:
        options = EVEN | changed
        found = answer(detector, x, **own, **options)
        maps = (found.reference - found.restored).abs().mean(dim=1, keepdim=True) * slices.mask[slices.picked]
        first = maps if first is None else first
        inside = slices.mask[slices.picked] > 0
        yield {"start": own["start"]} | options | {
            "encode_steps": 0 if options["sampler"] == "ddpm" else options["encode_steps"] or options["steps"],
            "network_calls": found.network_calls, "guide_calls": found.guide_calls,
            "seconds_per_slice": round(found.seconds, 4), "ap": round(slices.ap(maps), 4),
            "ap_minus_reference": round(slices.ap(maps) - slices.ap(first), 4),
            "correlation": round(float(np.corrcoef(maps[inside], first[inside])[0, 1]), 4),
        }  # fmt: skip


def round_trip(detector: Detector, slices: Slices, start: int) -> Iterator[dict[str, Any]]:
    """Mean absolute error of encoding and decoding without guidance."""
    x = slices.x[slices.picked]
    for (sampler, power), steps in product(
        (("ddim", 1.0), ("ddim", 1.5), ("dpm-solver", 1.0), ("dpm-solver", 1.5), ("coupled", 1.0)),
        (5, 10, 16, 25, 50),
    ):
        found = answer(
            detector, x, start=start, sampler=sampler, steps=steps, power=power, guidance="none"
        ).restored
        yield {"sampler": sampler, "power": power, "steps": steps, "error": float((found - x).abs().mean())}


def guides(detector: Detector, slices: Slices) -> Iterator[dict[str, Any]]:
    """Accuracy, mean absolute error and Dice of the guides as a function of t."""
    x, mask, lesion, _ = slices.all
    device = detector.runner.device
    model: Any = detector.model
    for t in (1, 50, 100, 200, 300, 400, 500, 700, 1000):
        row: dict[str, Any] = {"t": t} | model.quality(x.to(device), mask.to(device), lesion.to(device), t)
        noisy = model.process().add_noise(x.to(device), model.noise(t, x.to(device)), t)
        with torch.no_grad():
            row["auroc"] = float(roc_auc_score(slices.sick, -model.log_healthy(noisy, t).cpu()))
        yield {key: round(value, 4) for key, value in row.items()}


def position(detector: Detector, slices: Slices) -> Iterator[dict[str, Any]]:
    """What the guide would reach if it saw nothing but where in the head a slice lies
    (leave-one-out, nearest neighbours).
    """
    from sklearn.model_selection import cross_val_predict
    from sklearn.neighbors import KNeighborsClassifier

    place = slices.place.reshape(-1, 1).numpy()
    told = cross_val_predict(KNeighborsClassifier(15), place, slices.sick, cv=5, method="predict_proba")[:, 1]
    model: Any = detector.model
    with torch.no_grad():
        seen = -torch.cat(
            [model.log_healthy(part.to(detector.runner.device), 1).cpu() for part in slices.x.split(64)]
        )
    for name, score in (("position alone", told), ("guide at t = 1", seen)):
        yield {"classifier": name, "auroc": round(float(roc_auc_score(slices.sick, score)), 4)}


def sweep(detector: Detector, slices: Slices, folder: Path) -> Iterator[dict[str, Any]]:
    """AP over s for several L under the detector's own steps, a strip of pictures, and what happens
    to healthy slices.
    """
    import matplotlib as mpl

    mpl.use("Agg")
    from matplotlib import pyplot as plt

    x, mask, lesion = (each[slices.picked] for each in (slices.x, slices.mask, slices.lesion))
    total = detector.model.process().steps  # type: ignore[operator,union-attr]
    starts, scales = [round(total * share) for share in (0.25, 0.5, 0.75)], [0.0, 1.0, 10.0, 100.0, 1000.0]
    sick = int(lesion.flatten(1).sum(dim=1).argmax())
    well = len(x) - 1
    rows, shown = [], {}
    chosen = ("name", "start", "scale", "reference")
    own = {key: value for key, value in detector.method.score["restore"].items() if key not in chosen}
    for start in starts:
        for scale in scales:
            reference, found, *_ = answer(
                detector, x, **own, start=start, scale=scale, reference="round-trip"
            )
            maps, pure = ((each - found).abs().mean(dim=1, keepdim=True) * mask for each in (x, reference))
            healthy = lesion.flatten(1).amax(dim=1) == 0
            per_slice = maps.flatten(1).sum(dim=1) / mask.flatten(1).sum(dim=1)
            rows.append(
                {
                    "start": start, "scale": scale, "ap": round(slices.ap(maps), 4),
                    "ap_round_trip": round(slices.ap(pure), 4),
                    "change_healthy": round(float(per_slice[healthy].mean()), 4),
                    "change_diseased": round(float(per_slice[~healthy].mean()), 4),
                }
            )  # fmt: skip
            yield rows[-1]
            shown[start, scale] = found, maps
    low, high = float(x[:, 0].min()), float(x[:, 0].quantile(0.995))
    # a scale of its own for each setting, or the strongest would leave the others black
    tops = {key: max(float(torch.quantile(maps[mask > 0], 0.995)), 1e-6) for key, (_, maps) in shown.items()}
    for name, index in (("strip", sick), ("healthy", well)):
        figure, axes = plt.subplots(
            2 * len(starts), len(scales) + 1, figsize=(1.6 * (len(scales) + 1), 3.3 * len(starts))
        )
        for row, start in enumerate(starts):
            axes[2 * row, 0].imshow(x[index, 0], cmap="gray", vmin=low, vmax=high)
            axes[2 * row + 1, 0].imshow(lesion[index, 0], cmap="gray", vmin=0, vmax=1)
            axes[2 * row, 0].set_ylabel(f"L = {start}", fontsize=9)
            axes[2 * row + 1, 0].set_ylabel("truth | maps", fontsize=8)
            for column, scale in enumerate(scales, start=1):
                found, maps = shown[start, scale]
                axes[2 * row, column].imshow(found[index, 0], cmap="gray", vmin=low, vmax=high)
                axes[2 * row + 1, column].imshow(
                    maps[index, 0], cmap="magma", vmin=0, vmax=tops[start, scale]
                )
                if row == 0:
                    axes[0, column].set_title(f"s = {scale:g}", fontsize=9)
        axes[0, 0].set_title("scan", fontsize=9)
        for axis in axes.flat:
            axis.set_xticks([])
            axis.set_yticks([])
        figure.tight_layout(pad=0.4)
        with atomic_path(folder / f"{name}.png") as temporary:
            figure.savefig(temporary, dpi=110, format="png")
        plt.close(figure)
    figure = curves(rows, prevalence=float(lesion[mask > 0].mean()))
    with atomic_path(folder / "sweep.png") as temporary:
        figure.savefig(temporary, dpi=130, format="png")
    plt.close(figure)


def curves(rows: list[dict[str, Any]], *, prevalence: float) -> Any:
    """AP over s, a line a start step."""
    from matplotlib import pyplot as plt

    figure, axis = plt.subplots(figsize=(6.4, 3.4))
    for start in dict.fromkeys(row["start"] for row in rows):
        mine = [row for row in rows if row["start"] == start]
        where = [max(row["scale"], 0.1) for row in mine]
        (line,) = axis.plot(where, [row["ap"] for row in mine], marker="o", label=f"L = {start}")
        # without guidance there is nothing to see against the round trip
        pure = [row["ap_round_trip"] for row in mine[1:]]
        axis.plot(where[1:], pure, marker="s", linestyle="--", color=line.get_color())
    axis.plot([], [], color="0.3", marker="s", linestyle="--", label="against the round trip")
    axis.axhline(prevalence, color="0.6", linestyle=":", label="prevalence")
    axis.set(xscale="log", xlabel="guidance scale s (0 drawn at 0.1)", ylabel="AP, pooled")
    axis.legend(frameon=False, fontsize=8, loc="upper left", bbox_to_anchor=(1, 1))
    figure.tight_layout()
    return figure


def main() -> None:
    """Measure and write."""
    options = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    options.add_argument("detector", type=Path)
    options.add_argument("manifest", type=Path)
    options.add_argument("--out", type=Path, required=True)
    options.add_argument("--split")
    options.add_argument("--slices", type=int, default=32)
    options.add_argument("--parts", nargs="+", default=["calls", "round_trip", "guides", "position", "sweep"])
    given = options.parse_args()
    detector = Detector.load(given.detector)
    cohort = Cohort.read(given.manifest)
    slices = Slices(detector, cohort.select(split=given.split) if given.split else cohort, given.slices)
    own = {
        key: detector.method.score["restore"][key]
        for key in ("start", "scale")
        if not isinstance(detector.method.score["restore"].get(key, "auto"), str)
    }
    start = int(own.get("start", detector.model.process().steps // 2))  # type: ignore[operator,union-attr]
    given.out.mkdir(parents=True, exist_ok=True)
    parts = {
        "calls": lambda: calls(detector, slices, own),
        "round_trip": lambda: round_trip(detector, slices, start),
        "guides": lambda: guides(detector, slices),
        "position": lambda: position(detector, slices),
        "sweep": lambda: sweep(detector, slices, given.out),
    }
    facts = {
        "detector": detector.identity["fingerprint"],
        "slices": len(slices.picked),
        "machine": machine(),
        "commit": commit(),
    }
    for name in given.parts:
        rows = []
        for row in parts[name]():
            print(", ".join(f"{key} {value}" for key, value in row.items()), flush=True)
            rows.append(row | facts)
        save(rows, given.out / f"{name}.csv")
    print(f"written to {given.out}")


if __name__ == "__main__":
    main()

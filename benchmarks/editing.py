"""What guided edits attain: independent checkers' answers before and after, and how much changed
where, for every aim and weight.

    python benchmarks/editing.py DETECTOR MANIFEST --work runs/editing [--split test] [--cases 8]

DETECTOR was fitted as ddim-guided with some of model.guides = ["class", "area", "mask", "age"]; what
it has no guide for is left out. The suite ``wolleb-editing`` keeps one in ``cohorts/editor-*``, and
diseased people whom it has not learnt from in ``cohorts/tumours``. Scans are edited as they are;
masks, one ellipsoid or blob a scan of radius 8 to 20 mm, are drawn from the case's number. Every edit
is kept in ``--work``: run again to go on. Means over cases; nothing is chosen by them.
"""

from __future__ import annotations

import argparse
from datetime import UTC, datetime
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from table import PAGES, as_markdown, commit, kept, publish, show

from aberra.benchmark.machine import machine
from aberra.cohort import Cohort
from aberra.detector import Detector
from aberra.files import atomic_path
from aberra.prepare.orient import Orient
from aberra.workflows.edit import FULL, Aim, Edit, edit
from aberra.workflows.edit_cohort import drawn_lesion

if TYPE_CHECKING:
    from collections.abc import Sequence

    from aberra.cohort import Case
    from aberra.volume import Volume

PLAN: list[tuple[str, Any, tuple[float, ...]]] = [
    ("class", "healthy", (0.0, 10.0, 100.0, 1000.0)),
    ("class", "diseased", (10.0, 100.0, 1000.0)),
    ("area", 0.0, (1000.0, 10000.0)),
    ("area", 0.05, (1000.0, 10000.0)),
    ("area", 0.15, (1000.0, 10000.0)),
    ("area", "up", (1000.0,)),
    ("area", "down", (1000.0,)),
    ("age", 20, (10.0, 100.0, 1000.0)),
    ("age", 80, (10.0, 100.0, 1000.0)),
    ("age", "up", (100.0,)),
    ("age", "down", (100.0,)),
    ("mask", None, (0.0, 0.1, 1.0, 10.0)),
    ("mask+class", "diseased", (1.0,)),
]
"""Guide, target, and weights of the guide; 0 is encoding and decoding alone. Ages and directions are
the thesis' (its s_t = ±1), areas those of its figure."""

MEASURED = (
    *(f"{guide}_{when}" for guide in ("class", "area", "age", "mask") for when in ("before", "after")),
    "area_error", "age_error", "age_true", "change", "change_inside", "change_outside",
)  # fmt: skip


def aims_of(kind: str, target: Any, weight: float, volume: Volume, number: int) -> list[Aim]:
    """Aims of one edit; masks are drawn from the case's number."""
    if not kind.startswith("mask"):
        return [Aim(guide=kind, target=target, weight=weight)]
    mask = drawn_lesion(volume, np.random.default_rng([0, number]), (8.0, 20.0))
    asked = [Aim(guide="mask", target=mask, weight=weight)]
    return asked if target is None else [*asked, Aim(guide="class", target=target)]


def made(
    detector: Detector, case: Case, aim: tuple[str, Any, float], number: int, steps: int
) -> tuple[Volume, Edit]:
    """A scan and its edit."""
    volume = detector.read(case)
    return volume, edit(detector, volume, aims_of(*aim, volume, number), steps=steps)


def attained(
    detector: Detector, case: Case, aim: tuple[str, Any, float], number: int, steps: int
) -> dict[str, Any]:
    """What an edit attained, and the person's age where it is asked about and known."""
    found: dict[str, Any] = dict(made(detector, case, aim, number, steps)[1].attained)
    if aim[0] == "age" and case.groups.get("age"):
        found["age_true"] = float(case.groups["age"])
    return found


def summary(aim: tuple[str, Any, float], found: Sequence[dict[str, float]]) -> dict[str, Any]:
    """Means over the cases of an aim; None of what was not asked."""
    guide, target, weight = aim
    row: dict[str, Any] = {"guide": guide, "target": target, "weight": weight, "cases": len(found)}
    for key in MEASURED:
        values = [each[key] for each in found if key in each]
        row[key] = round(float(np.mean(values)), 4) if values else None
    known = [abs(each["age_before"] - each["age_true"]) for each in found if "age_true" in each]
    return row | {"age_mae": round(float(np.mean(known)), 4) if known else None}


def known(detector: Detector, cases: Sequence[Case]) -> dict[str, float]:
    """What the checkers know of the slices of scans as they are: accuracy of the class, mean error of
    the area, pooled Dice of the mask.
    """
    import torch

    parts: list[tuple[torch.Tensor, ...]] = []
    for case in cases:
        prepared = detector.recipe(detector.read(case))
        inside = torch.from_numpy(prepared.judged.astype(np.float32))
        lesion = (
            torch.zeros_like(inside) if prepared.lesion is None else torch.from_numpy(prepared.lesion).float()
        )
        windows = detector.runner.windows(
            torch.from_numpy(prepared.data), inside > 0, also=(inside[None], lesion[None])
        )
        x, mask, truth = (torch.cat(each) for each in zip(*windows, strict=True))
        full = mask.flatten(1).mean(dim=1)
        chosen = full >= FULL * full.max()  # those that are edited
        parts.append((x[chosen], mask[chosen], truth[chosen]))
    x, mask, truth = (torch.cat(each) for each in zip(*parts, strict=True))
    found: dict[str, float] = detector.model.quality(x, mask, truth, 1, checker=True)  # type: ignore[operator]
    return found


def in_words(who: str, quality: dict[str, float]) -> str:
    """What the checkers know, for a caption."""
    said = {
        "accuracy": "class right in {:.0%}",
        "mae": "area off by {:.1%} of the brain",
        "dice": "Dice of the mask {:.2f}",
    }
    told = ", ".join(form.format(quality[key]) for key, form in said.items() if key in quality)
    return f"The checkers on slices of {who} people as they are: {told}." if told else ""


def as_table(rows: Sequence[dict[str, Any]], about: str) -> str:
    """A line an aim and weight: what the checker says before and after, and what changed."""
    scale = {"class": ("{:.0%}", "slices of the class"), "area": ("{:.1%}", "area"), "age": ("{:.0f}", "years"), "mask": ("{:.2f}", "Dice")}  # fmt: skip
    lines = []
    for row in rows:
        guide = row["guide"].partition("+")[0]
        form, unit = scale[guide]

        def shown(key: str, form: str, row: dict[str, Any] = row) -> str:
            return "–" if row.get(key) is None else form.format(row[key])

        target = row["target"]
        asked = {"area": "{:.0%}", "age": "{} years"}.get(guide, "{}").format(target) if isinstance(target, int | float) else target  # fmt: skip
        inside, outside = ("change_inside", "change_outside") if guide == "mask" else ("", "change")
        lines.append(
            [
                row["guide"], "a drawn mask" if target is None else f"{asked}", f"{row['weight']:g}", unit, shown(f"{guide}_before", form),
                shown(f"{guide}_after", form), shown(f"{guide}_error", form), shown(inside, "{:.3f}"), shown(outside, "{:.3f}"),
            ]
        )  # fmt: skip
    header = [
        "guide",
        "asked",
        "weight",
        "checker says",
        "before",
        "after",
        "mean error",
        "change inside",
        "outside, or all",
    ]
    mae = next((row["age_mae"] for row in rows if row["age_mae"] is not None), None)
    own = (
        ""
        if mae is None
        else f" Its own error of the age of these scans as they are: {mae:.0f} years on average over slices."
    )
    caption = (
        f"Means over {rows[0]['cases']} scans. checker: a network of the guide's kind with its own weights and batches, which never guides.{own} "
        "weight 0: encoded and decoded only. change: mean absolute, in prepared intensities (robust standard deviations of the brain), "
        f"inside and outside of the mask, or in all edited slices. {about}"
    )
    return as_markdown(header, lines, caption)


def picture(scan: Volume, made: Edit, truth: np.ndarray[Any, Any] | None) -> list[np.ndarray[Any, Any]]:
    """Scan, edit and difference of the slice that changed most, and what was asked for or is there,
    radiological view.
    """
    parts = [scan.data[:1], made.scan.data[:1], made.difference[:1]]
    shown = [Orient(to="SPL")(scan.with_(data=part, channels=("x",), mask=None)).data[0] for part in parts]
    asked = made.lesion if made.lesion is not None else truth
    flat = np.zeros(scan.shape, np.float32) if asked is None else asked.astype(np.float32)
    shown.append(Orient(to="SPL")(scan.with_(data=flat[None], channels=("x",), mask=None)).data[0])
    place = int(np.abs(shown[2]).sum(axis=(1, 2)).argmax())
    return [each[place] for each in shown]


def draw(strips: dict[str, list[np.ndarray[Any, Any]]], path: Path) -> None:
    """A column an edit: scan, edited, difference, mask."""
    from matplotlib.figure import Figure

    figure = Figure(figsize=(1.7 * len(strips), 7.2), layout="constrained")
    axes = figure.subplots(4, len(strips), squeeze=False)
    for column, (name, (scan, edited, difference, mask)) in enumerate(strips.items()):
        low, high = np.percentile(scan[scan != 0], [0.5, 99.5])
        edge = max(float(np.abs(difference).max()), 1e-6)
        axes[0, column].imshow(scan, cmap="gray", vmin=min(low, 0), vmax=high)
        axes[1, column].imshow(edited, cmap="gray", vmin=min(low, 0), vmax=high)
        axes[2, column].imshow(difference, cmap="RdBu_r", vmin=-edge, vmax=edge)
        axes[3, column].imshow(mask, cmap="gray", vmin=0, vmax=1)
        axes[0, column].set_title(name, fontsize=8)
    for row, name in enumerate(("scan", "edited", "difference", "mask asked for or truth")):
        axes[row, 0].set_ylabel(name, fontsize=8)
    for axis in axes.flat:
        axis.set_xticks([])
        axis.set_yticks([])
    with atomic_path(path) as temporary:
        figure.savefig(temporary, dpi=110, format="png")


def main() -> None:
    """Measure, print, keep."""
    import torch

    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("detector", type=Path)
    parser.add_argument("manifest", type=Path)
    parser.add_argument("--work", type=Path, required=True)
    parser.add_argument("--split")
    parser.add_argument("--diseased", action="store_true", help="only cases with a lesion")
    parser.add_argument("--cases", type=int, default=8)
    parser.add_argument("--steps", type=int, default=16)
    parser.add_argument("--out", type=Path, help="CSV, as in benchmarks/results/editing.csv")
    parser.add_argument("--picture", type=Path, help="PNG with an edit of one case for every aim")
    parser.add_argument(
        "--page", action="store_true", help="write the table that docs/explanation/diffusion.md shows"
    )
    options = parser.parse_args()
    torch.set_num_threads(1)
    detector = Detector.load(options.detector, device="cpu")
    cohort = Cohort.read(options.manifest).select(
        split=options.split, healthy=False if options.diseased else None
    )
    cases = list(cohort)[: options.cases]
    version = detector.identity["fingerprint"]
    guides = detector.model.guide_names()  # type: ignore[operator]
    fixed = {
        "steps": options.steps, "training_steps": detector.facts.get("training_steps"), "size": "x".join(map(str, detector.size)),
        "version": version, "machine": machine(), "commit": commit(), "date": datetime.now(UTC).date().isoformat(),
    }  # fmt: skip
    rows: list[dict[str, Any]] = []
    strips = {}
    for kind, target, weights in PLAN:
        if not set(kind.split("+")) <= set(guides):
            continue
        for weight in weights:
            aim = (kind, target, weight)
            folder = options.work / f"{version}-{options.steps}" / f"{kind}-{target}-{weight:g}"
            found = [
                kept(
                    folder / f"{case.case}.json",
                    partial(attained, detector, case, aim, number, options.steps),
                )
                for number, case in enumerate(cases)
            ]
            rows.append(summary(aim, found) | fixed)
            show({key: value for key, value in rows[-1].items() if value is not None and key not in fixed})
            if options.picture:
                middle = len(cases) // 2
                volume, one = made(detector, cases[middle], aim, middle, options.steps)
                title = f"{kind} {'' if target is None else target}\nweight {weight:g}"
                strips[title] = picture(volume, one, volume.lesion)
    if strips:
        draw(strips, options.picture)
    about = f"Slices of {fixed['size']}, {fixed['training_steps']:,} training steps, {fixed['steps']} steps each way, CPU, {fixed['date']}."
    everyone = Cohort.read(options.manifest).select(split=options.split)
    for who, healthy in (("diseased", False), ("healthy", True)):
        if some := list(everyone.select(healthy=healthy))[: options.cases]:
            about += " " + in_words(who, known(detector, some))
    page = PAGES / "wolleb-editing" / "attained.txt" if options.page else None
    publish(rows, as_table(rows, about), options.out, page)


if __name__ == "__main__":
    main()

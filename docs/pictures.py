"""Draw the pictures of README and documentation; whoever has the results can draw them again.

    python docs/pictures.py strip results/CASE --out X.png [--slice 11] [--lesion lesion.nii.gz]
    python docs/pictures.py edit edits/CASE --scan scan.nii.gz --out X.png [--slice 11]
    python docs/pictures.py p-value results/CASE --out X.png
    python docs/pictures.py report results/report.html --out X.png      # needs Chromium
    python docs/pictures.py mood LESION_MASKS --out X.png
    python docs/pictures.py reader worklist --out X.png                 # needs Chromium

Each page says beside its picture which commands gave the results. Pictures may show drawn heads and
scans whose licence allows it (docs/explanation/data-licences.md).
"""

from __future__ import annotations

import argparse
import io
import subprocess
import tempfile
import threading
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from aberra.io import onto, read, read_mask
from aberra.prepare.orient import Orient
from aberra.result import Result

if TYPE_CHECKING:
    from collections.abc import Iterator

    from numpy.typing import NDArray
    from PIL import Image

    from aberra.volume import Volume

GROUND, TEXT, OUTLINE, TRUTH, CASE = "#10151b", "#d5dde5", "#ffffff", "#4de3c1", "#ef7d86"
HEIGHT = 4.2
"""Inches of a panel."""

DPI = 110
ROWS = 5
"""Of the worklist that the report's picture shows."""

MARGIN = 6
"""Voxels left around the head."""

MOOD_COLUMNS, MOOD_MM, MOOD_TRIES, MOOD_EDGE = 4, 2.0, 4, 56
"""Anomalies beside each other; voxel size of the phantom; draws of which the clearest is shown; voxels
along the edge of what is shown of a local one."""

BADGES = {
    1: ".use",
    2: ".facts",
    3: ".card svg",
    4: "#worklist tbody tr",
    5: ".case header",
    6: ".case .warn",
    7: ".case .picture",
    8: ".case table",
    9: ".case .columns svg",
    10: ".case dl",
}
"""Numbers of docs/how-to/read-a-report.md, each beside what a selector finds first on the page."""

PAGE = (1180, 2800)
"""Width of the window that the page is seen in, and the largest height that is kept."""

SCREEN = (1280, 800)
"""Of the reader's page."""


@dataclass(frozen=True)
class Panel:
    """One image of a strip.

    Attributes:
        title: above it.
        image: grey values (H, W).
        window: grey values that are black and white.
        heat: map (H, W) painted over it, or None.
        outlines: masks (H, W) with the colour of their border.
    """

    title: str
    image: NDArray[np.float32]
    window: tuple[float, float]
    heat: NDArray[np.float32] | None = None
    outlines: tuple[tuple[NDArray[np.bool], str], ...] = ()


def strip(folder: Path, out: Path, *, index: int | None = None, lesion: Path | None = None) -> None:
    """Draw an axial slice of one case: scan, healthy version where there is one, map, mask.

    Args:
        folder: a case's folder that ``aberra detect`` wrote.
        out: PNG.
        index: slice from the feet; the one with most truth, else most mask, without.
        lesion: truth on the scan's voxels, outlined in green.
    """
    result = Result.load(folder)
    scan = onto(read(next(iter(result.paths.values()))), result.map)
    if scan is None:
        raise SystemExit(f"{folder}: the scan has changed since detection")
    truth = None if lesion is None else _upright(result.map, read_mask(lesion, result.map)).mask
    found = _upright(result.map, result.mask)
    mask = _mask(found)
    chosen = mask if truth is None or not truth.any() else truth
    d = int(chosen.sum((1, 2)).argmax()) if index is None else index
    judged = found.data[0] > 0
    grey = _upright(scan, None).data[0]
    window = _window(grey, judged)
    probability = result.threshold["protocol"] == "fixed-0.5"
    panels = [Panel("scan", grey[d], window)]
    if result.reconstruction is not None:
        healthy = _upright(result.reconstruction, None).data[0]
        panels.append(
            Panel("healthy version", healthy[d], _same_window(window, grey[judged], healthy[judged]))
        )
    panels.append(
        Panel("lesion probability" if probability else "anomaly map", grey[d], window, found.data[0, d])
    )
    drawn = [(mask[d], OUTLINE)] + ([] if truth is None else [(truth[d], TRUTH)])
    name = "mask" if truth is None else "mask, and truth in green"
    panels.append(Panel(name, grey[d], window, outlines=tuple(drawn)))
    scale = (0.0, 1.0) if probability else (result.scale["low"], result.scale["high"])
    _draw(panels, out, box=_box(grey[d]), scale=scale, aspect=found.spacing[1] / found.spacing[2])


def edit(
    folder: Path, scan: Path, out: Path, *, index: int | None = None, lesion: Path | None = None
) -> None:
    """Draw an axial slice of an edited scan: before, after, and how much changed.

    Args:
        folder: a case's folder that ``aberra edit`` wrote.
        scan: the scan that was edited.
        out: PNG.
        index: slice from the feet; the one with most lesion, else most change, without.
        lesion: mask on the scan's voxels, outlined in green.
    """
    source = read(scan)
    truth = None if lesion is None else read_mask(lesion, source)
    before, after, change = (
        _upright(volume, truth) for volume in (source, read(folder / "edited.nii.gz"), read(folder / "difference.nii.gz"))
    )  # fmt: skip
    mask, heat = _mask(before), np.abs(change.data[0])
    weight = mask if mask.any() else heat
    d = int(weight.sum((1, 2)).argmax()) if index is None else index
    grey = before.data[0]
    window = _window(grey, grey > 0)
    outlines = ((mask[d], TRUTH),) if mask.any() else ()
    panels = [
        Panel("scan", grey[d], window, outlines=outlines),
        Panel("edited", after.data[0, d], window, outlines=outlines),
        Panel("change", grey[d], window, heat[d], outlines=outlines),
    ]
    scale = (0.0, float(np.percentile(heat[grey > 0], 99.9)))
    _draw(panels, out, box=_box(grey[d]), scale=scale, aspect=before.spacing[1] / before.spacing[2])


def p_value(folder: Path, out: Path) -> None:
    """Draw one case's score among the healthy ones, with the sum that makes the p-value.

    Args:
        folder: a case's folder that ``aberra detect`` wrote.
        out: PNG.
    """
    from matplotlib.figure import Figure

    result = Result.load(folder)
    healthy = np.sort(result.healthy_scores)
    as_high = int((healthy >= result.score).sum())
    figure = Figure(figsize=(9, 2.6), facecolor=GROUND, layout="constrained")
    axes = figure.subplots()
    axes.set_facecolor(GROUND)
    rank = np.arange(1, len(healthy) + 1)
    above = healthy >= result.score
    axes.scatter(healthy[~above], rank[~above], s=22, color="#9fb0bd", label="healthy, score lower")
    axes.scatter(healthy[above], rank[above], s=22, color="#f3d38a", label="healthy, score as high or higher")
    axes.axvline(result.score, color=CASE, lw=2, label="this case")
    axes.set_xlabel("case score", color=TEXT)
    axes.set_ylabel("healthy cases, sorted", color=TEXT)
    axes.tick_params(colors=TEXT)
    axes.spines[:].set_color("#3a4652")
    axes.legend(loc="upper left", labelcolor=TEXT, frameon=False)
    axes.set_title(
        f"p = (1 + {as_high}) / (1 + {len(healthy)}) = {(1 + as_high) / (1 + len(healthy)):.3f}",
        color=TEXT,
        loc="left",
    )
    _save(figure, out)


def report(page: Path, out: Path, chromium: str) -> None:
    """Take a picture of a report, of one case that has warnings if there is one, with the numbers
    of ``BADGES`` on it.

    Args:
        page: ``report.html``.
        out: PNG.
        chromium: the browser's command.
    """
    from PIL import Image

    badges = "".join(
        f"""{{const e = document.querySelector({selector!r}); if (e) {{const r = e.getBoundingClientRect();
        const b = document.createElement('div'); b.textContent = {number};
        b.style.cssText = `position:absolute;left:${{Math.max(4, r.left - 34)}}px;top:${{r.top + scrollY}}px;width:30px;height:30px;` +
        'border-radius:50%;background:#c8434f;color:#fff;font:700 16px/30px system-ui;text-align:center'; document.body.append(b);}}}}"""
        for number, selector in BADGES.items()
    )
    one = (
        "const cases = [...document.querySelectorAll('.case')]; const shown = cases.find(e => e.querySelector('.warn')) || cases[0];"
        "cases.forEach(e => {if (e !== shown) e.remove()});"
        f"document.querySelectorAll('#worklist tbody tr').forEach((e, i) => {{if (i >= {ROWS}) e.remove()}})"
    )
    with tempfile.TemporaryDirectory() as folder:
        copy, shot = Path(folder) / "report.html", Path(folder) / "shot.png"
        text = page.read_text(encoding="utf-8").replace('loading="lazy"', "")
        script = f"<script>{one}; window.addEventListener('load', () => {{{badges}}})</script></body>"
        copy.write_text(text.replace("</body>", script), encoding="utf-8")
        _shoot(chromium, copy.as_uri(), PAGE, shot)
        image = Image.open(shot).convert("RGB")
    pixels = np.asarray(image)
    drawn = np.flatnonzero((pixels != pixels[-1, 0]).any((1, 2)))
    out.write_bytes(_small(image.crop((0, 0, image.width, min(int(drawn[-1]) + 12, image.height)))))


def mood(masks: Path, out: Path) -> None:
    """Draw every kind of anomaly of the challenge in a phantom: scan, anomalous scan, mask.

    The picture that stands for all is scikit-image's ``camera`` (CC0).

    Args:
        masks: folder of lesion masks.
        out: PNG.
    """
    from matplotlib.figure import Figure
    from skimage.data import camera

    from aberra.mood import CATEGORIES, taxonomy

    subclasses = sorted(taxonomy().values(), key=lambda each: CATEGORIES.index(each.category))
    rows = -(-len(subclasses) // MOOD_COLUMNS)
    figure = Figure(figsize=(2.7 * MOOD_COLUMNS, 1.14 * rows), facecolor=GROUND)
    cells = figure.subplots(
        rows, 3 * MOOD_COLUMNS, gridspec_kw={"wspace": 0.03, "hspace": 0.22, "left": 0, "right": 1, "bottom": 0, "top": 0.98}
    )  # fmt: skip
    for ax in cells.flat:
        ax.set_axis_off()
    with tempfile.TemporaryDirectory() as folder:
        _grey(Path(folder) / "camera.png", camera())
        files = {"images": [f"{folder}/camera.png"], "masks": sorted(map(str, masks.glob("*.nii*")))}
        for index, (subclass, (before, after, mask)) in enumerate(
            zip(subclasses, _anomalies(subclasses, Path(folder), files), strict=True)
        ):
            row, column = divmod(index, MOOD_COLUMNS)
            for ax, image in zip(cells[row, 3 * column :], (before, after, mask), strict=False):
                ax.imshow(np.round(11 * image) / 11, cmap="gray", vmin=0, vmax=1)
            cells[row, 3 * column].set_title(
                f"{subclass.category}: {subclass.name}", color=TEXT, fontsize=8, loc="left", pad=2
            )
    _save(figure, out)


def _grey(path: Path, pixels: NDArray[np.uint8]) -> None:
    from PIL import Image

    Image.fromarray(pixels).save(path)


def _anomalies(
    subclasses: list[Any], folder: Path, files: dict[str, list[str]]
) -> Iterator[tuple[NDArray[np.float32], ...]]:
    """The axial slice of a phantom with most of an anomaly: before, after and mask, (H, W) each."""
    from aberra.mood import Scan, apply, draw
    from aberra.synthesis.anatomy import Anatomy
    from aberra.synthesis.heads import draw_scans, rendered

    head = draw_scans(np.random.default_rng(4), ["t1"], [])[0]
    volume, labels = rendered(head, Anatomy.atlas(), MOOD_MM)
    volume.with_(data=labels[None].astype(np.float32), mask=None, lesion=None).write(folder / "labels.nii.gz")
    scan = Scan.of(volume, folder / "labels.nii.gz")
    for subclass in subclasses:
        tries = (
            apply(scan, draw(subclass, scan, np.random.default_rng(seed), **files))
            for seed in range(MOOD_TRIES)
        )
        made = max(tries, key=lambda each: -each.difficulty)
        mask = np.asarray(made.volume.lesion)
        d = int(mask.sum((1, 2)).argmax())
        box = _around(mask[d]) if subclass.scope == "local" else _box(scan.data[len(scan.data) // 2])
        yield scan.data[d][box], made.volume.data[0, d][box], mask[d][box].astype(np.float32)


def _around(mask: NDArray[np.bool]) -> tuple[slice, slice]:
    """A square of a slice with a mask in its middle."""
    middle = np.argwhere(mask).mean(axis=0)
    starts = [
        int(np.clip(at - MOOD_EDGE // 2, 0, n - MOOD_EDGE)) for at, n in zip(middle, mask.shape, strict=True)
    ]
    return slice(starts[0], starts[0] + MOOD_EDGE), slice(starts[1], starts[1] + MOOD_EDGE)


def reader(worklist: Path, out: Path, chromium: str) -> None:
    """Take a picture of the page on which a reader grades, at its first finding.

    Args:
        worklist: folder that ``aberra worklist`` wrote.
        out: PNG.
        chromium: the browser's command.
    """
    from PIL import Image

    from aberra.reader.server import ReaderServer
    from aberra.reader.session import Session

    with tempfile.TemporaryDirectory() as folder, ReaderServer(Session(worklist, "anna"), 0) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        shot = Path(folder) / "shot.png"
        _shoot(chromium, server.address, SCREEN, shot)
        server.shutdown()
        out.write_bytes(_small(Image.open(shot).convert("RGB")))


def _shoot(chromium: str, address: str, size: tuple[int, int], shot: Path) -> None:
    """What a page looks like when all of it is loaded."""
    subprocess.run(
        [chromium, "--headless", "--no-sandbox", "--disable-gpu", "--hide-scrollbars", "--virtual-time-budget=10000",
         f"--window-size={size[0]},{size[1]}", f"--screenshot={shot}", address],
        check=True, capture_output=True, timeout=120,
    )  # fmt: skip


def _upright(volume: Volume, mask: NDArray[np.bool] | None) -> Volume:
    """Axial slices from the feet up, the patient's right on the left, as radiologists look at them."""
    return Orient(to="SPL")(
        volume.with_(data=volume.data[:1], channels=volume.channels[:1], mask=mask, lesion=None)
    )


def _mask(volume: Volume) -> NDArray[np.bool]:
    return np.zeros(volume.shape, bool) if volume.mask is None else volume.mask


def _window(values: NDArray[np.float32], inside: NDArray[np.bool]) -> tuple[float, float]:
    """Black and white so that the brain has the range, not the fat of the scalp."""
    low, high = np.percentile(values[inside], [0.2, 99.9])
    return min(float(low), 0.0), float(high)


def _same_window(
    window: tuple[float, float], grey: NDArray[np.float32], healthy: NDArray[np.float32]
) -> tuple[float, float]:
    """The scan's window in prepared intensities: lower and upper quartile of both are drawn alike."""
    (low, high), (low_after, high_after) = np.percentile(grey, [25, 75]), np.percentile(healthy, [25, 75])
    slope = (high_after - low_after) / (high - low)
    return low_after + slope * (window[0] - low), low_after + slope * (window[1] - low)


def _box(image: NDArray[np.float32]) -> tuple[slice, slice]:
    """Rows and columns of the head."""
    head = image > 0.1 * np.percentile(image, 99)
    ranges = []
    for axis in (1, 0):
        lines = np.flatnonzero(head.mean(axis) > 0.02)
        ranges.append(slice(max(0, lines[0] - MARGIN), lines[-1] + MARGIN))
    return ranges[0], ranges[1]


def _draw(
    panels: list[Panel],
    out: Path,
    *,
    box: tuple[slice, slice],
    scale: tuple[float, float],
    aspect: float,
) -> None:
    """Draw panels side by side on a dark ground, with the colour scale of what is painted."""
    from matplotlib.figure import Figure

    rows, columns = panels[0].image[box].shape
    width = HEIGHT * columns / (rows * aspect)
    figure = Figure(figsize=(width * len(panels) + 0.8, HEIGHT + 0.4), facecolor=GROUND, layout="constrained")
    axes = figure.subplots(1, len(panels))
    heat: Any = None
    for panel, ax in zip(panels, axes, strict=True):
        ax.set(xticks=[], yticks=[], facecolor="black")
        ax.spines[:].set_visible(False)
        ax.set_title(panel.title, color=TEXT, fontsize=15, loc="left")
        ax.imshow(panel.image[box], cmap="gray", vmin=panel.window[0], vmax=panel.window[1], aspect=aspect)
        if panel.heat is not None:
            values = panel.heat[box]
            share = np.clip((values - scale[0]) / (scale[1] - scale[0]), 0, 1)
            alpha = np.clip(1.5 * share, 0, 1)
            heat = ax.imshow(values, cmap="inferno", vmin=scale[0], vmax=scale[1], alpha=alpha, aspect=aspect)
        for mask, colour in panel.outlines:
            if mask[box].any():
                ax.contour(mask[box].astype(float), [0.5], colors=colour, linewidths=1.5)
    if heat is not None:
        bar = figure.colorbar(heat, ax=axes, shrink=0.8, pad=0.01, aspect=25)
        bar.ax.tick_params(colors=TEXT, labelsize=12)
        bar.outline.set_edgecolor(TEXT)
    _save(figure, out)


def _save(figure: Any, out: Path) -> None:
    from PIL import Image

    buffer = io.BytesIO()
    figure.savefig(buffer, dpi=DPI, facecolor=GROUND)
    out.write_bytes(_small(Image.open(buffer).convert("RGB")))


def _small(image: Image.Image) -> bytes:
    """The picture as a PNG of 256 colours, chosen among those that occur and not by how often: few
    pixels are coloured.
    """
    from PIL import Image

    colours = np.unique(np.asarray(image).reshape(-1, 3), axis=0)
    palette = Image.fromarray(colours[None]).quantize(256, kmeans=3)
    buffer = io.BytesIO()
    image.quantize(palette=palette, dither=Image.Dither.NONE).save(buffer, "PNG", optimize=True)
    return buffer.getvalue()


def main(arguments: list[str] | None = None) -> None:
    """Draw what is asked for."""
    parser = argparse.ArgumentParser(description="Draw the pictures of README and documentation.")
    pictures = parser.add_subparsers(dest="picture", required=True)
    for name in ("strip", "edit", "p-value", "report", "mood", "reader"):
        picture = pictures.add_parser(name)
        picture.add_argument("source", type=Path)
        picture.add_argument("--out", type=Path, required=True)
        if name in ("strip", "edit"):
            picture.add_argument("--slice", type=int)
            picture.add_argument("--lesion", type=Path)
        if name == "edit":
            picture.add_argument("--scan", type=Path, required=True)
        if name in ("report", "reader"):
            picture.add_argument("--chromium", default="chromium")
    asked = parser.parse_args(arguments)
    if asked.picture == "strip":
        strip(asked.source, asked.out, index=asked.slice, lesion=asked.lesion)
    elif asked.picture == "edit":
        edit(asked.source, asked.scan, asked.out, index=asked.slice, lesion=asked.lesion)
    elif asked.picture == "report":
        report(asked.source, asked.out, asked.chromium)
    elif asked.picture == "mood":
        mood(asked.source, asked.out)
    elif asked.picture == "reader":
        reader(asked.source, asked.out, asked.chromium)
    else:
        p_value(asked.source, asked.out)


if __name__ == "__main__":
    main()

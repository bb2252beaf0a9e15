"""A detector's network as a file of another program's, checked before it is kept."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Literal, get_args

import torch

from aberra.detector.card import card
from aberra.errors import ConfigError, ModelError, expect_known
from aberra.exchange.bundle import write_bundle
from aberra.exchange.description import described
from aberra.exchange.graph import Gives, graph_of, multiple_of, shapes_of
from aberra.exchange.programs import read_onnx, read_torch, traced, write_onnx, write_torch
from aberra.files import atomic_path, config_hash, write_json, write_text
from aberra.output import claim, new_folder

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence
    from pathlib import Path

    from torch import Tensor

    from aberra.detector import Detector
    from aberra.exchange.graph import Graph

Format = Literal["onnx", "torch", "monai"]

TOLERANCE = 1e-3
"""Greatest difference from the network that is kept, as a share of the network's greatest answer.
The order in which floats are summed differs between libraries; on noise, where every layer is far
from what it learnt, that came to 2e-4."""


@dataclass(frozen=True, kw_only=True)
class Exported:
    """What was written.

    Attributes:
        folder: where.
        gives: ``map`` or ``reconstruction``.
        why: of a reconstruction, why it is not the map.
        batches: batch sizes that were checked.
        difference: greatest absolute difference from the network.
        answer: greatest absolute value of the network's own answers.
    """

    folder: Path
    gives: Gives
    why: str
    batches: tuple[int, ...]
    difference: float
    answer: float


def export(detector: Detector, to: Format, *, out: Path | str) -> Exported:
    """Write a detector's network for other programs.

    Where the score asks the model once, the file computes the anomaly map of prepared slices or
    patches, else the reconstruction. ``onnx`` and ``torch`` write ``model.onnx`` or ``model.pt2``
    with ``model.json`` (:func:`aberra.exchange.description.described`) and ``card.md``; ``monai`` a
    bundle. Before anything is kept, the file is read again and asked about random input of two
    batch sizes, and, where they may differ, of two shapes.

    Args:
        detector: as loaded with ``device="cpu"``.
        to: the format.
        out: a folder, new or empty.

    Raises:
        PairingError: the model has no such function.
        ConfigError: a library is not installed, or the network cannot be traced or written.
        ModelError: the file answers otherwise than the network; nothing is kept.
        OutputError: the folder holds something.
    """
    expect_known("format", [to], get_args(Format))
    if detector.runner.device.type != "cpu":
        raise ConfigError(
            f"the detector is on {detector.runner.device}; load it with device='cpu' to export it"
        )
    out = new_folder(out)
    graph, shapes = graph_of(detector), shapes_of(detector)
    program = traced(graph, shapes[1], multiple_of(detector))
    about = described(detector, graph)
    with atomic_path(out) as folder:
        claim(folder, "export", identity=config_hash([detector.identity, to]))
        run: Callable[[Tensor], Tensor]
        if to == "monai":
            run = write_bundle(program, folder, detector, about)
        elif to == "onnx":
            write_onnx(program, folder / "model.onnx", graph.gives)
            run = read_onnx(folder / "model.onnx")
        else:
            write_torch(program, folder / "model.pt2")
            run = read_torch(folder / "model.pt2")
        check = checked(graph, run, shapes)
        if to != "monai":
            write_text(folder / "card.md", card(detector))
        place = folder / ("configs/check.json" if to == "monai" else "model.json")
        write_json(place, ({} if to == "monai" else about) | {"format": to, "check": check})
    return Exported(
        folder=out, gives=graph.gives, why=graph.why, batches=tuple(shape[0] for shape in shapes),
        difference=check["greatest_difference"], answer=check["greatest_answer"],
    )  # fmt: skip


@torch.no_grad()
def checked(graph: Graph, run: Callable[[Tensor], Tensor], shapes: Sequence[Sequence[int]]) -> dict[str, Any]:
    """Ask the graph and what was made of it about the same random input.

    Raises:
        ModelError: they differ by more than :data:`TOLERANCE`, or an answer is not finite.
    """
    generator = torch.Generator().manual_seed(0)
    difference = answer = 0.0
    for shape in shapes:
        x = torch.randn(*shape, generator=generator)
        wanted, found = graph(x), run(x)
        if wanted.shape != found.shape or not bool(found.isfinite().all()):
            raise ModelError(
                f"the exported network answers {tuple(found.shape)}, the network itself {tuple(wanted.shape)}, or not in "
                "finite numbers; nothing was kept"
            )
        difference = max(difference, float((wanted - found).abs().max()))
        answer = max(answer, float(wanted.abs().max()))
    if difference > TOLERANCE * answer:
        raise ModelError(
            f"the exported network differs from the network by {difference:.3g} where its greatest answer is {answer:.3g}; "
            f"at most {TOLERANCE:g} of that is taken for rounding. Nothing was kept; another --to may do"
        )
    return {
        "shapes": [list(shape) for shape in shapes], "greatest_difference": difference,
        "greatest_answer": answer, "tolerance": TOLERANCE,
    }  # fmt: skip

"""A graph as a MONAI bundle: https://docs.monai.io/en/stable/mb_specification.html."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch

from aberra import __version__
from aberra.detector.card import card
from aberra.detector.windows import MARGIN
from aberra.exchange.description import SHIPPED_LICENCE, gives_probability
from aberra.exchange.graph import channels_of, multiple_of
from aberra.exchange.programs import read_torch, write_torch
from aberra.files import atomic_path, write_json, write_text
from aberra.sequence import WORDS, by_words

if TYPE_CHECKING:
    from collections.abc import Callable

    from torch import Tensor
    from torch.export import ExportedProgram

    from aberra.detector import Detector

PROGRAM = Path("models/model.pt2")
MONAI = "1.5.0"
"""The first version that such bundles were run with."""

SCHEMA = (
    "https://github.com/Project-MONAI/MONAI-extra-test-data/releases/download/0.8.1/meta_schema_20240725.json"
)


def write_bundle(
    program: ExportedProgram, folder: Path, detector: Detector, about: dict[str, Any]
) -> Callable[[Tensor], Tensor]:
    """Write ``configs``, ``models``, ``docs`` and ``LICENSE``; return what the program in it computes.

    The network is ``models/model.pt2``, a graph with its weights. ``models/model.pt`` has the weights
    alone, since the specification asks for it and ``monai.bundle.load`` reads it, as tensors only.
    """
    for part in ("configs", "models", "docs"):
        (folder / part).mkdir(parents=True)
    write_torch(program, folder / PROGRAM)
    with atomic_path(folder / "models/model.pt") as temporary:
        torch.save(
            {name: tensor.detach().contiguous() for name, tensor in program.state_dict.items()}, temporary
        )
    write_json(folder / "configs/metadata.json", _metadata(detector, about))
    write_json(folder / "configs/inference.json", _inference(detector))
    write_text(folder / "docs/README.md", _readme(detector, about))
    write_text(folder / "LICENSE", _licence(about))
    return read_torch(folder / PROGRAM)


def _metadata(detector: Detector, about: dict[str, Any]) -> dict[str, Any]:
    """``metadata.json``: what MONAI asks for, and what aberra says of the graph."""
    names, gives = channels_of(detector), about["output"]["channels"]
    multiple = multiple_of(detector)
    shape = [f"{multiple}*{axis}" for axis in "dhw"] if multiple else list(detector.size)
    mr = any(by_words(name) in WORDS for name in names)
    tensor = {"type": "image", "format": "magnitude", "dtype": "float32", "is_patch_data": True}
    probability = about["gives"] == "map" and gives_probability(detector)
    return {
        "schema": SCHEMA,
        "version": __version__,
        "changelog": {__version__: f"exported from the detector {about['detector']['fingerprint']}"},
        "monai_version": MONAI,
        "pytorch_version": about["versions"]["torch"].partition("+")[0],
        "numpy_version": about["versions"]["numpy"],
        "required_packages_version": {"nibabel": "5.3.0", "pytorch-ignite": "0.5.0"},
        "name": about["detector"]["name"],
        "task": f"Anomaly detection: {about['gives']} of a prepared scan",
        "description": f"{detector.method.title}. {detector.method.summary}",
        "authors": "The aberra developers"
        if about["licence"] == SHIPPED_LICENCE
        else "see the detector's owner",
        "copyright": f"Licence: {about['licence']}. Learnt from: {about['learnt_from']}",
        "data_source": str(about["learnt_from"]),
        "intended_use": about["use"],
        "references": [detector.method.reference],
        "network_data_format": {
            "inputs": {
                "image": tensor
                | {
                    "modality": "MR" if mr else "n/a",
                    "num_channels": len(names),
                    "spatial_shape": shape,
                    "value_range": [],
                    "channel_def": {str(number): name for number, name in enumerate(names)},
                }
            },
            "outputs": {
                "pred": tensor
                | {
                    "num_channels": len(gives),
                    "spatial_shape": shape,
                    "value_range": [0, 1] if probability else [],
                    "channel_def": {str(number): name for number, name in enumerate(gives)},
                }
            },
        },
        "aberra": about,
    }


def _inference(detector: Detector) -> dict[str, Any]:
    """``inference.json``: prepared scans in, what the graph gives out.

    A program of ``torch.export`` has no ``eval``, which MONAI's evaluator calls; unflattened it has.
    """
    multiple, size = multiple_of(detector), list(detector.size)
    if detector.dims == 2:
        inferer = {"_target_": "SliceInferer", "roi_size": size, "sw_batch_size": 16, "spatial_dim": 0, "progress": False}  # fmt: skip
    elif multiple:
        inferer = {"_target_": "SimpleInferer"}
    else:
        inferer = {"_target_": "SlidingWindowInferer", "roi_size": size, "overlap": 0.5, "mode": "gaussian"}
    transforms: list[dict[str, Any]] = [
        {"_target_": "LoadImaged", "keys": "image", "ensure_channel_first": True, "dtype": "$torch.float32"}
    ]
    undo: list[dict[str, Any]] = []
    if multiple:
        crop = {
            "_target_": "CropForegroundd",
            "keys": "image",
            "source_key": "image",
            "channel_indices": 0,
            "select_fn": "$lambda x: x != 0",
            "margin": MARGIN,
            "allow_smaller": True,
        }
        transforms += [crop, {"_target_": "DivisiblePadd", "keys": "image", "k": multiple, "method": "end"}]
        undo = [{"_target_": "Invertd", "keys": "pred", "orig_keys": "image", "transform": "@preprocessing", "nearest_interp": False}]  # fmt: skip
    return {
        "imports": ["$import glob", "$import torch"],
        "bundle_root": ".",
        "dataset_dir": "$@bundle_root + '/prepared'",
        "output_dir": "$@bundle_root + '/eval'",
        "datalist": "$sorted(glob.glob(@dataset_dir + '/*.nii.gz'))",
        "device": "$torch.device('cuda' if torch.cuda.is_available() else 'cpu')",
        "network_def": f"$torch.export.unflatten(torch.export.load(@bundle_root + '/{PROGRAM.as_posix()}'))",
        "network": "$@network_def.to(@device).eval()",
        "preprocessing": {"_target_": "Compose", "transforms": transforms},
        "dataset": {
            "_target_": "Dataset",
            "data": "$[{'image': path} for path in @datalist]",
            "transform": "@preprocessing",
        },
        "dataloader": {"_target_": "DataLoader", "dataset": "@dataset", "batch_size": 1, "shuffle": False, "num_workers": 0},
        "inferer": inferer,
        "postprocessing": {
            "_target_": "Compose",
            "transforms": [*undo, {"_target_": "SaveImaged", "keys": "pred", "output_dir": "@output_dir"}],
        },
        "evaluator": {
            "_target_": "SupervisedEvaluator",
            "device": "@device",
            "val_data_loader": "@dataloader",
            "network": "@network",
            "inferer": "@inferer",
            "postprocessing": "@postprocessing",
        },
        "run": ["$@evaluator.run()"],
    }  # fmt: skip


def _readme(detector: Detector, about: dict[str, Any]) -> str:
    """``README.md``: how it is run, what is not inside, and the detector's card."""
    name = about["detector"]["name"]
    own = card(detector).partition("\n")[2].replace("\n## ", "\n### ").strip()
    return f"""# {name}, a MONAI bundle

What aberra's detector `{name}` computes of a **prepared** scan: {about["output"]["means"]}.

1. Prepare scans with aberra, into the folder `prepared` of this bundle:

   ```python
   from aberra import Detector, Volume

   scan = Volume.read("scan.nii.gz")
   Detector.load("{name}").recipe(scan).write("prepared/scan.nii.gz")
   ```

2. In the folder of this bundle, `python -m monai.bundle run --config_file configs/inference.json --bundle_root .`
   (needs pytorch-ignite and fire) writes what the network gives of each to `eval`.

`configs/metadata.json` says under `aberra` what the input is (orientation, spacing, channels, every step of
the preparation), how a scan is cut, and what of the detector is not inside: preparation, smoothing,
post-processing, thresholds and p-values. {about["why_not_the_map"] or ""}

## The detector

{own}
"""


def _licence(about: dict[str, Any]) -> str:
    lines = [f"Weights: {about['licence']}", f"Learnt from: {about['learnt_from']}"]
    if about["licence"] == SHIPPED_LICENCE:
        lines += [
            "",
            f"SPDX-License-Identifier: {SHIPPED_LICENCE}",
            "https://www.apache.org/licenses/LICENSE-2.0",
        ]
    return "\n".join(lines) + "\n"

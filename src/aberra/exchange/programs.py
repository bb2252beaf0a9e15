"""A graph as a file, and the file as a function again."""

from __future__ import annotations

import logging
import warnings
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

import torch

from aberra.errors import ConfigError
from aberra.extras import library
from aberra.files import atomic_path

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence
    from pathlib import Path

    from torch import Tensor
    from torch.export import ExportedProgram

    from aberra.exchange.graph import Graph

MOST = 1 << 12
"""Greatest batch, and greatest edge in multiples."""


def traced(graph: Graph, shape: Sequence[int], multiple: int) -> ExportedProgram:
    """The graph as a program of any batch size, and, of patches, of any edges that are multiples.

    Args:
        graph: what is traced.
        shape: of an example, (B, C, S), B above 1.
        multiple: 0 where S is fixed.

    Raises:
        ConfigError: it cannot be told what it does without running it.
    """
    from torch.export import Dim, export

    dynamic: dict[int, Any] = {0: Dim("batch", min=1, max=MOST)}
    if multiple:
        dynamic |= {2 + axis: multiple * Dim(name, min=1, max=MOST) for axis, name in enumerate("dhw")}
    try:
        with torch.no_grad(), _quietly():
            return export(graph, (torch.zeros(*shape),), dynamic_shapes=(dynamic,), strict=False)
    except Exception as error:
        first = str(error).strip().partition("\n")[0]
        raise ConfigError(
            f"the network cannot be traced ({type(error).__name__}: {first}); use the detector by `aberra detect`"
        ) from error


def write_torch(program: ExportedProgram, path: Path) -> None:
    """Write ``.pt2``."""
    with _quietly(), atomic_path(path) as temporary:
        torch.export.save(program, temporary)


def read_torch(path: Path) -> Callable[[Tensor], Tensor]:
    """The function that a ``.pt2`` holds."""
    with _quietly():
        return torch.export.load(path).module()


def write_onnx(program: ExportedProgram, path: Path, gives: str) -> None:
    """Write ``.onnx``, weights included, with the input ``image`` and the output that is named.

    Raises:
        ConfigError: a library is not installed, or an operation has no counterpart.
    """
    for name in ("onnx", "onnxscript", "onnxruntime"):
        library_of(name)
    try:
        with _quietly():
            made = torch.onnx.export(
                program, dynamo=True, verbose=False, input_names=["image"], output_names=[gives]
            )
            assert made is not None  # noqa: S101 - with dynamo it is always given
            with atomic_path(path) as temporary:
                made.save(str(temporary), external_data=False)
    except Exception as error:
        first = str(error).strip().partition("\n")[0]
        raise ConfigError(
            f"the network has no ONNX form ({type(error).__name__}: {first}); --to torch may do"
        ) from error


def read_onnx(path: Path) -> Callable[[Tensor], Tensor]:
    """The function that a ``.onnx`` holds, run by ONNX Runtime on the CPU.

    Raises:
        ConfigError: ONNX Runtime is not installed.
    """
    runtime = library_of("onnxruntime")
    options = runtime.SessionOptions()
    options.log_severity_level = 3
    session = runtime.InferenceSession(str(path), options, providers=["CPUExecutionProvider"])
    name = session.get_inputs()[0].name
    return lambda x: torch.from_numpy(session.run(None, {name: x.numpy()})[0])


def library_of(name: str) -> Any:
    """A library of the extra ``export``.

    Raises:
        ConfigError: it is not installed.
    """
    return library(name, needed_by="`aberra export --to onnx`", extra="export")


@contextmanager
def _quietly() -> Iterator[None]:
    """Without what torch's exporter tells its developers."""
    log = logging.getLogger("torch.onnx")
    level = log.level
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        log.setLevel(logging.ERROR)
        try:
            yield
        finally:
            log.setLevel(level)

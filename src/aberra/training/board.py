"""What ``metrics.jsonl`` and the pictures of a run say, for TensorBoard."""

from __future__ import annotations

from importlib.util import find_spec
from typing import TYPE_CHECKING, Any

from aberra.errors import ConfigError
from aberra.output import claim

if TYPE_CHECKING:
    from pathlib import Path

FOLDER = "tensorboard"
"""In the run's."""


def expect_tensorboard() -> None:
    """Refuse where TensorBoard is not installed.

    Raises:
        ConfigError: it is not.
    """
    if find_spec("tensorboard") is None:
        raise ConfigError("--tensorboard needs TensorBoard; pip install 'aberra[tensorboard]'")


class Board:
    """Writes events, each at once, so that a run that is killed has them.

    Args:
        run: the run's folder.
        step: that the run goes on from; what an earlier process has said of later steps does not
            count any more.

    Raises:
        ConfigError: TensorBoard is not installed.
    """

    def __init__(self, run: Path, step: int) -> None:
        expect_tensorboard()
        from torch.utils.tensorboard import SummaryWriter

        claim(run / FOLDER, "logs")
        self.run = run
        self.writer: Any = SummaryWriter(str(run / FOLDER), purge_step=step + 1)

    def add(self, row: dict[str, Any]) -> None:
        """A line of ``metrics.jsonl``: losses and rate of a step of training, or a validation loss."""
        for name, value in row.items():
            if name == "validation":
                self.writer.add_scalar("validation/loss", value, row["step"])
            elif name != "step":
                self.writer.add_scalar(f"training/{name}", value, row["step"])
        self.writer.flush()

    def finish(self, step: int) -> None:
        """Add the pictures that lie in the run's folder, and close."""
        from matplotlib.image import imread

        for path in sorted(self.run.glob("*.png")):
            self.writer.add_image(path.stem, imread(path), step, dataformats="HWC")
        self.writer.close()

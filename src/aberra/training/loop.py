"""The loop: draw, step, evaluate, save; resumable bit for bit on the CPU."""

from __future__ import annotations

import json
import math
from time import perf_counter
from typing import TYPE_CHECKING, Any

import numpy as np
import torch

from aberra.capabilities import LearnsFromLesions, LearnsInTurns
from aberra.errors import ConfigError, TrainingError
from aberra.files import record, write_text, writing
from aberra.training import checkpoint, plots
from aberra.training.adams import Adams
from aberra.training.interrupt import held_back
from aberra.training.sampling import Draws, Sampler

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

    from torch import Generator, Tensor, nn

    from aberra.training.config import TrainingConfig
    from aberra.volume import Volume

VALIDATION_SEED = 20_210_000
"""Of the noise that validation losses are measured with: the same at every evaluation."""
WATCHED = ("error", "reconstruction", "loss")
"""Validation watches the first of these that a model's ``loss`` has."""


def train(
    model: nn.Module,
    data: Sequence[Volume] | Draws,
    config: TrainingConfig,
    folder: Path,
    *,
    validation: Sequence[Volume] | Draws = (),
    dims: int,
    size: Sequence[int],
    device: str = "auto",
    seed: int = 0,
    progress: bool = False,
) -> dict[str, Any]:
    """Train a model that has a ``loss``; leaves the chosen weights in it.

    The chosen weights are those of the lowest validation loss (or error, see :data:`WATCHED`), else the last; moving averages where ``ema`` is on.
    ``folder`` gets ``checkpoint.safetensors``, ``metrics.jsonl``, ``loss.png`` and ``reconstructions.png``.
    An interrupted run goes on from its checkpoint; Ctrl-C is answered after the step under way. With several devices only
    the first process returns: the others end here, so that the caller saves once.

    Args:
        model: see :class:`aberra.capabilities.Trains`.
        data: prepared training volumes, or what draws samples itself.
        config: settings.
        folder: of the run.
        validation: for early stopping, the same.
        dims: 2 or 3.
        size: spatial shape S of a sample.
        device: ``auto``, ``cpu`` or ``cuda``.
        seed: of sampling and noise.
        progress: show a progress bar.

    Returns:
        Steps, best step, best validation loss, seconds, images a second, and ``late_gain`` (see :func:`late_gain`).

    Raises:
        TrainingError: nothing to learn from, no lesion of a kind that the model is to tell apart, or loss or weights are not finite
            (the last good checkpoint is kept).
        ConfigError: several devices for a model that learns in turns.
    """
    run = Run(
        model, data, config, folder, validation=validation, dims=dims, size=size, device=device, seed=seed
    )
    summary = run.go(progress=progress)
    if run.fabric.global_rank:
        raise SystemExit
    return summary


class Run:
    """One training run; see :func:`train`."""

    def __init__(
        self,
        model: nn.Module,
        data: Sequence[Volume] | Draws,
        config: TrainingConfig,
        folder: Path,
        *,
        validation: Sequence[Volume] | Draws,
        dims: int,
        size: Sequence[int],
        device: str,
        seed: int,
    ) -> None:
        from lightning.fabric import Fabric

        from aberra.devices import choose_device

        self.config = config
        self.folder = folder
        self.seed = seed
        kinds: Sequence[int] = getattr(model, "kinds", ())
        sampling: dict[str, Any] = {
            "dims": dims, "size": size, "lesions": isinstance(model, LearnsFromLesions), "kinds": kinds
        }  # fmt: skip
        self.sampler = data if isinstance(data, Draws) else Sampler(data, config, **sampling)
        if kinds and isinstance(self.sampler, Sampler) and not self.sampler.diseased:
            raise TrainingError(
                f"model.kinds={list(kinds)}: no training sample has a lesion of these label values; "
                f"the masks have {_labels(self.sampler.volumes)}"
            )
        self.watched: Draws | None = None
        if len(validation):
            self.watched = (
                validation if isinstance(validation, Draws) else Sampler(validation, config, **sampling)
            )
        chosen = choose_device(device)
        kind = chosen.type
        precision: Any = config.precision
        if precision == "auto":
            precision = "bf16-mixed" if kind == "cuda" else "32-true"
        if isinstance(model, LearnsInTurns) and config.devices > 1:
            raise ConfigError(
                f"training.devices={config.devices}: a model that learns in turns (a GAN) trains on one device"
            )
        one = chosen.index is not None and config.devices == 1
        devices: Any = [chosen.index] if one else config.devices
        self.fabric = Fabric(accelerator=kind, devices=devices, precision=precision)
        if config.devices > 1:
            self.fabric.launch()
        self.format = torch.channels_last if dims == 2 else torch.contiguous_format
        self.inner = model.to(self.fabric.device)
        if dims == 2:
            self.inner = self.inner.to(memory_format=torch.channels_last)  # type: ignore[call-overload]
        self.adams = Adams(self.inner, config)
        folder.mkdir(parents=True, exist_ok=True)
        resumed = checkpoint.load(folder, self.inner, self.adams)
        self.state, self.shadows = resumed or (checkpoint.Progress(), {})
        for name, weights in self.shadows.items():
            self.shadows[name] = {key: tensor.to(self.fabric.device) for key, tensor in weights.items()}
        if config.ema and "ema" not in self.shadows:
            self.shadows["ema"] = self._weights()
        self.model: Any
        self.model, *wrapped = self.fabric.setup(self.inner, *self.adams.each.values())
        self.optimizers = dict(zip(self.adams.each, wrapped, strict=True))
        self.model.mark_forward_method("loss")
        self.metrics = folder / "metrics.jsonl"
        self.kept = self.state.step
        if self.fabric.global_rank == 0:
            self._trim_metrics()
        epoch = math.ceil(len(self.sampler) / config.batch_size)
        self.every = config.validate_every or min(500, max(50, epoch))

    # -- the loop ----------------------------------------------------------------------------------------------

    def go(self, *, progress: bool) -> dict[str, Any]:
        """Train to the end and choose the weights."""
        from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

        columns = (
            TextColumn("training"),
            BarColumn(),
            MofNCompleteColumn(),
            TextColumn("{task.fields[speed]}"),
            TimeRemainingColumn(),
            TextColumn("{task.fields[loss]}"),
        )
        first = self.state.step
        started, before = perf_counter(), self.state.seconds
        with (
            Progress(*columns, disable=not progress or bool(self.fabric.global_rank)) as bar,
            held_back() as interrupted,
        ):
            task = bar.add_task("", total=self.config.steps, completed=first, speed="", loss="")
            while self.state.step < self.config.steps and not self._stopped():
                loss = self._step()
                self.state.seconds = before + perf_counter() - started
                if self.state.step % self.every == 0 or self.state.step == self.config.steps:
                    self._validate()
                if self.state.step % self.config.checkpoint_every == 0:
                    self._save()
                if loss is not None:
                    images = (self.state.step - first) * self.config.batch_size * self.config.devices
                    speed = f"{images / (perf_counter() - started):.0f} images/s"
                    bar.update(task, completed=self.state.step, speed=speed, loss=f"loss {loss:.4g}")
                if interrupted():
                    self._save()
                    bar.console.print(
                        f"interrupted at step {self.state.step}; run the same command with --resume to go on"
                    )
                    raise KeyboardInterrupt
        self._save()
        return self._finish()

    def _step(self) -> float | None:
        """Take one step (every player's turn of it, for models that learn in turns); return the loss where it was logged."""
        config, step = self.config, self.state.step
        self.adams.set_rate(config.rate(step, self.state.cuts))
        logged = (
            (step + 1) % config.log_every == 0
            or (step + 1) % config.checkpoint_every == 0
            or step + 1 == config.steps
        )
        # looking at a loss makes the CPU wait for an accelerator, so there only logged steps are looked at
        looked = logged or step == 0 or self.fabric.device.type == "cpu"
        values: dict[str, float] = {}
        for index, turn in enumerate(self._turns(step)):
            losses = self._turn(index, turn)
            prefix = f"{turn}_" if turn else ""
            if looked:
                values |= {f"{prefix}{name}": float(value.detach()) for name, value in losses.items()}
                values["loss"] = float(losses["loss"].detach())
            if any(not math.isfinite(value) for value in values.values()):
                raise self._diverged(step + 1, f"the loss is not finite ({values})")
            self.optimizers[turn].step()
        self.state.step += 1
        if config.ema:
            self._average()
        if logged:
            self.state.losses = values
            self._log({"step": self.state.step, "rate": config.rate(step, self.state.cuts), **values})
            return values["loss"]
        return None

    def _turns(self, step: int) -> Sequence[str]:
        """Whose turns a step has; one nameless turn for models with one loss."""
        if isinstance(self.inner, LearnsInTurns):
            return self.inner.turns(step / self.config.steps)
        return ("",)

    def _turn(self, index: int, turn: str) -> dict[str, Tensor]:
        """Draw a batch and leave the gradients of one turn in the parameters that move in it."""
        step, rank = self.state.step, self.fabric.global_rank
        seed = [self.seed, step, rank, *([index] if index else [])]
        x, mask, *truth = (
            each.to(self.fabric.device) for each in self.sampler.draw(seed, self.config.batch_size)
        )
        generator = self._generator(step, rank, index)
        self.model.train()
        if x.ndim == 4:
            x = x.contiguous(memory_format=torch.channels_last)
        if isinstance(self.inner, LearnsInTurns):
            moving = {id(each) for each in self.inner.players()[turn]}
            for each in self.inner.parameters():
                each.requires_grad_(id(each) in moving)
        losses: dict[str, Tensor] = self.model.loss(
            x, mask, generator, *([turn] if turn else []), **_with_truth(truth)
        )
        optimizer = self.optimizers[turn]
        optimizer.zero_grad()
        self.fabric.backward(losses["loss"])
        if self.config.clip:
            self.fabric.clip_gradients(self.model, optimizer, max_norm=self.config.clip)
        return losses

    def _generator(self, step: int, rank: int, turn: int = 0) -> Generator:
        """Seed all randomness of a turn, dropout's global generator included."""
        number = ((self.seed * 1_000_003 + step) * 64 + rank + turn * 2**48) % 2**63
        torch.manual_seed(number)
        return torch.Generator(self.fabric.device).manual_seed(number)

    def _stopped(self) -> bool:
        config, state = self.config, self.state
        late = bool(config.minutes) and state.seconds >= 60 * config.minutes
        return late or (bool(config.patience) and state.stale >= config.patience)

    @torch.no_grad()
    def _average(self) -> None:
        """Update the moving average; its decay rises from 0.1 so that the random start does not linger."""
        decay = min(self.config.ema, self.state.step / (self.state.step + 9))
        for name, tensor in self.inner.state_dict().items():
            kept = self.shadows["ema"][name]
            if tensor.is_floating_point():
                kept.lerp_(tensor, 1 - decay)
            else:
                kept.copy_(tensor)

    # -- evaluation --------------------------------------------------------------------------------------------

    @torch.no_grad()
    def _validate(self) -> None:
        """Measure the validation loss with fixed samples and fixed noise; remember the best weights."""
        if self.watched is None:
            return
        current = self._weights()
        if self.config.ema:
            self.inner.load_state_dict(self.shadows["ema"])
        self.model.eval()
        samples = self.watched.fixed(self.config.validation_samples, self.seed)
        count = len(samples[0])
        total, size = 0.0, self.config.batch_size
        generator = torch.Generator(self.fabric.device).manual_seed(VALIDATION_SEED)
        for start in range(0, count, size):
            x, mask, *truth = (each[start : start + size].to(self.fabric.device) for each in samples)
            losses = self.model.loss(x, mask, generator, **_with_truth(truth))
            watched = next(name for name in WATCHED if name in losses)
            total += float(losses[watched]) * len(x)
        value = self.fabric.broadcast(total / count)  # one answer for all processes, or they stop apart
        state = self.state
        if not math.isfinite(value):
            raise self._diverged(state.step, "the validation loss is not finite")
        stage = ",".join(self._turns(state.step - 1))
        if watched == "error":  # a run begun when its loss was watched has another lowest value
            stage += "error"
        if state.stage != stage:
            state.stage, state.best, state.stale = stage, None, 0
        if state.best is None or value < state.best - self.config.min_delta:
            state.best, state.best_step, state.stale = value, state.step, 0
            self.shadows["best"] = self._weights()
        else:
            state.stale += 1
            if self.config.schedule == "plateau" and state.stale % self.config.plateau == 0:
                state.cuts += 1
        self.inner.load_state_dict(current)
        self._log({"step": state.step, "validation": value})

    @torch.no_grad()
    def _finish(self) -> dict[str, Any]:
        """Put the chosen weights into the model, draw the pictures and sum up."""
        chosen = self.shadows.get("best") or self.shadows.get("ema")
        if chosen:
            self.inner.load_state_dict(chosen)
        self.inner.eval().requires_grad_(requires_grad=True)
        if self.fabric.global_rank == 0:
            plots.loss_curve(self.folder)
            reconstruct: Any = getattr(self.inner, "reconstruct", None)
            if reconstruct is not None:
                x, *_ = (self.watched or self.sampler).fixed(8, self.seed)
                plots.reconstruction_grid(self.folder, x, reconstruct(x.to(self.fabric.device)).float().cpu())
        state = self.state
        images = state.step * self.config.batch_size * self.config.devices
        return {
            "steps": state.step,
            "samples": len(self.sampler),
            "best_step": state.best_step if state.best is not None else None,
            "best_validation": state.best,
            "late_gain": None if isinstance(self.inner, LearnsInTurns) else late_gain(self._validations()),
            "seconds": round(state.seconds, 1),
            "images_per_second": round(images / state.seconds, 1) if state.seconds else None,
            "device": str(self.fabric.device),
        }

    # -- files -------------------------------------------------------------------------------------------------

    def _weights(self) -> dict[str, Tensor]:
        return {name: tensor.detach().clone() for name, tensor in self.inner.state_dict().items()}

    def _save(self) -> None:
        """Write the checkpoint, but never with weights that are lost (a finite loss may have an infinite gradient)."""
        weights = self.inner.state_dict().values()
        if not all(bool(torch.isfinite(each).all()) for each in weights):
            raise self._diverged(self.state.step, "a weight is not finite")
        self.kept = self.state.step
        if self.fabric.global_rank == 0:
            checkpoint.save(self.folder, self.inner, self.adams, self.state, self.shadows)

    def _diverged(self, step: int, what: str) -> TrainingError:
        kept = (
            f"the checkpoint of step {self.kept} is kept in {self.folder}"
            if self.kept
            else "no checkpoint yet"
        )
        return TrainingError(
            f"step {step}: {what}; {kept}. Lower training.learning_rate or set training.clip=1"
        )

    def _log(self, row: dict[str, Any]) -> None:
        if self.fabric.global_rank == 0:
            with writing(self.metrics), self.metrics.open("a", encoding="utf-8") as file:
                file.write(json.dumps(row) + "\n")

    def _validations(self) -> list[tuple[int, float]]:
        """Step and validation loss of every evaluation so far."""
        if not self.metrics.is_file():
            return []
        rows = map(json.loads, self.metrics.read_text(encoding="utf-8").splitlines())
        return [(row["step"], row["validation"]) for row in rows if "validation" in row]

    def _trim_metrics(self) -> None:
        """Drop lines of steps that the checkpoint does not know (and a half-written last line)."""
        record(self.metrics)
        if not self.metrics.is_file():
            return
        kept = []
        for line in self.metrics.read_text(encoding="utf-8").splitlines():
            try:
                known = json.loads(line)["step"] <= self.state.step
            except (json.JSONDecodeError, KeyError):
                known = False
            if known:
                kept.append(line + "\n")
        write_text(self.metrics, "".join(kept))


def late_gain(validations: Sequence[tuple[int, float]]) -> float | None:
    """By what share of itself the best validation loss fell in the last fifth of the steps; None where it cannot be told.

    Not for models that learn in turns, whose losses cannot be compared from stage to stage.
    """
    steps = max((step for step, _ in validations), default=0)
    before = [loss for step, loss in validations if step <= 0.8 * steps]
    after = [loss for step, loss in validations if step > 0.8 * steps]
    if not before or not after or not min(before):
        return None
    return (min(before) - min(*before, *after)) / abs(min(before))


def _with_truth(truth: Sequence[Tensor]) -> dict[str, Tensor]:
    """The keywords of models that learn from lesions, and from the images without them; nothing for the others."""
    return dict(zip(("lesion", "healthy"), truth, strict=False))


def _labels(data: Sequence[Volume]) -> str:
    """The label values of all lesion masks, for messages."""
    found = {
        int(value) for volume in data if (labels := volume.labels) is not None for value in np.unique(labels)
    }
    return ", ".join(map(str, sorted(found - {0}))) or "none"

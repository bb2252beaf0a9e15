"""The loop: draw, step, evaluate, save; resumable bit for bit on the CPU."""

from __future__ import annotations

import math
from contextlib import closing
from time import perf_counter
from typing import TYPE_CHECKING, Any

import torch

from aberra.batch import Batch
from aberra.capabilities import LearnsFromSimulated, LearnsInTurns, Reconstructs, TakesConditions
from aberra.errors import TrainingError
from aberra.training import checkpoint, hardware, metrics, plots, together
from aberra.training.adams import Adams
from aberra.training.ahead import ahead
from aberra.training.board import Board
from aberra.training.interrupt import held_back
from aberra.training.sampling import samplers
from aberra.training.trimming import expect_trimmable, kept

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence
    from pathlib import Path

    from torch import Generator, Tensor, nn

    from aberra.training.ahead import Batches
    from aberra.training.config import TrainingConfig
    from aberra.training.sampling import Draws
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
    workers: int | None = None,
    tensorboard: bool = False,
    progress: bool = False,
) -> dict[str, Any] | None:
    """Train a model that has a ``loss``; leaves the chosen weights in it.

    The chosen weights are those of the lowest validation loss (or error, see :data:`WATCHED`), else
    the last; moving averages where ``ema`` is on. ``folder`` gets ``checkpoint.safetensors``,
    ``metrics.jsonl``, ``loss.png`` and ``reconstructions.png``. An interrupted run goes on from its
    checkpoint; Ctrl-C is answered after the step under way.

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
        workers: threads that draw batches ahead; None chooses
            (:func:`aberra.training.ahead.enough`). What is learnt does not depend on it.
        tensorboard: write events for TensorBoard, too (:class:`aberra.training.board.Board`).
        progress: show a progress bar.

    Returns:
        Steps, best step, best validation loss, seconds, images a second, and ``late_gain``
        (see :func:`aberra.training.metrics.late_gain`). None in the further processes that several
        devices need: the first one has the weights to save.

    Raises:
        TrainingError: nothing to learn from, no lesion of a kind that the model is to tell apart,
            or loss or weights are not finite (the last good checkpoint is kept).
        ConfigError: several devices or processes for a model that cannot
            (:func:`aberra.training.together.expect_together`), ``trim`` for one whose samples have no
            loss of their own, or no TensorBoard.
    """
    run = Run(
        model,
        data,
        config,
        folder,
        validation=validation,
        dims=dims,
        size=size,
        device=device,
        seed=seed,
        workers=workers,
        tensorboard=tensorboard,
    )
    try:
        summary = run.go(progress=progress)
    finally:
        if torch.distributed.is_initialized():  # what comes now is done by the first process alone
            torch.distributed.destroy_process_group()
    return None if run.fabric.global_rank else summary


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
        workers: int | None = None,
        tensorboard: bool = False,
    ) -> None:
        self.config = config
        self.folder = folder
        self.seed = seed
        self.workers = workers
        expect_trimmable(model, config)
        self.sampler, self.watched = samplers(model, data, validation, config, dims=dims, size=size)
        self.told = isinstance(model, TakesConditions) and bool(model.covariates)
        self.beside = isinstance(model, LearnsFromSimulated)
        self.fabric = hardware.fabric(model, config, device)
        self.inner = hardware.place(model, self.fabric.device, dims)
        self.adams = Adams(self.inner, config)
        folder.mkdir(parents=True, exist_ok=True)
        self.metrics = folder / "metrics.jsonl"
        self.state, self.shadows = self._resumed()
        self.kept = self.state.step
        self.board = Board(folder, self.kept) if tensorboard and self.fabric.global_rank == 0 else None
        shared = together.share_batch_norms(self.inner) if self.fabric.world_size > 1 else 0
        if not shared and hardware.compiles(self.inner, config, self.fabric.device):
            hardware.compile_networks(self.inner)
        self.model: Any
        self.model, *wrapped = self.fabric.setup(self.inner, *self.adams.each.values())
        self.optimizers = dict(zip(self.adams.each, wrapped, strict=True))
        self.model.mark_forward_method("loss")
        epoch = math.ceil(len(self.sampler) / (config.batch_size * config.accumulate))
        self.every = config.validate_every or min(500, max(50, epoch))

    def _resumed(self) -> tuple[checkpoint.Progress, dict[str, dict[str, Tensor]]]:
        """Where the checkpoint left off, or the beginning; with the sets of weights kept beside the
        current ones.
        """
        state, shadows = checkpoint.load(self.folder, self.inner, self.adams) or (checkpoint.Progress(), {})
        shadows = {
            name: {key: tensor.to(self.fabric.device) for key, tensor in weights.items()}
            for name, weights in shadows.items()
        }
        if self.config.ema and "ema" not in shadows:
            shadows["ema"] = self._weights()
        if self.fabric.global_rank == 0:
            metrics.trim(self.metrics, state.step)
        return state, shadows

    # -- the loop ----------------------------------------------------------------------------------

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
            held_back(alone=self.fabric.world_size == 1) as interrupted,
            closing(self.batches()) as batches,
        ):
            task = bar.add_task("", total=self.config.steps, completed=first, speed="", loss="")
            while self.state.step < self.config.steps and not self._stopped():
                loss = self._step(batches)
                self.state.seconds = before + perf_counter() - started
                if self.config.minutes:  # or processes would stop apart
                    self.state.seconds = self.fabric.broadcast(self.state.seconds)
                if self.state.step % self.every == 0 or self.state.step == self.config.steps:
                    self._validate()
                if self.state.step % self.config.checkpoint_every == 0:
                    self._save()
                if loss is not None:
                    speed = (
                        f"{self._images(self.state.step - first) / (perf_counter() - started):.0f} images/s"
                    )
                    bar.update(task, completed=self.state.step, speed=speed, loss=f"loss {loss:.4g}")
                if interrupted():
                    self._save()
                    bar.console.print(
                        f"interrupted at step {self.state.step}; run the same command with --resume to go on"
                    )
                    raise KeyboardInterrupt
        self._save()
        return self._finish()

    def batches(self) -> Batches:
        """The batches of all steps to come, in the order in which the turns take them."""
        return ahead(self._drawn, self._seeds(), self.workers)

    def _drawn(self, seed: Sequence[int]) -> tuple[Tensor, ...]:
        """This process's share of a batch, which all draw alike; for CUDA in pinned memory, from
        where it is sent while the GPU computes.
        """
        batch, device = self.sampler.draw(seed, self.config.batch_size), self.fabric.device
        each = self.config.batch_size // self.fabric.world_size
        if self.fabric.world_size > 1:
            batch = tuple(part[self.fabric.global_rank * each :][:each] for part in batch)
        if device.type != "cuda":
            return batch
        with torch.cuda.device(device):  # a new thread's is the first
            return tuple(part.pin_memory() for part in batch)

    def _seeds(self) -> Iterator[Sequence[int]]:
        """Of the batches: seed of the run, step, 0, and where there is more than one batch a step its
        number.
        """
        for step in range(self.state.step, self.config.steps):
            for turn in range(len(self._turns(step))):
                for part in range(self.config.accumulate):
                    numbers = [turn, part] if part else [turn] if turn else []
                    yield [self.seed, step, 0, *numbers]

    def _step(self, batches: Batches) -> float | None:
        """Take one step (every player's turn of it, for models that learn in turns); return the
        loss where it was logged.
        """
        config, step = self.config, self.state.step
        rate = config.rate(step, self.state.cuts, self._spent())
        self.adams.set_rate(rate)
        logged = (
            (step + 1) % config.log_every == 0
            or (step + 1) % config.checkpoint_every == 0
            or step + 1 == config.steps
        )
        # looking at a loss makes the CPU wait for an accelerator, so there only logged steps are
        # looked at
        looked = logged or step == 0 or self.fabric.device.type == "cpu"
        values: dict[str, float] = {}
        for index, turn in enumerate(self._turns(step)):
            losses = self._turn(index, turn, batches)
            prefix = f"{turn}_" if turn else ""
            if looked:
                losses = self._of_all(losses)
                values |= {f"{prefix}{name}": float(value) for name, value in losses.items()}
                values["loss"] = float(losses["loss"])
            if any(not math.isfinite(value) for value in values.values()):
                raise self._diverged(step + 1, f"the loss is not finite ({values})")
            self.optimizers[turn].step()
        self.state.step += 1
        if config.ema:
            self._average()
        if logged:
            self.state.losses = values
            self._log({"step": self.state.step, "rate": rate, **values})
            return values["loss"]
        return None

    def _of_all(self, losses: dict[str, Tensor]) -> dict[str, Tensor]:
        """Mean losses of all processes: those of the whole batch."""
        if self.fabric.world_size == 1:
            return losses
        means: dict[str, Tensor] = self.fabric.all_reduce(losses, reduce_op="mean")
        return means

    def _turns(self, step: int) -> Sequence[str]:
        """Whose turns a step has; one nameless turn for models with one loss."""
        if isinstance(self.inner, LearnsInTurns):
            return self.inner.turns(step / self.config.steps)
        return ("",)

    def _turn(self, index: int, turn: str, batches: Batches) -> dict[str, Tensor]:
        """Leave the gradients of one turn in the parameters that move in it; return its mean
        losses, without graph.
        """
        parts, optimizer = self.config.accumulate, self.optimizers[turn]
        self.model.train()
        if isinstance(self.inner, LearnsInTurns):
            moving = {id(parameter) for parameter in self.inner.players()[turn]}
            for parameter in self.inner.parameters():
                parameter.requires_grad_(id(parameter) in moving)
        means: dict[str, Tensor] = {}
        for part in range(parts):
            batch = self._trimmed(next(batches))
            generator = self._generator(self.state.step, self.fabric.global_rank, index, part)
            with self.fabric.no_backward_sync(self.model, enabled=part + 1 < parts):
                losses = self._losses(batch, generator, turn)
                if not part:
                    optimizer.zero_grad()
                self.fabric.backward(losses["loss"] / parts)
            for name, value in losses.items():
                means[name] = means.get(name, 0) + value.detach() / parts
        if self.config.clip:
            self.fabric.clip_gradients(self.model, optimizer, max_norm=self.config.clip)
        return means

    @torch.no_grad()
    def _trimmed(self, batch: Sequence[Tensor]) -> Sequence[Tensor]:
        """A batch without the samples that are learnt worst; each is asked alone, without dropout and
        with the same noise, so that a loss is the sample's and not chance's.
        """
        config, step = self.config, self.state.step
        if not config.trim or step < config.trim_after * config.steps:
            return batch
        self.model.eval()
        alone = ([part[index : index + 1] for part in batch] for index in range(len(batch[0])))
        rank = self.fabric.global_rank
        losses = [self._losses(sample, self._generator(step, rank))["loss"] for sample in alone]
        self.model.train()
        chosen = kept(torch.stack(losses).float().cpu(), config.trim)
        return [part[chosen] for part in batch]

    def _losses(self, samples: Sequence[Tensor], generator: Generator, turn: str = "") -> dict[str, Tensor]:
        """The model's losses of samples, on its device."""
        x, mask, *truth = (part.to(self.fabric.device, non_blocking=True) for part in samples)
        simulated = truth.pop() if self.beside and truth else None
        covariates = truth.pop() if self.told else None
        if x.ndim == 4:
            x = x.contiguous(memory_format=torch.channels_last)
        lesion, healthy = (*truth, None, None)[:2]
        step = self.state.step
        progress = step / self.config.steps
        batch = Batch(x, mask, generator, lesion, healthy, turn, step, progress, covariates, simulated)
        with self.fabric.autocast():  # on one device the wrapper leaves all but `forward` in full precision
            losses: dict[str, Tensor] = self.model.loss(batch)
        return losses

    def _generator(self, step: int, rank: int, turn: int = 0, part: int = 0) -> Generator:
        """Seed all randomness of a batch, dropout's global generator included."""
        number = ((self.seed * 1_000_003 + step) * 64 + rank + turn * 2**48 + part * 2**56) % 2**63
        torch.manual_seed(number)
        return torch.Generator(self.fabric.device).manual_seed(number)

    def _images(self, steps: int) -> int:
        """Samples that all processes see in so many steps."""
        return steps * self.config.batch_size * self.config.accumulate

    def _spent(self) -> float:
        """Share of the training time that is over; 0 where it has no limit."""
        return self.state.seconds / (60 * self.config.minutes) if self.config.minutes else 0.0

    def _stopped(self) -> bool:
        config, state = self.config, self.state
        return self._spent() >= 1 or (bool(config.patience) and state.stale >= config.patience)

    @torch.no_grad()
    def _average(self) -> None:
        """Update the moving average; its decay rises from 0.1 so that the random start does not
        linger.
        """
        decay = min(self.config.ema, self.state.step / (self.state.step + 9))
        for name, tensor in self.inner.state_dict().items():
            kept = self.shadows["ema"][name]
            if tensor.is_floating_point():
                kept.lerp_(tensor, 1 - decay)
            else:
                kept.copy_(tensor)

    # -- evaluation --------------------------------------------------------------------------------

    @torch.no_grad()
    def _validate(self) -> None:
        """Measure the validation loss with fixed samples and fixed noise; remember the best
        weights.
        """
        if self.watched is None:
            return
        current = self._weights() if self.config.ema else None
        if current:
            self.inner.load_state_dict(self.shadows["ema"])
        self.model.eval()
        samples = self.watched.fixed(self.config.validation_samples, self.seed)
        count = len(samples[0])
        total, size = 0.0, self.config.batch_size
        generator = torch.Generator(self.fabric.device).manual_seed(VALIDATION_SEED)
        for start in range(0, count, size):
            batch = [part[start : start + size] for part in samples]
            losses = self._losses(batch, generator)
            watched = next(name for name in WATCHED if name in losses)
            total += float(losses[watched]) * len(batch[0])
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
        if current:
            self.inner.load_state_dict(current)
        self._log({"step": state.step, "validation": value})

    @torch.no_grad()
    def _finish(self) -> dict[str, Any]:
        """Put the chosen weights into the model; the first process draws the pictures and sums up."""
        hardware.forget_compiled(self.inner)
        together.forget_shared(self.inner)
        chosen = self.shadows.get("best") or self.shadows.get("ema")
        if chosen:
            self.inner.load_state_dict(chosen)
        self.inner.eval().requires_grad_(requires_grad=True)
        if self.fabric.global_rank:
            return {}
        plots.loss_curve(self.folder)
        if isinstance(self.inner, Reconstructs):
            x, *_ = (self.watched or self.sampler).fixed(8, self.seed)
            restored = self.inner.reconstruct(x.to(self.fabric.device))
            plots.reconstruction_grid(self.folder, x, restored.float().cpu())
        if self.board is not None:
            self.board.finish(self.state.step)
        state = self.state
        images = self._images(state.step)
        return {
            "steps": state.step,
            "samples": len(self.sampler),
            "best_step": state.best_step if state.best is not None else None,
            "best_validation": state.best,
            "late_gain": None
            if isinstance(self.inner, LearnsInTurns)
            else metrics.late_gain(metrics.validations(self.metrics)),
            "seconds": round(state.seconds, 1),
            "images_per_second": round(images / state.seconds, 1) if state.seconds else None,
            "device": str(self.fabric.device),
        }

    # -- files -------------------------------------------------------------------------------------

    def _weights(self) -> dict[str, Tensor]:
        return {name: tensor.detach().clone() for name, tensor in self.inner.state_dict().items()}

    def _save(self) -> None:
        """Write the checkpoint, but never with weights that are lost (a finite loss may have an
        infinite gradient).
        """
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
            metrics.add(self.metrics, row)
        if self.board is not None:
            self.board.add(row)

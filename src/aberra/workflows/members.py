"""The members of an ensemble, each a fit of its own, beside each other where there are cores."""

from __future__ import annotations

import pickle  # between a process and the ones that it starts; no file is one
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from typing import TYPE_CHECKING, Any

from aberra.capabilities import HasMembers
from aberra.devices import choose_device, cores
from aberra.errors import AberraError, TrainingError

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence
    from pathlib import Path

    from aberra.cohort import Cohort
    from aberra.detector import Detector

EACH = 2
"""Cores for a member: a small network gains little from more."""

REFUSED = 3
"""Exit code of a process whose last line says what was wrong."""

CHILD = "from aberra.workflows.members import answer; answer()"


def learn_members(
    fit: Callable[..., Detector],
    detector: Detector,
    cohort: Cohort,
    run: Path,
    *,
    seed: int,
    device: str,
    cache: Path,
    workers: int,
    tensorboard: bool,
    progress: bool,
) -> dict[str, Any]:
    """Fit every member of an ensemble and put the weights together.

    What is finished is kept, and what was interrupted goes on, as of any fit.

    Args:
        fit: :func:`aberra.workflows.fit.fit`.
        detector: with an ensemble that is not used yet; gets the members' weights.
        cohort: with splits.
        run: the members' detectors are ``run/member-0`` and so on.
        seed: the ensemble's; member k of K has K·seed + k.
        device: as of a fit. On a CPU of 4 cores or more members learn beside each other.
        cache: of prepared cases, which the members share.
        workers: threads that prepare cases.
        tensorboard: each member writes events for TensorBoard.
        progress: show progress bars, where members learn one after the other.

    Returns:
        The facts of the training, as of any fit (:func:`together`).

    Raises:
        TrainingError: a member could not be fitted.
    """
    ensemble = detector.model
    assert isinstance(ensemble, HasMembers)  # noqa: S101 - asked for such only
    count = len(ensemble.members())
    method = replace(
        detector.method, model=ensemble.member_config(), score={"name": "residual"}, case={}, postprocess={}
    )
    jobs = [
        {
            "method": method, "cohort": cohort, "out": run / f"member-{index}",
            "channels": list(detector.channels), "seed": count * seed + index, "resume": True,
            "device": device, "cache": cache, "workers": workers, "calibrated": False, "tensorboard": tensorboard,
            "progress": progress,
        }
        for index in range(count)
    ]  # fmt: skip
    beside = at_once(count, cores()) if choose_device(device).type == "cpu" else 1
    if beside > 1:
        apart(fit, jobs, beside)
    facts: list[Mapping[str, Any]] = []
    for member, job in zip(ensemble.members(), jobs, strict=True):
        learnt = fit(**job)  # what was learnt apart is only loaded
        member.load_state_dict(learnt.model.state_dict())
        facts.append(learnt.facts)
    found = {"members": count, "member_seeds": [job["seed"] for job in jobs]}
    return found | together(facts)


WHOLE: dict[str, Callable[[list[Any]], Any]] = {
    "training_steps": max, "training_samples": max, "training_late_gain": max,
    "training_seconds": lambda each: round(sum(each), 1), "training_device": lambda each: each[0],
}  # fmt: skip
"""What the ensemble's training is, of those of its members."""


def together(facts: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
    """The facts of an ensemble's training from those of its members': the most steps, all seconds,
    the greatest late gain, and the best validation loss of each.
    """
    each = {key: [own[key] for own in facts if key in own] for key in (*WHOLE, "training_best_validation")}
    losses = each.pop("training_best_validation")
    found = {key: WHOLE[key](values) for key, values in each.items() if values}
    return found | ({"member_best_validation": losses} if losses else {})


def at_once(members: int, cores: int) -> int:
    """How many members learn beside each other; 1 where there are no cores for two.

    Examples:
        >>> from aberra.workflows.members import at_once
        >>> [at_once(5, cores) for cores in (1, 2, 4, 64)]
        [1, 1, 2, 5]
    """
    return max(1, min(members, cores // EACH))


def apart(function: Callable[..., Any], jobs: Sequence[dict[str, Any]], beside: int) -> None:
    """Call a function of a module with each of some sets of arguments, in processes of their own.

    Raises:
        TrainingError: says which job failed, and why.
        KeyboardInterrupt: after Ctrl-C, which the processes get, too.
    """
    threads = max(1, cores() // beside)

    def one(job: dict[str, Any]) -> subprocess.CompletedProcess[bytes]:
        order = pickle.dumps((function, {**job, "progress": False}, threads))
        command = [sys.executable, "-c", CHILD]
        return subprocess.run(command, input=order, capture_output=True, check=False)  # noqa: S603 - our own

    pool = ThreadPoolExecutor(beside, thread_name_prefix="aberra-member")
    try:
        ended = list(pool.map(one, jobs))
    finally:
        pool.shutdown(cancel_futures=True)
    for index, process in enumerate(ended):
        if process.returncode == REFUSED:
            raise TrainingError(f"member {index}: {_last_line(process.stdout)}")
        if process.returncode:
            raise TrainingError(
                f"member {index}: its process ended with {process.returncode}: {_last_line(process.stderr)}"
            )


def answer() -> None:
    """Do what another process asks on standard input, and end."""
    import torch

    function, options, threads = pickle.load(sys.stdin.buffer)  # noqa: S301 - of the process that started it
    torch.set_num_threads(threads)
    try:
        function(**options)
    except AberraError as error:
        sys.stdout.write(str(error))
        raise SystemExit(REFUSED) from error


def _last_line(text: bytes) -> str:
    lines = text.decode(errors="replace").strip().splitlines()
    return lines[-1] if lines else "it said nothing"

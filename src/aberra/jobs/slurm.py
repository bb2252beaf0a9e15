"""An array job for Slurm: text to read, change and submit; nothing is submitted here."""

from __future__ import annotations

import shlex
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Sequence

SCRIPT = """\
#!/bin/bash
#SBATCH --job-name={name}
#SBATCH --array=1-{parts}
#SBATCH --ntasks=1
#SBATCH --cpus-per-task={cpus}{gpu}
#SBATCH --requeue
# {what}; a part that was cut short is done again by the same line and keeps what is finished.
# Add what your cluster asks for: --partition, --account, --time, --mem. Submit with sbatch.
set -euo pipefail
cd -- {place}
export OMP_NUM_THREADS="${{SLURM_CPUS_PER_TASK:-{cpus}}}"
{command} --part "$SLURM_ARRAY_TASK_ID/{parts}"
"""


def array_job(
    command: Sequence[str], parts: int, *, name: str, what: str, cpus: int = 2, gpu: bool = False
) -> str:
    """The script of an array job whose tasks do a part each.

    Args:
        command: program and arguments; ``--part I/N`` comes behind.
        parts: N, tasks of the array.
        name: of the job.
        what: the parts are of, for whoever reads the script.
        cpus: of a task.
        gpu: a task has one.

    Examples:
        >>> from aberra.jobs.slurm import array_job
        >>> script = array_job(["aberra", "detect", "flair"], 8, name="detect", what="40 cases")
        >>> print(script.splitlines()[-1])
        aberra detect flair --part "$SLURM_ARRAY_TASK_ID/8"
    """
    return SCRIPT.format(
        name=name, parts=parts, cpus=cpus, gpu="\n#SBATCH --gpus-per-task=1" if gpu else "", what=what,
        place=shlex.quote(str(Path.cwd())), command=shlex.join(command),
    )  # fmt: skip

"""Where a submission runs: in a container without network, or as a plain process."""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import sys
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from tempfile import TemporaryFile
from time import perf_counter
from typing import TYPE_CHECKING, Literal

from aberra.errors import ConfigError, InputError
from aberra.files import config_hash
from aberra.mood.package import WORKSPACE

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

Choice = Literal["auto", "docker", "podman", "process"]
ENGINES = ("docker", "podman")
ASK_S = 30
"""Seconds that an engine has to say whether it is there."""


@dataclass(frozen=True, kw_only=True)
class Ended:
    """How a run ended.

    Attributes:
        seconds: wall time, starting included.
        code: exit code; None where it was killed at the limit.
        log: what it wrote to standard output and error.
    """

    seconds: float
    code: int | None
    log: str


def _namespace() -> Sequence[str]:
    """What a command begins with to have no network; nothing where that is not allowed."""
    prefix = ("unshare", "--map-root-user", "--net")
    try:
        done = subprocess.run([*prefix, "true"], capture_output=True, timeout=ASK_S, check=False)  # noqa: S603
    except (OSError, subprocess.TimeoutExpired):
        return ()
    return prefix if done.returncode == 0 else ()


@dataclass(frozen=True, kw_only=True)
class Process:
    """The entry scripts under this Python, in a network namespace of their own where the system lets
    us.

    Attributes:
        folder: the submission.
    """

    folder: Path
    name: str = "process"
    alone: Sequence[str] = field(default_factory=_namespace)

    @property
    def network(self) -> str:
        """Whether the network was off."""
        return "off (unshare)" if self.alone else "ON: no `unshare -n` on this system"

    def prepare(self, scripts: Sequence[str]) -> None:
        """See that the entry scripts are there."""
        for script in scripts:
            if not (path := self.folder / WORKSPACE / script).is_file():
                raise InputError(f"{path}: no such script; expected a submission's folder")

    def run(self, script: str, source: Path, target: Path, limit: float) -> Ended:
        """Run an entry script on a folder, ``limit`` seconds at most."""
        path = self.folder / WORKSPACE / script
        paths = os.pathsep.join([str(Path(sys.executable).parent), os.environ.get("PATH", os.defpath)])
        command = [*self.alone, "sh", str(path), str(source), str(target)]
        return watched(command, limit, environment=os.environ | {"PATH": paths})


@dataclass(frozen=True, kw_only=True)
class Container:
    """The image that the submission's ``Dockerfile`` makes.

    Attributes:
        folder: the submission.
        name: ``docker`` or ``podman``.
    """

    folder: Path
    name: str
    network: str = "off (--network none)"

    @property
    def image(self) -> str:
        """Its tag."""
        return f"aberra-mood-{config_hash(str(self.folder.resolve()))}"

    def prepare(self, _: Sequence[str] = ()) -> None:
        """Build the image, with the network."""
        done = subprocess.run(  # noqa: S603 - the engine that was found
            [self.name, "build", "-t", self.image, str(self.folder)], capture_output=True, text=True, check=False
        )  # fmt: skip
        if done.returncode:
            raise InputError(
                f"{self.folder}: {self.name} cannot build it:\n{(done.stderr or done.stdout)[-2000:]}"
            )

    def run(self, script: str, source: Path, target: Path, limit: float) -> Ended:
        """Run an entry script on a folder, ``limit`` seconds at most."""
        called = f"{self.image}-{os.getpid()}"
        command = [
            self.name, "run", "--rm", "--name", called, "--network", "none", "-v", f"{source}:/mnt/data:ro",
            "-v", f"{target}:/mnt/pred", self.image, "sh", f"/{WORKSPACE}/{script}", "/mnt/data", "/mnt/pred",
        ]  # fmt: skip

        def kill() -> None:
            subprocess.run([self.name, "kill", called], capture_output=True, check=False)  # noqa: S603

        return watched(command, limit, kill=kill)


def choose(folder: Path, choice: Choice) -> Process | Container:
    """The runtime that was asked for; ``auto`` is the first engine that answers, else a process.

    Raises:
        ConfigError: the engine does not answer.
    """
    if choice == "process":
        return Process(folder=folder)
    for engine in ENGINES if choice == "auto" else (choice,):
        if _answers(engine):
            return Container(folder=folder, name=engine)
    if choice == "auto":
        return Process(folder=folder)
    raise ConfigError(f"{choice}: not installed, or its service is not running; as in --runtime process")


def _answers(engine: str) -> bool:
    """Whether an engine is installed and its service runs."""
    if shutil.which(engine) is None:
        return False
    try:
        done = subprocess.run([engine, "info"], capture_output=True, timeout=ASK_S, check=False)  # noqa: S603
    except (OSError, subprocess.TimeoutExpired):
        return False
    return done.returncode == 0


def watched(
    command: Sequence[str],
    limit: float,
    *,
    environment: dict[str, str] | None = None,
    kill: Callable[[], None] = lambda: None,
) -> Ended:
    """Run a command in a session of its own; it and all that it started are killed at the limit, and
    where we are interrupted.
    """
    began = perf_counter()
    with TemporaryFile() as output:
        process = subprocess.Popen(  # noqa: S603 - the submission's own script
            command, stdin=subprocess.DEVNULL, stdout=output, stderr=output, start_new_session=True, env=environment
        )  # fmt: skip
        code: int | None = None
        try:
            code = process.wait(limit)
        except subprocess.TimeoutExpired:
            pass
        finally:
            if code is None:
                kill()
            with suppress(ProcessLookupError):  # what it left behind goes, too
                os.killpg(process.pid, signal.SIGKILL)
            process.wait()
        seconds = perf_counter() - began
        output.seek(0)
        return Ended(seconds=seconds, code=code, log=output.read().decode(errors="replace"))

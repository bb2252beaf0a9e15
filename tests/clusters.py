"""A Slurm of one machine, and a cluster of Ray of two nodes, each begun for a test on the loopback."""

from __future__ import annotations

import os
import pwd
import shutil
import signal
import socket
import subprocess
import sys
import time
from contextlib import ExitStack, contextmanager, suppress
from importlib.util import find_spec
from pathlib import Path
from tempfile import TemporaryDirectory

import pytest

from archives import free_port

NEEDED = ("munged", "slurmctld", "slurmd", "sbatch")
PATHS = os.pathsep.join(["/usr/sbin", "/usr/bin", os.environ.get("PATH", "")])
SLURM = None not in [shutil.which(each, path=PATHS) for each in NEEDED]
RAY = find_spec("ray") is not None
WAIT = 120
"""Seconds for a part of a cluster to answer, on a busy machine."""

USER = pwd.getpwuid(os.getuid()).pw_name

CONFIGURATION = """\
ClusterName=test
SlurmctldHost={host}(127.0.0.1)
SlurmctldPort={ports[0]}
SlurmdPort={ports[1]}
SlurmUser={user}
SlurmdUser={user}
AuthType=auth/munge
AuthInfo=socket={folder}/munge.socket
StateSaveLocation={folder}/state
SlurmdSpoolDir={folder}/spool
SlurmctldPidFile={folder}/slurmctld.pid
SlurmdPidFile={folder}/slurmd.pid
ProctrackType=proctrack/pgid
TaskPlugin=task/none
JobRequeue=1
NodeName={host} NodeAddr=127.0.0.1 CPUs={cpus} State=UNKNOWN
PartitionName=all Nodes={host} Default=YES MaxTime=INFINITE State=UP
"""


class Slurm:
    """Controller and one node; ``sbatch`` and the like are called by :meth:`say`."""

    def __init__(self, folder):
        self.folder = folder
        self.environment = os.environ | {"SLURM_CONF": str(folder / "slurm.conf"), "PATH": PATHS}

    def say(self, *arguments, **options):
        """What a command of Slurm's prints."""
        return subprocess.run(
            list(map(str, arguments)), env=self.environment, check=True, capture_output=True, text=True,
            timeout=WAIT, **options,
        ).stdout  # fmt: skip

    def finished(self):
        """Wait until nothing is waiting or running."""
        until(lambda: not self.say("squeue", "--noheader").strip(), self.folder)


@contextmanager
def slurm():
    """Start one; end it, and whatever it still runs."""
    with TemporaryDirectory(prefix="slurm") as name, ExitStack() as stack:
        found = Slurm(folder := Path(name))
        folder.chmod(0o755)  # else munged refuses it
        for each in ("state", "spool"):
            (folder / each).mkdir()
        key = folder / "munge.key"
        key.write_bytes(os.urandom(128))
        key.chmod(0o600)
        (folder / "slurm.conf").write_text(
            CONFIGURATION.format(
                host=socket.gethostname().split(".")[0],
                user=USER,
                ports=(free_port(), free_port()),
                folder=folder,
                cpus=os.cpu_count(),
            )
        )
        munge = [
            f"--{each}={folder}/munge.{each}" for each in ("socket", "pid-file", "log-file", "seed-file")
        ]
        for command in (
            ["munged", "--foreground", "--force", f"--key-file={key}", *munge],
            ["slurmctld", "-D", "-i"],
            ["slurmd", "-D"],
        ):
            stack.enter_context(
                _program([shutil.which(command[0], path=PATHS), *command[1:]], folder, found.environment)
            )
        expect_started(lambda: "idle" in found.say("sinfo", "--noheader", "--format=%T"), folder)
        yield found
        found.say("scancel", f"--user={USER}")


@contextmanager
def ray_cluster(**environment):
    """Two nodes of a core each; the address of the client server, as ``HOST:PORT``."""
    gcs, client = free_port(), free_port()
    start = [sys.executable, "-c", "from ray.scripts.scripts import main; main()", "start", "--block", "--num-cpus=1", "--disable-usage-stats"]  # fmt: skip
    # sockets have short paths
    with TemporaryDirectory(prefix="ray", ignore_cleanup_errors=True) as name, ExitStack() as stack:
        folder = Path(name)
        head = [f"--port={gcs}", "--head", f"--ray-client-server-port={client}", "--include-dashboard=false", f"--temp-dir={folder}/s"]  # fmt: skip
        for number, arguments in enumerate([head, [f"--address=127.0.0.1:{gcs}"]], 1):
            stack.enter_context(_program([*start, *arguments], folder, os.environ | environment))
            expect_started(lambda number=number: _saying("Ray runtime started", folder) == number, folder)
        yield f"127.0.0.1:{client}"


@contextmanager
def _program(command, folder, environment):
    """A program that runs until the end of the block; what it says is in a file of the folder."""
    with (folder / f"{time.monotonic_ns()}.out").open("wb") as told:
        process = subprocess.Popen(
            command, env=environment, stdout=told, stderr=subprocess.STDOUT, start_new_session=True
        )
    try:
        yield process
    finally:
        os.killpg(process.pid, signal.SIGTERM)
        with suppress(subprocess.TimeoutExpired):
            process.wait(10)
        with suppress(ProcessLookupError):
            os.killpg(process.pid, signal.SIGKILL)
        process.wait()


def _saying(words, folder):
    """How many programs have said it."""
    return sum(words in path.read_text(errors="replace") for path in folder.glob("*.out"))


def expect_started(holds, folder):
    """Wait for the programs; where this machine does not let them run, the test is skipped and says
    what they said.
    """
    try:
        until(holds, folder)
    except TimeoutError as error:
        pytest.skip(f"does not start here: {error}")


def until(holds, folder):
    """Wait for something; where it does not come, show what the programs have said."""
    end = time.monotonic() + WAIT
    while True:
        with suppress(subprocess.SubprocessError, FileNotFoundError):
            if holds():
                return
        if time.monotonic() > end:
            told = {path.name: path.read_text(errors="replace")[-2000:] for path in folder.glob("*.out")}
            raise TimeoutError(str(told))
        time.sleep(0.3)

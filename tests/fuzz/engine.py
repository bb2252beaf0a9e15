"""One engine for the short fuzz run of the tests and the long one of ``scripts/fuzz``.

An input is known by (target, seed, index) and does not depend on the inputs before it. Two outcomes
are allowed: a right result, or an :class:`aberra.errors.AberraError`.
"""

from __future__ import annotations

import logging
import resource
import shutil
import signal
import warnings
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from traceback import format_exc
from zlib import crc32

import numpy as np

from aberra.errors import AberraError

SPARE = 3 << 30
"""Bytes of memory that an input may take."""

SECONDS = 20
"""Of computing that an input may take."""

NUMBERS = [0, 1, -1, 2, 127, 128, 255, 256, 32767, -32768, 65535, 2**31 - 1, -(2**31), 2**40, 2**63 - 1]
FLOATS = [0.0, -0.0, 1.0, -1.0, 1e-30, 1e30, 3.4e38, np.nan, np.inf, -np.inf, 1e-3, 1e6]
VALUES = [
    0, 1, -1, 2, 7, 10**9, 2**63, 0.5, 2.5, -0.5, 1e308, 1e-300, np.nan, np.inf, "", "abc", "auto", "none", "\x7f", "x" * 3000,
    [], [1], [8, 8], [0, 0, 0], ["a"], [[1]], {}, {"name": "x"}, {"a": {"b": 1}}, True, False,
]  # fmt: skip
WORDS = [
    "", ",", ";", "\t", "\n", "\r", '"', "'", "\0", "=", "[", "]", "{", "}", "#", ".", "..", "/", "~", "\\", "name", "case", "NaN",
    "inf", "1e999", "-1", "0", "999999999999", "true", "é", "\ufeff", "\u2028", "a.nii.gz", "vae", "x" * 300, "[[" * 50, "C:\\x",
]  # fmt: skip


class Wrong(Exception):  # noqa: N818
    """An input was taken and what came of it is not right."""


class TooLong(BaseException):
    """An input takes too long."""


@dataclass(frozen=True)
class Target:
    """What is fuzzed: files that are good, how they are changed, what reads them, and what a right
    result is.
    """

    name: str
    files: object
    change: object
    use: object
    judge: object = None


@dataclass
class Tally:
    """What came of a target's inputs."""

    accepted: int = 0
    refused: int = 0
    crashed: list = field(default_factory=list)

    @property
    def inputs(self):
        return self.accepted + self.refused + len(self.crashed)


def rng_of(target, seed, index):
    return np.random.default_rng([seed, crc32(target.encode()), index])


def run_one(target, seed, index, folder):
    """Write, change and use one input in ``folder``; returns ``accepted``, ``refused`` or a
    traceback.
    """
    rng = rng_of(target.name, seed, index)
    for name, content in target.files().items():
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_bytes(content)
    changed = target.change(rng, folder)
    try:
        with bounded(), warnings.catch_warnings():
            warnings.simplefilter("ignore")
            result = target.use(folder)
            if target.judge is not None:
                target.judge(result, changed)
    except AberraError as error:
        return "refused" if str(error).strip() else "an error without a message"
    except (Exception, TooLong):  # noqa: BLE001  (what this looks for)
        return format_exc(limit=-8)
    return "accepted"


def campaign(target, seed, indices, scratch, keep=None):
    """Run many inputs; those that crash are written to ``keep``."""
    logging.disable(logging.CRITICAL)
    tally = Tally()
    for index in indices:
        folder = Path(scratch) / target.name
        shutil.rmtree(folder, ignore_errors=True)
        folder.mkdir(parents=True)
        came = run_one(target, seed, index, folder)
        if came == "accepted":
            tally.accepted += 1
        elif came == "refused":
            tally.refused += 1
        else:
            tally.crashed.append((index, came))
            if keep is not None:
                place = Path(keep) / target.name / f"{seed}-{index}"
                shutil.copytree(folder, place, dirs_exist_ok=True)
                (place / "traceback.txt").write_text(came)
    logging.disable(logging.NOTSET)
    return tally


@contextmanager
def bounded():
    """Bound memory and computing time, where the system can."""

    def stop(*_):
        raise TooLong(f"more than {SECONDS} s")

    soft, hard = resource.getrlimit(resource.RLIMIT_AS)
    used = int(Path("/proc/self/statm").read_text().split()[0]) * resource.getpagesize()
    before = signal.signal(signal.SIGVTALRM, stop)
    resource.setrlimit(resource.RLIMIT_AS, (used + SPARE, hard))
    signal.setitimer(signal.ITIMER_VIRTUAL, SECONDS)
    try:
        yield
    finally:
        signal.setitimer(signal.ITIMER_VIRTUAL, 0)
        signal.signal(signal.SIGVTALRM, before)
        resource.setrlimit(resource.RLIMIT_AS, (soft, hard))


def pick(rng, values):
    return values[int(rng.integers(len(values)))]


def change_bytes(rng, data, head=0):
    """A few changes; ``head`` bytes at the beginning are hit more often."""
    data = bytearray(data)
    for _ in range(int(rng.integers(1, 4))):
        reach = min(head, len(data)) if head and rng.random() < 0.8 else len(data)
        at = int(rng.integers(max(1, reach)))
        way = int(rng.integers(8))
        if way == 0 and data:
            data[at % len(data)] ^= 1 << int(rng.integers(8))
        elif way == 1 and data:
            data[at % len(data)] = int(rng.integers(256))
        elif way == 2:
            del data[at : at + int(rng.integers(1, 64))]
        elif way == 3:
            data[at:at] = rng.bytes(int(rng.integers(1, 32)))
        elif way == 4:
            del data[int(rng.integers(len(data) + 1)) :]
        elif way == 5:
            kind = np.dtype(pick(rng, ["<i2", ">i2", "<i4", ">i4", "<i8", ">i8"]))
            value = np.array(pick(rng, NUMBERS)).astype(kind).tobytes()
            data[at : at + len(value)] = value
        elif way == 6:
            with np.errstate(all="ignore"):
                value = np.array(pick(rng, FLOATS)).astype(pick(rng, ["<f4", ">f4", "<f8"])).tobytes()
            at -= at % 4
            data[at : at + len(value)] = value
        else:
            data[at : at + 8] = bytes(8)
    return bytes(data)


def change_text(rng, text):
    """A few changes of characters, words and lines."""
    for _ in range(int(rng.integers(1, 4))):
        at, way = int(rng.integers(len(text) + 1)), int(rng.integers(6))
        lines = text.split("\n")
        if way == 0:
            text = text[:at] + pick(rng, WORDS) + text[at:]
        elif way == 1:
            text = text[:at] + text[at + int(rng.integers(1, 12)) :]
        elif way == 2:
            lines.insert(int(rng.integers(len(lines))), pick(rng, lines))
            text = "\n".join(lines)
        elif way == 3:
            del lines[int(rng.integers(len(lines)))]
            text = "\n".join(lines)
        elif way == 4:
            text = text.replace(
                pick(rng, [",", "\n", "=", ".", "a"]), pick(rng, WORDS), int(rng.integers(1, 4))
            )
        else:
            text = text[:at]
    return text


def change_tree(rng, tree):
    """A value, key or branch of a tree of tables changed, taken away or added."""
    places = []

    def walk(node):
        for key in node if isinstance(node, dict) else range(len(node)):
            places.append((node, key))
            if isinstance(node[key], dict | list):
                walk(node[key])

    walk(tree)
    node, key = pick(rng, places)
    way = int(rng.integers(5))
    if way <= 2:
        node[key] = pick(rng, VALUES)
    elif way == 3 or isinstance(node, list):
        del node[key]
    else:
        node[f"{key}x"] = node.pop(key)
    return tree

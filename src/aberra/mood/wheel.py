"""This aberra as a wheel, so that a submission runs the code that it was packaged with."""

from __future__ import annotations

import re
from base64 import urlsafe_b64encode
from hashlib import sha256
from importlib.metadata import PackageNotFoundError, distribution, version
from pathlib import Path
from zipfile import ZIP_DEFLATED, ZipFile, ZipInfo

import aberra
from aberra.errors import ConfigError

WHEEL = "Wheel-Version: 1.0\nGenerator: aberra\nRoot-Is-Purelib: true\nTag: py3-none-any\n"
LEFT_OUT = {"__pycache__"}


def write_wheel(folder: Path) -> Path:
    """Write ``aberra-VERSION-py3-none-any.whl`` of the running code; the same code gives the same
    bytes.

    Raises:
        ConfigError: aberra is not installed, so its metadata are not known.
    """
    try:
        own = distribution("aberra")
    except PackageNotFoundError as error:
        raise ConfigError("aberra is not installed, so it cannot be packaged; `pip install` it") from error
    root = Path(aberra.__file__).parent
    info = f"aberra-{aberra.__version__}.dist-info"
    content = {
        f"aberra/{path.relative_to(root).as_posix()}": path.read_bytes()
        for path in sorted(root.rglob("*"))
        if path.is_file() and not LEFT_OUT & {*path.parts}
    }
    for name, text in (
        ("METADATA", own.read_text("METADATA")),
        ("WHEEL", WHEEL),
        ("entry_points.txt", own.read_text("entry_points.txt")),
    ):
        content[f"{info}/{name}"] = (text or "").encode()
    lines = [f"{name},sha256={_digest(data)},{len(data)}" for name, data in content.items()]
    content[f"{info}/RECORD"] = "\n".join([*lines, f"{info}/RECORD,,", ""]).encode()
    target = folder / f"aberra-{aberra.__version__}-py3-none-any.whl"
    folder.mkdir(parents=True, exist_ok=True)
    with ZipFile(target, "w", ZIP_DEFLATED) as archive:
        for name, data in content.items():
            archive.writestr(ZipInfo(name), data, ZIP_DEFLATED)
    return target


def _digest(data: bytes) -> str:
    return urlsafe_b64encode(sha256(data).digest()).decode().rstrip("=")


def requirements() -> list[str]:
    """What aberra needs, each pinned to the version that is installed here (its public part:
    ``2.8.0+cpu`` is ``2.8.0``).
    """
    needed = distribution("aberra").requires or []
    names = [re.match(r"[\w.-]+", line) for line in needed if "extra ==" not in line]
    return [f"{name[0]}=={version(name[0]).partition('+')[0]}" for name in names if name]

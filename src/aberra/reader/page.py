"""The page a reader looks at: everything inline but the pictures, which it loads as it needs them."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

from aberra.grades import GRADES, MEDICAL
from aberra.report.template import template

if TYPE_CHECKING:
    from collections.abc import Mapping


def render_reader(content: Mapping[str, Any], *, nonce: str = "") -> str:
    """The page as HTML.

    Args:
        content: what it is given, see :meth:`aberra.reader.session.Session.content`.
        nonce: of its scripts, where a server sends it.
    """
    grades = [
        {"name": name, "meaning": meaning, "missed": name in MEDICAL} for name, meaning in GRADES.items()
    ]
    text = json.dumps({"grades": grades, **content}, allow_nan=False, separators=(",", ":"))
    return template("reader.html.j2").render(data=text.replace("<", "\\u003c"), nonce=nonce)

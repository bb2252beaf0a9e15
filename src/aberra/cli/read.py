"""``aberra read``: the page on which a reader grades findings."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

PORT = 8742


def read(
    worklist: Annotated[
        Path, typer.Argument(metavar="WORKLIST", readable=False, help="Folder that `aberra worklist` wrote.")
    ],
    reader: Annotated[
        str | None, typer.Option(help="Who reads; the grades go into grades/NAME.jsonl.", metavar="NAME")
    ] = None,
    blinded: Annotated[
        bool, typer.Option("--blinded", help="Show no score and no map, in an order of chance.")
    ] = False,
    consensus: Annotated[
        str | None,
        typer.Option(help="Two readers, as in anna,ben: show what they disagree on, and settle it."),
    ] = None,
    port: Annotated[
        int, typer.Option(min=0, max=65535, help="Of the page on 127.0.0.1; 0: a free one.")
    ] = PORT,
) -> None:
    """Serve the page on which a reader walks from finding to finding and grades; Ctrl-C ends it."""
    from aberra.console import screen, warn
    from aberra.errors import ConfigError
    from aberra.reader.server import ReaderServer
    from aberra.reader.session import CONSENSUS, Session

    if (reader is None) == (consensus is None):
        raise ConfigError(
            "give --reader NAME, or --consensus NAME,NAME to settle what two readers disagree on"
        )
    judges = [name.strip() for name in (consensus or "").split(",") if name.strip()]
    session = Session(worklist, reader or CONSENSUS, blinded=blinded, judges=judges)
    if consensus and not session.given:
        warn([f"{', '.join(judges)} agree on all that both have graded; there is nothing to settle"])
    with ReaderServer(session, port) as server:
        screen().print(f"open in a browser on this machine: {server.address}")
        screen().print(f"grades go into {session.file}; Ctrl-C ends")
        server.serve_forever()

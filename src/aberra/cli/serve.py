"""``aberra serve``, ``serve-user`` and ``serve-backup``: the triage server."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from aberra.cli.shared import Device

Data = Annotated[Path, typer.Option("--data", help="The server's folder: database, uploads and results.")]
Database = Annotated[
    str,
    typer.Option(
        "--database",
        help="SQLAlchemy URL, as postgresql+psycopg://USER@HOST/NAME; SQLite in the folder without.",
    ),
]


def serve(
    data: Data,
    database: Database = "",
    host: Annotated[str, typer.Option(help="Address to listen at.")] = "127.0.0.1",
    port: Annotated[int, typer.Option(min=1, max=65535, help="Port to listen at.")] = 8000,
    workers: Annotated[int, typer.Option(min=0, help="Processes that analyse.")] = 1,
    detector: Annotated[
        list[Path] | None,
        typer.Option(
            "--detector",
            readable=False,
            help="Folder of a detector that may be chosen. Repeatable; auto and the shipped ones without.",
        ),
    ] = None,
    tls_cert: Annotated[
        Path | None, typer.Option(help="Certificate (PEM); speaks TLS with --tls-key.")
    ] = None,
    tls_key: Annotated[Path | None, typer.Option(help="Its key (PEM).")] = None,
    trust_header: Annotated[
        str,
        typer.Option(
            help="Header in which a proxy names who has signed in, as X-Remote-User; no passwords then."
        ),
    ] = "",
    trusted_proxy: Annotated[
        list[str] | None,
        typer.Option(help="Address of a proxy whose headers count. Repeatable; 127.0.0.1 without."),
    ] = None,
    metrics_token: Annotated[
        Path | None, typer.Option(help="File with a token that may read /metrics without an account.")
    ] = None,
    max_upload_mb: Annotated[int, typer.Option(min=1, help="Largest upload.")] = 1000,
    max_unpacked_mb: Annotated[int, typer.Option(min=1, help="Largest upload when unpacked.")] = 4000,
    max_files: Annotated[int, typer.Option(min=1, help="Most files in a zip.")] = 20_000,
    device: Device = "auto",
) -> None:
    """Serve a worklist and a viewer to several readers, behind a login (pip install
    'aberra[server]').
    """
    _expect_installed()
    from aberra.console import warn
    from aberra.devices import choose_device
    from aberra.errors import ConfigError
    from aberra.files import reading
    from aberra.server.app import STATIC, VIEWER
    from aberra.server.run import serve as run
    from aberra.server.settings import MB, Limits, Settings, offered

    choose_device(device)
    if (tls_cert is None) != (tls_key is None):
        raise ConfigError("--tls-cert and --tls-key go together; give both or neither")
    token = ""
    if metrics_token is not None:
        with reading(metrics_token):
            token = metrics_token.read_text(encoding="utf-8").strip()
    if not (STATIC / VIEWER).is_file():
        warn(["the viewer is not installed, scans cannot be shown; run scripts/viewer once and start again"])
    limits = Limits(upload=max_upload_mb * MB, unpacked=max_unpacked_mb * MB, files=max_files)
    settings = Settings(
        data=data, database=database, detectors=offered(detector or []), limits=limits, trust_header=trust_header,
        trusted_proxies=tuple(trusted_proxy or ["127.0.0.1"]) if trust_header or trusted_proxy else (), metrics_token=token,
        device=device,
    )  # fmt: skip
    run(settings, host=host, port=port, workers=workers, tls_cert=tls_cert, tls_key=tls_key)


def serve_user(
    name: Annotated[str, typer.Argument(help="Letters, digits and . _ @ + -")],
    data: Data,
    database: Database = "",
    role: Annotated[
        str | None,
        typer.Option(
            help="reader, or admin, who sees everybody's readings and the audit trail; as it was, or reader, without."
        ),
    ] = None,
    password: Annotated[
        bool,
        typer.Option(
            "--password/--no-password", help="Ask for a password, twice; without, a proxy signs in."
        ),
    ] = True,
    password_file: Annotated[
        Path | None, typer.Option(help="File with the password, instead of asking.")
    ] = None,
    close: Annotated[
        bool, typer.Option("--close", help="Close the account; what it has said stays.")
    ] = False,
) -> None:
    """Add an account to a triage server, change its role or password, or close it."""
    _expect_installed()
    from aberra.console import screen
    from aberra.files import reading
    from aberra.server.accounts import put_user
    from aberra.server.database import Database as Store
    from aberra.server.settings import Settings

    word: str | None = None
    if password_file is not None:
        with reading(password_file):
            word = password_file.read_text(encoding="utf-8").rstrip("\r\n")
    elif password and not close:
        word = typer.prompt("Password", hide_input=True, confirmation_prompt=True)
    settings = Settings(data=data, database=database)
    settings.claim()
    store = Store(settings.url)
    store.migrate()
    new = put_user(store, name, role=role, password=word, active=not close)
    screen().print(f"{'added' if new else 'closed' if close else 'changed'} {name}")


def serve_backup(
    out: Annotated[Path, typer.Argument(help="The tar file; replaced whole.")],
    data: Data,
) -> None:
    """Write a triage server's database and files into one tar file, while it runs."""
    _expect_installed()
    from aberra.console import screen
    from aberra.server.backup import back_up

    screen().print(f"{out}: {back_up(data, out) / 1e6:,.1f} MB")


def _expect_installed() -> None:
    """Refuse where the extra is not installed.

    Raises:
        ConfigError: says how to.
    """
    from importlib.util import find_spec

    from aberra.errors import ConfigError

    missing = [
        name for name in ("fastapi", "uvicorn", "sqlalchemy", "alembic", "argon2") if find_spec(name) is None
    ]
    if missing:
        raise ConfigError(f"{', '.join(missing)}: not installed; run `pip install 'aberra[server]'`")

"""The command line: one thin file a command, assembled here."""

from __future__ import annotations

import os
import sys
from typing import Annotated, NoReturn

import typer

from aberra import __version__
from aberra.cli.adapt import adapt
from aberra.cli.audit import audit
from aberra.cli.benchmark import benchmark
from aberra.cli.bids import bids
from aberra.cli.brats import brats
from aberra.cli.calibrate import calibrate
from aberra.cli.demo import demo
from aberra.cli.detect import detect
from aberra.cli.detectors import detectors
from aberra.cli.doctor import doctor
from aberra.cli.edit import edit
from aberra.cli.ellipses import ellipses
from aberra.cli.evaluate import evaluate
from aberra.cli.export import export
from aberra.cli.export_scores import export_scores
from aberra.cli.findings import findings
from aberra.cli.fit import fit
from aberra.cli.import_predictions import import_predictions
from aberra.cli.methods import methods
from aberra.cli.mood import app as mood
from aberra.cli.node import node
from aberra.cli.objects import objects
from aberra.cli.phantom import phantom
from aberra.cli.read import read
from aberra.cli.report import report
from aberra.cli.serve import serve, serve_backup, serve_user
from aberra.cli.site_bias import site_bias
from aberra.cli.worklist import worklist

INTERRUPTED = 130
"""Exit code of a command that Ctrl-C ended, as shells have it."""

app = typer.Typer(
    name="aberra",
    help="Learn what healthy medical images look like and show where a scan departs from it. "
    "Research use only, not a medical device.",
    no_args_is_help=True,
    rich_markup_mode="rich",
    pretty_exceptions_show_locals=False,
    context_settings={"help_option_names": ["-h", "--help"]},
)
for command in (
    demo, phantom, ellipses, brats, doctor, site_bias, fit, calibrate, adapt, detect, bids, node, audit, edit, evaluate, objects, findings, import_predictions, benchmark,
    worklist, read, methods, detectors, report, export, export_scores, serve, serve_user, serve_backup,
):  # fmt: skip
    app.command()(command)
app.add_typer(mood)


def _version(wanted: bool) -> None:
    if wanted:
        typer.echo(f"aberra {__version__}")
        raise typer.Exit


@app.callback()
def _root(
    version: Annotated[
        bool, typer.Option("--version", callback=_version, is_eager=True, help="Print the version and leave.")
    ] = False,
) -> None:
    del version


def main() -> None:
    """Run the command line; whatever goes wrong is one message and exit code 1 (130 after Ctrl-C),
    never a traceback.
    """
    for stream in (sys.stdout, sys.stderr):
        if hasattr(stream, "reconfigure"):  # a name that the terminal cannot show is shown as escapes
            stream.reconfigure(errors="backslashreplace")
    try:
        app()
    except KeyboardInterrupt:
        _interrupted()
    except SystemExit as done:
        if done.code == INTERRUPTED:
            _interrupted()
        raise
    except BrokenPipeError:
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        sys.exit(1)
    except Exception as error:  # noqa: BLE001 - the last resort
        from aberra.console import screen, styled
        from aberra.failures import told

        screen(stderr=True).print(styled(("Error: ", "bold red"), told(error)))
        sys.exit(1)


def _interrupted() -> NoReturn:
    sys.stderr.write("interrupted; what was finished is kept\n")
    sys.exit(INTERRUPTED)

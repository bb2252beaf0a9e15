"""The loop: look, wait until a series is whole, analyse, send back.

Killed at any point, the next run goes on: what was fetched and analysed lies in the state folder, what
is sent has identifiers that depend on the result alone, and the archive is asked what it has before
anything is sent.
"""

from __future__ import annotations

import time
from contextlib import nullcontext, suppress
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from aberra.cohort import Case, Cohort
from aberra.dicom_out import FOLDER as OBJECTS
from aberra.dicom_out import listed as objects_in
from aberra.dicom_out.source import MAKER, highdicom
from aberra.errors import AberraError, ConfigError, InputError, MismatchError, NetworkError, OutputError
from aberra.failures import told
from aberra.files import discard, locked, read_json
from aberra.io import read
from aberra.io.dicom.header import Header, parse
from aberra.io.dicom.series import missing_slices, read_series
from aberra.io.dicom.stack import stack_of
from aberra.node.archive import Archive, Listed
from aberra.node.receiver import Receiver
from aberra.node.state import Known, RefusedError, State
from aberra.output import claim
from aberra.sequence import AUTO, WORDS, choose, sequence_of
from aberra.workflows.detect import Dicom, detect_cohort

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping
    from pathlib import Path

    from aberra.detector import Detector

STATE, INCOMING, WORK = "state.db", "incoming", "work"

MOST = 3
"""Analyses of a series that may be begun and end the process."""

LONGEST = 600.0
"""Seconds between tries while the archive is down."""

DERIVED = {"SEG", "SR", "OT"}
"""Modalities of what aberra sends."""


@dataclass(kw_only=True)
class Node:
    """One process behind one archive.

    Args:
        folder: of the state; one node a folder.
        archive: where series are and results go.
        detector: a detector's folder or name, or ``auto``.
        quiet: seconds without a new instance after which a series is whole.
        days: only studies of so many days are looked at; 0 for all.
        modalities: that are analysed.
        body_parts: that are analysed, beside series that do not say theirs.
        gaps: analyse series whose slice numbers have gaps, too.
        dicom: ``objects``, or ``overlay`` to send colour pictures, too.
        keep: leave scans and results in the folder when they are sent.
        device: as for ``detect``.
        receive: take series that are sent instead of looking for them at the archive.
        log: says what happens, a line each.
        clock: seconds since 1970.

    Attributes:
        channels: sequences of a study that the detector reads at once; empty where it reads one.
    """

    folder: Path
    archive: Archive
    detector: str = AUTO
    quiet: float = 60.0
    days: int = 7
    modalities: tuple[str, ...] = ("MR",)
    body_parts: tuple[str, ...] = ("BRAIN", "HEAD")
    gaps: bool = False
    dicom: Dicom = "objects"
    keep: bool = False
    device: str = "auto"
    receive: bool = False
    log: Callable[[str], None] = print
    clock: Callable[[], float] = time.time
    channels: tuple[str, ...] = field(default=(), init=False)
    _detectors: dict[str, Detector] = field(default_factory=dict, init=False)

    def run(
        self,
        *,
        once: bool = False,
        every: float = 30.0,
        listen: tuple[str, int, str] | None = None,
        again: bool = False,
    ) -> int:
        """Look and work until Ctrl-C, or once.

        Args:
            once: one look, and all that is ready.
            every: seconds between looks.
            listen: host, port and title of the receiver.
            again: first let all series wait that were refused or have failed.

        Returns:
            How many series failed.

        Raises:
            OutputError: the folder is another's, or another node is at work in it.
            ConfigError: a library is not installed, or the detector reads several channels that no
                header tells.
            NetworkError: the port cannot be had; with ``once``, the archive does not answer.
        """
        highdicom()
        self.channels = self._expected()
        claim(self.folder, "node")
        with locked(self.folder, wait=False) as held:
            if not held:
                raise OutputError(
                    f"{self.folder}: another node is at work here; choose another folder, or stop it"
                )
            self.state = State(self.folder / STATE)
            receiver = self.receiver = Receiver(self.folder / INCOMING) if self.receive else None
            try:
                self._sweep()
                if again:
                    self.log(f"{self.state.again()} series that were refused or have failed wait again")
                if once:
                    return self.turn()
                with receiver.listening(*listen) if receiver and listen else nullcontext():
                    self._go_on(every)
            finally:
                self.state.close()
        return 0

    def _expected(self) -> tuple[str, ...]:
        """Channels of a detector that reads several, else none."""
        names = () if self.detector == AUTO else tuple(self._loaded(self.detector).channels)
        if len(names) < 2:
            return ()
        if unknown := [name for name in names if name not in WORDS]:
            raise ConfigError(
                f"{self.detector}: reads {', '.join(names)}; which series of a study is {unknown[0]} cannot be told, only {', '.join(WORDS)}"
            )
        return names

    def _go_on(self, every: float) -> None:
        """Turn after turn; while the archive is down, at growing intervals."""
        pause = every
        while True:
            try:
                self.turn()
                if pause > every:
                    self.log("the archive answers again")
                pause = every
            except NetworkError as error:
                pause = min(2 * pause, max(LONGEST, every))
                self.log(f"{error}; next try in {pause:.0f} s")
            time.sleep(pause)

    def turn(self) -> int:
        """Look once and do what is ready; returns how many series failed.

        Raises:
            NetworkError: the archive does not answer; nothing is lost.
        """
        for listed in self._look():
            if self.state.see(listed, self.clock()):
                self.log(f"{listed}: seen")
            elif self.receiver is not None and self.state.is_own(listed.series):
                self._tidy(listed.series)  # an archive that sends everything
        failed = 0
        for known in self.state.ready(self.clock(), self.quiet):
            failed += self._handle(known)
        return failed

    def _look(self) -> list[Listed]:
        if self.receiver is not None:
            return self.receiver.series()
        since = time.strftime("%Y%m%d", time.localtime(self.clock() - 86400 * self.days)) if self.days else ""
        return self.archive.series(since)

    def _handle(self, known: Known) -> bool:
        """Bring one series to an end; returns whether it failed.

        Raises:
            NetworkError: the archive does not answer; it is tried again.
        """
        listed, series = known.listed, known.listed.series
        work = self.folder / WORK / series
        try:
            self._check(listed)
            if known.begun >= MOST:
                note = f"{known.begun} analyses were begun and never ended (out of memory?)"
                self.state.settle(series, "failed", note)
                self.log(f"{listed}: failed: {note}")
                return True
            self.state.begin(series)
            claim(work, "node")
            scan = self._fetched(listed, work)
            if scan is None:
                self.state.rest(series)
                return False
            gathered = self._gathered(listed, scan)
            if gathered is None:
                return False
            first, *others = (each for each, _ in gathered.values())
            result = self._analysed(first, {name: place for name, (_, place) in gathered.items()})
            self._send(first, self.folder / WORK / first.series / "results" / first.series / OBJECTS)
        except NetworkError:
            self.state.rest(series)
            raise
        except RefusedError as error:
            self.state.settle(series, "refused", str(error))
            self.log(f"{listed}: refused: {error}")
            self._tidy(series, incoming=error.final)
            return False
        except Exception as error:  # noqa: BLE001 - one series never ends the node
            note = told(error, self.folder, series)
            self.state.settle(series, "failed", note)
            self.log(f"{listed}: failed: {note}")
            return True
        for channel, (each, _) in gathered.items():
            note = result if each is first else f"read with {first}"
            self.state.settle(each.series, "done", f"{channel}: {note}" if others else note)
            self._tidy(each.series)
        self.log(f"{first}: sent: {result}")
        return False

    def _check(self, listed: Listed) -> None:
        """Refuse what an archive's list is enough to refuse."""
        if listed.modality not in self.modalities:
            kinds = ", ".join(self.modalities)
            raise RefusedError(
                f"modality {listed.modality or 'unknown'}; this node takes {kinds}", final=True
            )
        if listed.body_part and listed.body_part.upper() not in self.body_parts:
            parts = ", ".join(self.body_parts)
            raise RefusedError(f"body part {listed.body_part}; this node takes {parts}", final=True)

    def _fetched(self, listed: Listed, work: Path) -> Path | None:
        """The whole series as a folder; None where it has changed, so that it has to wait."""
        now = self.archive.look(listed.study, listed.series)
        if now is None and self.receiver is None:
            raise RefusedError("is not in the archive any more")
        expected = listed.count if now is None else now.count
        if self.receiver is None and expected != listed.count:
            self.state.see(now or listed, self.clock())
            self.log(f"{listed}: {expected} instances now; waits")
            return None
        if (
            self.receiver is not None
            and listed.count >= expected
            and (self.receiver.folder / listed.series).is_dir()
        ):
            scan = self.receiver.folder / listed.series
        else:
            scan = work / "series"
            if len(list(scan.glob("*.dcm"))) != expected:
                discard(scan)
                got = self.archive.fetch(listed, scan)
                if got != expected:
                    discard(scan)
                    raise InputError(f"{self.archive.url}: gave {got} of {expected} instances of {listed}")
        self._check_header(scan)
        return scan

    def _check_header(self, scan: Path) -> None:
        """Refuse what only the slices tell: half a series, another body part, aberra's own."""
        first = next(iter(sorted(scan.glob("*.dcm"))))
        header = Header(parse(first, whole=False), first)
        if header.text("Manufacturer") == MAKER and header.text("Modality") in DERIVED:
            raise RefusedError("was made by aberra", final=True)
        self._check(
            Listed(
                series="",
                study="",
                count=0,
                modality=header.text("Modality"),
                body_part=header.text("BodyPartExamined"),
            )
        )
        try:
            series = read_series(scan, whole=False)
            stack_of(scan, series)
        except InputError as error:
            raise RefusedError(str(error).replace(str(scan), "the series")) from error
        if not self.gaps and (missing := missing_slices(series.slices)):
            raise RefusedError(f"half a series, until more of it comes: {missing[0]}")

    def _gathered(self, listed: Listed, scan: Path) -> dict[str, tuple[Listed, Path]] | None:
        """Series and folder of every channel, in the detector's order; None where the study has not
        all of them yet, which the last one finds.

        Raises:
            RefusedError: the series is none of the channels, or another one is the same.
        """
        if not self.channels:
            return {"image": (listed, scan)}
        guess = sequence_of(read(scan))
        own, why = (guess.name, f" ({guess.why})") if guess else ("of an unknown sequence", "")
        if own not in self.channels:
            raise RefusedError(f"is {own}{why}; the detector reads {', '.join(self.channels)}")
        held = {**self.state.channels(listed.study)}
        if held.setdefault(own, listed).series != listed.series:
            raise RefusedError(f"is {own}{why}, as another series of its study, which came first")
        found = {own: (listed, scan)}
        for name in self.channels:
            if name != own and name in held and (place := self._fetched_again(held[name])) is not None:
                found[name] = (held[name], place)
        if missing := [name for name in self.channels if name not in found]:
            note = f"waits for {' and '.join(missing)} of its study"
            self.state.settle(listed.series, "channel", f"{own}: {note}")
            self._tidy(listed.series, incoming=False)
            self.log(f"{listed}: is {own}{why}; {note}")
            return None
        return {name: found[name] for name in self.channels}

    def _fetched_again(self, listed: Listed) -> Path | None:
        """The folder of a series that was looked at before; None where it has changed, or is not for
        this node any more.
        """
        work = self.folder / WORK / listed.series
        claim(work, "node")
        try:
            return self._fetched(listed, work)
        except RefusedError as error:
            self.state.settle(listed.series, "refused", str(error))
            self.log(f"{listed}: refused: {error}")
            return None

    def _analysed(self, listed: Listed, channels: Mapping[str, Path]) -> str:
        """Detect in a series, or in several of a study, or find that it was done before; returns a
        line for the log.

        Raises:
            RefusedError: the scan is of a kind that no detector reads.
            InputError: it cannot be analysed, or no objects can be made of it.
        """
        series, scan = listed.series, next(iter(channels.values()))
        cohort = Cohort([Case(case=series, patient=series, channels=dict(channels))], scan)
        try:
            name = choose(cohort).detector if self.detector == AUTO else self.detector
        except (InputError, MismatchError) as error:
            raise RefusedError(str(error).replace(str(scan), "the series")) from error
        detector = self._loaded(name)
        told_as = detector.identity["name"]
        self.log(f"{listed}: {told_as} begins")
        out = self.folder / WORK / series / "results"
        summary = detect_cohort(detector, cohort, out=out, overwrite=True, dicom=self.dicom, report=False)
        if problem := (summary.failed | summary.without_objects).get(series):
            raise InputError(problem)
        result = read_json(out / series / "result.json")
        p = "" if result["p"] is None else f", p {result['p']:.3g}"
        return f"{told_as}: score {result['score']:.3g}{p}, {len(result['components'])} finding(s)"

    def _loaded(self, name: str) -> Detector:
        from aberra.detector import Detector

        if name not in self._detectors:
            self._detectors[name] = Detector.load(name, device=self.device)
        return self._detectors[name]

    def _send(self, listed: Listed, folder: Path) -> None:
        """Send what the archive does not have of the objects."""
        files = objects_in(folder)
        if files is None:
            raise OutputError(f"{folder}: no finished objects; delete it, and it is done again")
        objects = read_json(folder / "objects.json")["objects"]
        wanted = {each["SOPInstanceUID"]: file for each, file in zip(objects, files, strict=True)}
        series = {each["SeriesInstanceUID"] for each in objects}
        self.state.own(series)
        missing = wanted.keys() - self._there(listed.study, series)
        self.archive.store(wanted[each] for each in sorted(missing))

    def _there(self, study: str, series: set[str]) -> set[str]:
        return set[str]().union(*(self.archive.instances(study, each) for each in series))

    def _tidy(self, series: str, *, incoming: bool = True) -> None:
        """Remove a series that is done with: the archive has scan and results.

        Args:
            series: which.
            incoming: what was sent of it, too.
        """
        if self.keep:
            return
        work = self.folder / WORK / series
        sent = [self.folder / INCOMING / series] * incoming
        for place in (work / "results", work / "series", work, *sent):
            with suppress(AberraError):
                discard(place)

    def _sweep(self) -> None:
        """Remove what a run that was killed has left of series that are done with."""
        for place in [*(self.folder / WORK).glob("*"), *(self.folder / INCOMING).glob("*")]:
            known = self.state.get(place.name)
            if known is not None and known.status in {"done", "own"}:
                self._tidy(place.name)

"""The routes. Who may ask is the gate's business (:mod:`aberra.server.gate`); what is said stands in
the rooms that are called here.
"""

from __future__ import annotations

import csv
import io
from functools import partial
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING, Annotated, Any
from urllib.parse import parse_qs

from anyio import CapacityLimiter, to_thread
from fastapi import Depends, FastAPI, HTTPException, Query, Request
from fastapi.responses import (
    FileResponse,
    JSONResponse,
    PlainTextResponse,
    RedirectResponse,
    Response,
    StreamingResponse,
)
from pydantic import BaseModel, Field

from aberra.errors import AberraError, ConfigError, expect_known
from aberra.failures import told
from aberra.files import SCRATCH, atomic_path, read_json, reading
from aberra.grades import GRADES, MEDICAL
from aberra.server import (
    accounts,
    audit,
    events,
    metrics,
    queue,
    readings,
    removal,
    report,
    uploads,
    worklist,
)
from aberra.server.accounts import Person, TooManyTriesError
from aberra.server.gate import Gate, cookie, is_secure
from aberra.server.tables import Case
from aberra.server.times import iso
from aberra.server.truth import put_truth
from aberra.server.worker import SCAN, TRUTH

if TYPE_CHECKING:
    from sqlalchemy.orm import Session

    from aberra.server.database import Database
    from aberra.server.settings import Settings

STATIC = Path(__file__).parent / "static"
VIEWER = "vendor/niivue.umd.js"
LAYERS = ("map", "mask", "reconstruction", "uncertainty")
"""Files of a result that the viewer can show."""

TYPES = {
    ".html": "text/html; charset=utf-8",
    ".css": "text/css",
    ".js": "text/javascript",
    ".svg": "image/svg+xml",
}


def person_of(request: Request) -> Person:
    """Whoever the gate has let in."""
    person: Person | None = request.state.person
    if person is None:
        raise HTTPException(401, "sign in first")
    return person


def admin_of(request: Request) -> Person:
    """The same, if it is an admin."""
    person = person_of(request)
    if not person.is_admin:
        raise HTTPException(403, "only for admins")
    return person


Reader = Annotated[Person, Depends(person_of)]
Admin = Annotated[Person, Depends(admin_of)]
Name = Annotated[str, Query(min_length=1, max_length=200)]


class Said(BaseModel):
    """A reading as it is sent."""

    grade: str = Field(default="", max_length=32)
    note: str = Field(default="", max_length=readings.LONGEST)


class Asked(BaseModel):
    """A detector as it is sent."""

    detector: str = Field(max_length=200)


def create_app(settings: Settings, database: Database) -> FastAPI:
    """The application.

    Args:
        settings: of the server, its folder claimed.
        database: migrated.
    """
    app = FastAPI(title="aberra", docs_url=None, redoc_url=None, openapi_url=None)
    requests = metrics.Requests()
    app.add_middleware(Gate, database=database, settings=settings, requests=requests)
    app.add_exception_handler(AberraError, _refused(settings))
    app.add_exception_handler(HTTPException, _stopped)
    pages(app)
    signing_in(app, settings, database)
    cases(app, settings, database)
    saying(app, settings, database)
    sending(app, settings, database)
    watching(app, database, requests)
    return app


def pages(app: FastAPI) -> None:
    """HTML, style and scripts; they hold nothing of any case."""
    files = {str(path.relative_to(STATIC)): path for path in STATIC.rglob("*") if path.suffix in TYPES}

    def page(name: str) -> FileResponse:
        return FileResponse(files[name], media_type=TYPES[files[name].suffix])

    @app.get("/")
    def home(_: Reader) -> FileResponse:
        return page("worklist.html")

    @app.get("/cases/{case}")
    def viewer(case: int, _: Reader) -> FileResponse:  # noqa: ARG001 - the page asks for it
        return page("case.html")

    @app.get("/audit")
    def trail(_: Admin) -> FileResponse:
        return page("audit.html")

    @app.get("/report")
    def numbers(_: Admin) -> FileResponse:
        return page("report.html")

    @app.get("/static/{name:path}")
    def static(name: str, _: Reader) -> FileResponse:
        if name not in files or name.endswith(".html"):
            raise HTTPException(404, "no such file")
        return page(name)

    @app.get("/health")
    @app.head("/health")
    def health() -> Response:
        return Response(status_code=204)


def signing_in(app: FastAPI, settings: Settings, database: Database) -> None:
    """Login and logout."""
    form = (STATIC / "login.html").read_text(encoding="utf-8")

    def asked(why: str, status: int = 200) -> Response:
        return Response(form.replace("<!-- why -->", why), status, media_type=TYPES[".html"])

    @app.get("/login")
    def login_page() -> Response:
        if settings.trust_header:
            return asked("Sign in at the proxy; this server takes no passwords.", 403)
        return asked("")

    @app.post("/login")
    async def login(request: Request) -> Response:
        if settings.trust_header:
            return asked("Sign in at the proxy; this server takes no passwords.", 403)
        fields = parse_qs((await request.body()).decode("utf-8", "replace"), max_num_fields=10)
        name, password = (fields.get(key, [""])[0] for key in ("name", "password"))
        address = request.client.host if request.client else ""
        try:
            token = await to_thread.run_sync(accounts.sign_in, database, name, password, address)
        except TooManyTriesError:
            return asked(f"Too many wrong passwords; wait {accounts.WINDOW / 60:.0f} minutes.", 429)
        if token is None:
            return asked("Wrong name or password.", 401)
        answer = RedirectResponse("/", 303)
        answer.headers["set-cookie"] = cookie(token, secure=is_secure(request.scope, settings))
        return answer

    @app.post("/api/logout", status_code=204)
    def logout(person: Reader, request: Request) -> Response:
        accounts.sign_out(database, person)
        ends = cookie("", secure=is_secure(request.scope, settings), ends=True)
        return Response(status_code=204, headers={"set-cookie": ends})

    @app.get("/api/me")
    def me(person: Reader) -> dict[str, Any]:
        return {
            "name": person.name,
            "role": person.role,
            "csrf": person.csrf,
            "detectors": list(settings.detectors),
            "filters": worklist.FILTERS,
            "decisions": readings.DECISIONS,
            "grades": GRADES,
            "missed": MEDICAL,
            "viewer": (STATIC / VIEWER).is_file(),
        }


def cases(app: FastAPI, settings: Settings, database: Database) -> None:
    """Worklist, one case and its files."""

    @app.get("/api/cases")
    def listed(
        person: Reader,
        page: Annotated[int, Query(ge=1, le=1_000_000)] = 1,
        status: Annotated[str, Query(max_length=16)] = "",
        detector: Annotated[str, Query(max_length=200)] = "",
        text: Annotated[str, Query(max_length=200)] = "",
    ) -> JSONResponse:
        with database.reading() as session:
            return JSONResponse(  # as it is: FastAPI would look at every value
                worklist.page(session, person.id, number=page, status=status, detector=detector, text=text)
            )

    @app.get("/api/cases/{case}")
    def one(case: int, person: Reader) -> dict[str, Any]:
        with database.writing() as session:
            audit.note(session, person.name, "open", case=_case(session, case).id)
        with database.reading() as session:
            found = _case(session, case)
            facts = {column.key: getattr(found, column.key) for column in worklist.COLUMNS}
            around = worklist.neighbours(session, found)
            said = readings.of_case(session, person, case)
            result = _result(settings, found)
            layers = [name for name in ("scan", *LAYERS, "truth") if _layer(settings, found, name).is_file()]
        facts["uploaded"] = iso(facts["uploaded"])
        return {**facts, **around, "readings": said, "result": result, "layers": layers}

    @app.get("/api/cases/{case}/{layer}.nii.gz")
    def layer_file(case: int, layer: str, _: Reader) -> FileResponse:
        expect_known("layer", [layer], ("scan", *LAYERS, "truth"))
        with database.reading() as session:
            path = _layer(settings, _case(session, case), layer)
        if not path.is_file():
            raise HTTPException(404, f"case {case} has no {layer}")
        return FileResponse(path, media_type="application/gzip")


def saying(app: FastAPI, settings: Settings, database: Database) -> None:
    """What readers say of a case, and what admins have done with it."""

    @app.put("/api/cases/{case}/readings/{target}")
    def read(case: int, target: str, said: Said, person: Reader) -> dict[str, Any]:
        with database.writing() as session:
            readings.put(
                session,
                person,
                _case(session, case, change=True),
                target,
                grade=said.grade,
                text=said.note.strip(),
            )
            return readings.of_case(session, person, case)

    @app.delete("/api/cases/{case}", status_code=204)
    def delete(case: int, person: Admin) -> Response:
        with database.writing() as session:
            removal.delete_case(session, _case(session, case, change=True), person.name)
        removal.remove_files(settings, database)
        return Response(status_code=204)

    @app.post("/api/cases/{case}/analyse", status_code=202)
    def analyse(case: int, asked: Asked, person: Admin) -> dict[str, Any]:
        expect_known("detector", [asked.detector], settings.detectors)
        with database.writing() as session:
            found = _case(session, case)
            if found.status in {"queued", "running"}:
                raise readings.NotReadyError(f"case {case} is {found.status} already")
            if readings.is_read(session, case):
                raise readings.NotReadyError(
                    f"case {case} has been read; send the scan again for another detector"
                )
            audit.note(
                session, person.name, "analyse", case=case, before=found.detector, after=asked.detector
            )
            queue.again(session, case, asked.detector)
        return {"id": case, "status": "queued"}

    @app.get("/api/readings.csv")
    def table(_: Admin) -> Response:
        text = io.StringIO()
        writer = csv.DictWriter(text, readings.COLUMNS, lineterminator="\n")
        writer.writeheader()
        with database.reading() as session:
            writer.writerows(
                {key: _cell(value) for key, value in row.items()} for row in readings.table(session)
            )
        return PlainTextResponse(text.getvalue(), media_type="text/csv; charset=utf-8")


def sending(app: FastAPI, settings: Settings, database: Database) -> None:
    """Uploads: the body is the file."""
    one_at_a_time = CapacityLimiter(1)  # a scan may take much memory

    @app.post("/api/uploads", status_code=201)
    async def upload(
        request: Request, person: Reader, name: Name, detector: Annotated[str, Query(max_length=200)] = ""
    ) -> JSONResponse:
        detector = detector or next(iter(settings.detectors))
        expect_known("detector", [detector], settings.detectors)
        _expect_length(request, settings.limits.upload)
        with TemporaryDirectory(prefix=SCRATCH, dir=settings.uploads) as folder:
            sent = Path(folder, "sent")
            size, sha = await uploads.receive(request.stream(), sent, settings.limits.upload)
            there = await to_thread.run_sync(uploads.known, database, sha, detector)
            if there:
                return JSONResponse({"cases": there, "known": True}, 200)
            place = uploads.new_place()

            def take() -> list[int]:
                with atomic_path(settings.uploads / place) as temporary:
                    files = temporary / uploads.FILES
                    files.mkdir(parents=True)
                    try:
                        scans = uploads.unpack(sent, name, files, settings.limits)
                    except AberraError:
                        raise
                    except Exception as error:
                        raise AberraError(told(error)) from error
                return uploads.insert(
                    database, scans, place=place, by=person.name, detector=detector, sha=sha, size=size
                )

            return JSONResponse(
                {"cases": await to_thread.run_sync(take, limiter=one_at_a_time), "known": False}, 201
            )

    @app.put("/api/cases/{case}/truth")
    async def truth(request: Request, case: int, person: Admin, name: Name) -> dict[str, Any]:
        _expect_length(request, settings.limits.upload)
        with TemporaryDirectory(prefix=SCRATCH, dir=settings.uploads) as folder:
            sent = Path(folder, "sent")
            await uploads.receive(request.stream(), sent, settings.limits.upload)
            put = partial(put_truth, settings, database, case, sent=sent, name=name, person=person)
            voxels = await to_thread.run_sync(put, limiter=one_at_a_time)
        return {"id": case, "voxels": voxels}


def watching(app: FastAPI, database: Database, requests: metrics.Requests) -> None:
    """Progress, audit trail and metrics."""

    @app.get("/api/events")
    def progress(request: Request, _: Reader) -> StreamingResponse:
        token = request.cookies.get("aberra", "")
        changes = events.changes(database, lambda: accounts.visitor(database, token) is not None)
        return StreamingResponse(changes, media_type="text/event-stream")

    @app.get("/api/audit")
    def trail(_: Admin, case: int | None = None, before: int | None = None) -> list[dict[str, Any]]:
        with database.reading() as session:
            return audit.entries(session, case=case, before=before)

    @app.get("/api/report")
    def told(_: Admin) -> dict[str, Any]:
        with database.reading() as session:
            return report.summary(session)

    @app.get("/metrics")
    def numbers(request: Request) -> PlainTextResponse:
        if request.state.person is not None:
            admin_of(request)
        with database.reading() as session:
            return PlainTextResponse(
                metrics.exposition(session, requests), media_type="text/plain; version=0.0.4; charset=utf-8"
            )


def _case(session: Session, case: int, *, change: bool = False) -> Case:
    found = session.get(Case, case, with_for_update=change or None)
    if found is None:
        raise HTTPException(404, f"no case {case}")
    return found


def _result(settings: Settings, case: Case) -> dict[str, Any] | None:
    """What the viewer needs of ``result.json``."""
    if case.status != "done":
        return None
    source = settings.results / case.folder / "result.json"
    with reading(source):
        found = read_json(source)
    keys = ("components", "threshold", "scale", "score", "p", "warnings", "gate", "model", "probability")
    return {key: found.get(key) for key in keys}


def _layer(settings: Settings, case: Case, name: str) -> Path:
    place = settings.uploads / case.place
    if name == "scan":
        return place / SCAN.format(case.number)
    if name == "truth":
        return place / TRUTH.format(case.number)
    return settings.results / (case.folder or "-") / f"{name}.nii.gz"


def _cell(value: Any) -> Any:
    """A cell that no spreadsheet takes for a formula."""
    return f"'{value}" if isinstance(value, str) and value[:1] in "=+-@\t\r" and value else value


def _expect_length(request: Request, limit: int) -> None:
    if int(request.headers.get("content-length", 0)) > limit:
        raise uploads.TooLargeError(f"more than {limit // 1_000_000} MB; see --max-upload-mb")


def _refused(settings: Settings) -> Any:
    def answer(_: Request, error: Exception) -> JSONResponse:
        kinds = {uploads.TooLargeError: 413, readings.NotReadyError: 409, ConfigError: 400}
        status = next((status for kind, status in kinds.items() if isinstance(error, kind)), 422)
        return JSONResponse({"error": settings.plain(str(error))}, status)

    return answer


def _stopped(_: Request, error: Exception) -> JSONResponse:
    assert isinstance(error, HTTPException)  # noqa: S101 - what it is registered for
    return JSONResponse({"error": error.detail}, error.status_code)

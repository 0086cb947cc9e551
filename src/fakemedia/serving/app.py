"""The HTTP service: scores of pictures, a web page, health and metrics."""

from __future__ import annotations

import asyncio
import hmac
import logging
import time
from concurrent.futures import CancelledError, Future, ThreadPoolExecutor
from dataclasses import dataclass, field

from fastapi import FastAPI, Request, Response
from fastapi.responses import HTMLResponse, JSONResponse, PlainTextResponse
from prometheus_client import generate_latest
from starlette.exceptions import HTTPException

from fakemedia.runtime.threads import cores
from fakemedia.serving.answers import Problem, Score, Scores, answer, known
from fakemedia.serving.batching import Batcher, Computed
from fakemedia.serving.counters import Counters
from fakemedia.serving.intake import read_request
from fakemedia.serving.live_detector import CONCURRENT_BATCHES, LiveDetector, Serving
from fakemedia.serving.log import Row, ScoreLog
from fakemedia.serving.page import PAGE_HEADERS, page
from fakemedia.serving.pictures_in import Received, receive
from fakemedia.serving.refusal import Refused
from fakemedia.serving.serving_config import ServingConfig

LOGGER = logging.getLogger("fakemedia.serving")
FORM = {"requestBody": {"required": True, "content": {"multipart/form-data": {"schema": {
    "type": "object", "required": ["pictures"], "properties": {
        "pictures": {"type": "array", "items": {"type": "string", "format": "binary"},
                     "description": "Picture files, under any field names."},
        "source": {"type": "string", "maxLength": 100, "description": "Where they are from; for the log."},
    }}}}}}
REASONS = {
    401: "No token, or another one", 408: "The request did not arrive in time",
    413: "Too many bytes, pixels or pictures", 415: "No multipart form, or no picture",
    422: "An empty form, or a damaged picture", 429: "Too many requests in progress",
    503: "Not ready, ending, or the scores took too long",
}
REFUSALS: dict[int | str, dict] = {status: {"model": Problem, "description": text} for status, text in REASONS.items()}


@dataclass(kw_only=True)
class Service:
    """What the handlers of one application share."""

    live: LiveDetector
    config: ServingConfig
    counters: Counters
    log: ScoreLog | None = None
    token: str = ""
    """What clients must show as bearer token; empty: nothing."""
    working: int = 0
    """Requests in progress."""
    draining: bool = False
    """Whether the service is stopping, and takes no new requests."""
    readers: ThreadPoolExecutor = field(default_factory=lambda: ThreadPoolExecutor(cores(), "decode"))
    batcher: Batcher = field(init=False)

    def __post_init__(self) -> None:
        self.batcher = Batcher(max_crops=self.config.batch, wait=self.config.wait_ms / 1000,
                               threads=CONCURRENT_BATCHES, on_batch=self.counters.crops.observe)

    async def score(self, request: Request) -> Scores:
        """Return the scores of the pictures of a request; Refused if it cannot be answered."""
        self._admit(request)
        self.working += 1
        try:
            pictures, source = await read_request(request, self.config)
            serving = self.live.current
            try:
                async with asyncio.timeout(self.config.seconds):
                    results = await asyncio.gather(*(self._one(serving, name, data, source) for name, data in pictures))
            except TimeoutError:
                raise Refused(503, f"The scores took more than {self.config.seconds:g} seconds. Try again later, or "
                                   "send fewer pictures.") from None
        finally:
            self.working -= 1
        if len(results) == 1 and isinstance(results[0], Refused):
            raise results[0]
        return self._response(serving, pictures, results)

    def _admit(self, request: Request) -> None:
        # The bytes themselves: headers are read as Latin-1, and a token from the environment need not be UTF-8.
        authorization = request.headers.get("authorization", "").encode("latin-1")
        expected = f"Bearer {self.token}".encode(errors="surrogateescape")
        if self.token and not hmac.compare_digest(authorization, expected):
            raise Refused(401, "This service needs a token: send the header 'Authorization: Bearer TOKEN'.")
        if self.draining:
            raise Refused(503, "The service is ending. Try again in a moment.")
        if self.working >= self.config.max_requests:
            raise Refused(429, f"{self.working} requests are in progress already. Try again in a second.")

    async def _one(self, serving: Serving, name: str, data: bytes, source: str) -> tuple[Score, Row] | Refused:
        computed: Future[Computed] = Future()
        picture = self.readers.submit(self._read, serving, name, data, computed)
        try:
            outputs = await asyncio.wrap_future(computed)
            return answer(serving, picture.result(), outputs, source)
        except Refused as refused:
            return refused

    def _read(self, serving: Serving, name: str, data: bytes, computed: Future[Computed]) -> Received:
        """Decode a picture and submit its crops with `computed`; CancelledError if the request was cancelled."""
        if computed.cancelled():
            raise CancelledError
        try:
            picture = receive(name, data, serving.model.facts, crops=self.crops_of(serving),
                              max_pixels=self.config.max_pixels)
        except Exception as error:
            if computed.set_running_or_notify_cancel():
                computed.set_exception(error)
            raise
        self.batcher.submit(serving.model, picture.view.crops, computed)
        return picture

    def _response(self, serving: Serving, pictures: list[tuple[str, bytes]],
              results: list[tuple[Score, Row] | Refused]) -> Scores:
        scored = [result for result in results if not isinstance(result, Refused)]
        for score, _ in scored:
            self.counters.pictures.labels(score.verdict).inc()
        if self.log is not None:
            self.log.add(row for _, row in scored)
        return Scores(detector=known(serving, self.crops_of(serving)), pictures=[
            Score(name=name[:200], error=result.message) if isinstance(result, Refused) else result[0]
            for (name, _), result in zip(pictures, results, strict=True)])

    def crops_of(self, serving: Serving) -> int:
        """Return how many crops of a picture a detector is given, at most."""
        return self.config.crops or serving.model.facts.usual_crops

    def close(self) -> None:
        """Finish the requests in progress, write the log, stop the threads."""
        self.live.close()
        self.batcher.close()
        self.readers.shutdown()
        if self.log is not None:
            self.log.close()


def make_app(service: Service) -> FastAPI:
    """Return the application of `service`."""
    app = FastAPI(title="fakemedia", description="Is this picture fake? Scores of a registered detector.", version="1",
                  docs_url=None, redoc_url=None)

    @app.exception_handler(Refused)
    async def refused(_: Request, error: Refused) -> JSONResponse:
        headers = {401: {"WWW-Authenticate": "Bearer"}, 429: {"Retry-After": "1"}, 503: {"Retry-After": "2"}}
        return JSONResponse({"detail": error.message}, error.status, headers=headers.get(error.status))

    @app.exception_handler(HTTPException)
    async def unknown(request: Request, error: HTTPException) -> JSONResponse:
        messages = {404: f"There is nothing at this address. See {request.base_url}openapi.json.",
                405: "This address takes another method."}
        return JSONResponse({"detail": messages.get(error.status_code, error.detail)}, error.status_code)

    @app.exception_handler(Exception)
    async def failed(_: Request, error: Exception) -> JSONResponse:
        LOGGER.error("a request failed", exc_info=error)
        return JSONResponse({"detail": "The service made a mistake, which is in its log. Try again."}, 500)

    @app.post("/v1/score", response_model=Scores, responses=REFUSALS, openapi_extra=FORM)
    async def score(request: Request) -> Response:
        """Score one or many pictures: P(fake), verdict and where the evidence is. Pictures are not kept.

        If a picture of several cannot be scored, its entry has an `error`; a single one is refused.
        """
        start, status = time.perf_counter(), 500
        try:
            scores, status = await service.score(request), 200
            return Response(scores.model_dump_json(), media_type="application/json")
        except Refused as error:
            status = error.status
            raise
        finally:
            service.counters.requests.labels(str(status)).inc()
            service.counters.seconds.observe(time.perf_counter() - start)

    @app.get("/", response_class=HTMLResponse, include_in_schema=False)
    async def home() -> HTMLResponse:
        detector = known(service.live.current, service.crops_of(service.live.current))
        return HTMLResponse(page(detector, asks_token=bool(service.token)), headers=PAGE_HEADERS)

    @app.get("/healthz", response_class=PlainTextResponse)
    async def healthz() -> str:
        """Whether the process is alive."""
        return "ok\n"

    @app.get("/readyz")
    async def readyz() -> JSONResponse:
        """Whether it takes requests, and which version serves."""
        version, ready = service.live.current.version.number, not service.draining
        return JSONResponse({"ready": ready, "version": version, "problem": service.live.problem},
                            200 if ready else 503)

    @app.get("/metrics", response_class=PlainTextResponse)
    async def metrics() -> Response:
        """Metrics in the text format of Prometheus."""
        service.counters.working.set(service.working)
        service.counters.log_lost.set(service.log.lost if service.log else 0)
        return Response(generate_latest(service.counters.collector), media_type="text/plain; version=0.0.4")

    return app

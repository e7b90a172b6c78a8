"""The HTTP API of `llmcodec serve`: one route for each verb of the service."""

from __future__ import annotations

import asyncio
import math
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import asynccontextmanager, suppress
from io import BytesIO
from pathlib import Path
from typing import Annotated, Any, Literal, TypeVar
from urllib.parse import quote

from anyio import CapacityLimiter, to_thread
from fastapi import Depends, FastAPI, File, Form, HTTPException, Request, Response, UploadFile
from fastapi.exceptions import RequestValidationError
from fastapi.responses import JSONResponse, StreamingResponse
from pydantic import ValidationError
from starlette.requests import ClientDisconnect

import llmcodec
from llmcodec.codec import AudioCodes
from llmcodec.errors import LLMCodecError
from llmcodec.evaluation.provenance import digest
from llmcodec.webapp.answers import Classified, Encoded, Health, Named, Problem, pcm, wav, wav_header
from llmcodec.webapp.pool import Busy, Cancelled, Job, TimedOut
from llmcodec.webapp.service import CANDIDATES, SPOKEN, Service, TooLong
from llmcodec.webapp.uploads import BoundedBody, stored

T = TypeVar("T")
RETRY_SECONDS = 5
STATUSES: dict[type[LLMCodecError], int] = {TooLong: 413, Busy: 429, Cancelled: 503, TimedOut: 504}
REASONS = {
    400: "no valid multipart", 408: "too slow", 413: "too large or too long", 415: "another content type",
    422: "a field or a clip is wrong", 429: "busy", 503: "stopping", 504: "not done in time",
}  # fmt: skip
PROBLEMS: dict[int | str, dict[str, Any]] = {
    status: {"model": Problem, "description": reason} for status, reason in REASONS.items()
}
AUDIO = {"content": {"audio/wav": {"schema": {"type": "string", "format": "binary"}}}, "description": "16-bit mono WAV"}
CODES = "application/octet-stream"

Clip = Annotated[UploadFile, File(description="WAV, FLAC, Ogg, Opus, MP3 or another format of libsndfile.")]
Clips = Annotated[list[UploadFile], File()]


def build_api(service: Service) -> FastAPI:
    """The application; who made the service closes it."""
    codec, limits, weights = service.codec, service.limits, digest(service.codec)
    app = FastAPI(
        title="llmcodec", version=llmcodec.__version__, responses=PROBLEMS,
        description="Audio as words for any frozen language model. Every error is `{\"detail\": one sentence}`.",
    )  # fmt: skip
    app.add_middleware(BoundedBody, size=limits.upload_bytes, seconds=limits.timeout)
    _answer_errors(app)
    multipart = [Depends(_multipart)]

    async def answer(request: Request, work: Callable[[Job], T]) -> T:
        job = service.job()
        async with _cancelled_when_gone(request, job):
            return await _in_thread(work, job)

    @app.get("/v1/health", tags=["server"])
    async def health() -> Health:
        """Whether the server answers, what it runs and how busy it is."""
        return Health(
            version=llmcodec.__version__, codec=weights, llm=service.llm.name, load=service.pool.load, limits=limits
        )

    @app.post(
        "/v1/encode", tags=["codec"], dependencies=multipart, response_model=Encoded,
        responses={200: {"content": {CODES: {}}, "description": "Words, or the file that `llmcodec encode` writes"}},
    )  # fmt: skip
    async def encode(
        request: Request,
        file: Clip,
        format: Annotated[Literal["json", "codes"], Form(description="codes: a .safetensors file")] = "json",
    ) -> Any:
        """A clip as words."""

        def work(job: Job) -> Any:
            with stored(file=[file]) as [[path]]:
                codes = service.encode(path, job)
                if format == "json":
                    return Encoded.of(codes, codec, weights)
                codes.save(path)
                return Response(path.read_bytes(), media_type=CODES)

        return await answer(request, work)

    @app.post(
        "/v1/decode", tags=["codec"], response_class=Response, responses={200: AUDIO},
        openapi_extra={"requestBody": {"required": True, "content": {
            "application/json": {"schema": {"$ref": "#/components/schemas/Encoded"}},
            CODES: {"schema": {"type": "string", "format": "binary"}},
        }}},
    )  # fmt: skip
    async def decode(request: Request) -> Response:
        """Words as a clip. The body is the JSON of encode, or a codes file as application/octet-stream."""
        kind = _content_type(request)
        if kind not in ("application/json", CODES):
            raise HTTPException(415, f"content type {kind!r}; application/json or {CODES} is needed")
        body = await request.body()

        def work(job: Job) -> bytes:
            codes = _read_codes(body) if kind == CODES else _read_encoded(body).codes(weights)
            return wav(service.decode(codes, job), codec.sample_rate)

        return Response(await answer(request, work), media_type="audio/wav")

    @app.post("/v1/classify", tags=["few-shot"], dependencies=multipart)
    async def classify(
        request: Request,
        demonstrations: Clips,
        labels: Annotated[list[str], Form(description="One for each demonstration, in their order.")],
        queries: Clips,
        template: Annotated[str, Form(examples=["sound", "emotion", "keyword", "digit"])] = "sound",
        scorer: Annotated[str, Form(examples=["knn", "channel", "ensemble", "direct"])] = "knn",
        explain: Annotated[bool, Form(description="Say which words spoke for which label (knn only).")] = False,
    ) -> Classified:
        """Name clips by a few labelled ones."""
        _check_counts(demonstrations, "demonstrations", labels, "labels")

        def work(job: Job) -> Classified:
            with stored(demonstrations=demonstrations, queries=queries) as [shown, asked]:
                by_label: dict[str, list[Path]] = {}
                for label, path in zip(labels, shown, strict=True):
                    by_label.setdefault(label, []).append(path)
                found = service.classify(by_label, asked, template, scorer, explain, job)
                return Classified(results=[Named.of(prediction) for prediction in found])

        return await answer(request, work)

    @app.post("/v1/speak", tags=["few-shot"], dependencies=multipart, response_class=Response, responses={200: AUDIO})
    async def speak(
        request: Request,
        text: Annotated[str, Form(description="A demonstrated text, several of them, or a question.")],
        recordings: Clips,
        texts: Annotated[list[str], Form(description="What each recording says, in their order.")],
        think: Annotated[bool, Form(description="The text is a question: answer it, then say the answer.")] = False,
        seconds: Annotated[float | None, Form(description="Default: as long as the recordings.")] = None,
        candidates: Annotated[int, Form(ge=1, le=CANDIDATES, description="The best of so many is kept.")] = 1,
        seed: Annotated[int, Form(ge=0, lt=2**31)] = 0,
        rerank: Annotated[str, Form(examples=["likelihood", "round-trip"])] = "likelihood",
        template: Annotated[str, Form(examples=list(SPOKEN))] = "speak",
        stream: Annotated[bool, Form(description="Send the audio while it is being written (one candidate).")] = False,
    ) -> Response:
        """Say a text as recordings of it do. What was said stands in the header X-Said, percent-encoded."""
        _check_counts(recordings, "recordings", texts, "texts")
        if stream and candidates > 1:
            raise HTTPException(422, f"candidates: {candidates} cannot be streamed; one can")

        def whole(job: Job) -> Response:
            with stored(recordings=recordings) as [paths]:
                shown = list(zip(texts, paths, strict=True))
                found = service.speak(text, shown, think, seconds, candidates, seed, rerank, job, template)
            said = quote(" ".join(found.said))
            return Response(wav(found.wave, codec.sample_rate), media_type="audio/wav", headers={"X-Said": said})

        if not stream:
            return await answer(request, whole)
        job = service.job()

        def begun() -> tuple[Any, Any]:
            with stored(recordings=recordings) as [paths]:  # read by the time of the first piece
                shown = list(zip(texts, paths, strict=True))
                pieces = service.speak_stream(text, shown, think, seconds, job, template)
                return next(pieces), pieces

        async with _cancelled_when_gone(request, job):
            first, pieces = await _in_thread(begun)

        async def sound() -> AsyncIterator[bytes]:
            with suppress(Cancelled):  # nobody listens any more
                async with _cancelled_when_gone(request, job):
                    yield wav_header(codec.sample_rate, None) + pcm(first)
                    while (piece := await _in_thread(next, pieces, None)) is not None:
                        yield pcm(piece)

        return StreamingResponse(sound(), media_type="audio/wav")

    @app.post("/v1/enhance", tags=["few-shot"], dependencies=multipart, response_class=Response, responses={200: AUDIO})
    async def enhance(request: Request, file: Clip, noisy: Clips, clean: Clips) -> Response:
        """A clip made cleaner, as pairs of noisy and clean recordings (in the same order) show."""
        _check_counts(noisy, "noisy", clean, "clean")

        def work(job: Job) -> bytes:
            with stored(file=[file], noisy=noisy, clean=clean) as [[path], first, second]:
                wave = service.enhance(path, list(zip(first, second, strict=True)), job)
                return wav(wave, codec.sample_rate)

        return Response(await answer(request, work), media_type="audio/wav")

    return app


_waiting = CapacityLimiter(math.inf)  # threads that wait for the pool, which says itself when it is full


async def _in_thread(work: Callable[..., T], *arguments: Any) -> T:
    return await to_thread.run_sync(work, *arguments, limiter=_waiting)


@asynccontextmanager
async def _cancelled_when_gone(request: Request, job: Job) -> AsyncIterator[None]:
    """Cancels the job when the client goes away, or the block ends by an error, such as the end of the server."""

    async def watch() -> None:
        while (await request.receive())["type"] != "http.disconnect":
            pass
        job.cancel()

    watcher = asyncio.create_task(watch())
    try:
        yield
    except BaseException:
        job.cancel()
        raise
    finally:
        watcher.cancel()


def _content_type(request: Request) -> str:
    return request.headers.get("content-type", "").partition(";")[0].strip().lower()


async def _multipart(request: Request) -> None:
    if (kind := _content_type(request)) != "multipart/form-data":
        raise HTTPException(415, f"content type {kind!r}; multipart/form-data is needed")


def _check_counts(first: Sequence[Any], name: str, second: Sequence[Any], other: str) -> None:
    if len(first) != len(second):
        raise HTTPException(422, f"{len(first)} {name} need as many {other}, not {len(second)}")


def _read_encoded(body: bytes) -> Encoded:
    try:
        return Encoded.model_validate_json(body)
    except ValidationError as error:
        raise HTTPException(422, _sentence(error.errors())) from error


def _read_codes(body: bytes) -> AudioCodes:
    with stored(codes=[UploadFile(BytesIO(body))]) as [[path]]:
        return AudioCodes.load(path)


def _sentence(mistakes: Sequence[Any]) -> str:
    found = []
    for mistake in mistakes[:3]:
        field = ".".join(str(part) for part in mistake["loc"] if part != "body")
        reason = "a file is needed, not text" if "UploadFile" in mistake["msg"] else mistake["msg"]
        found.append(f"{field}: {reason}" if field else reason)
    return "; ".join(found)


def _answer_errors(app: FastAPI) -> None:
    """Every error as {"detail": one sentence} with its status."""

    @app.exception_handler(LLMCodecError)
    async def refused(_: Request, error: LLMCodecError) -> JSONResponse:
        status = next((status for kind, status in STATUSES.items() if isinstance(error, kind)), 422)
        headers = {"Retry-After": str(RETRY_SECONDS)} if status in (429, 503, 504) else None
        return JSONResponse({"detail": " ".join(str(error).split())}, status, headers)

    @app.exception_handler(RequestValidationError)
    async def invalid(_: Request, error: RequestValidationError) -> JSONResponse:
        return JSONResponse({"detail": _sentence(error.errors())}, 422)

    @app.exception_handler(ClientDisconnect)
    async def gone(_: Request, __: ClientDisconnect) -> Response:
        return Response(status_code=400)  # to nobody

    @app.exception_handler(Exception)
    async def failed(_: Request, error: Exception) -> JSONResponse:
        return JSONResponse({"detail": "the server failed; its log says why"}, 500)

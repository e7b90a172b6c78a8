"""What comes in: bodies bounded in size and time, uploads as files of a folder that lives as long as their request."""

from __future__ import annotations

import asyncio
import shutil
import tempfile
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

from fastapi import HTTPException, UploadFile
from fastapi.responses import JSONResponse
from starlette.datastructures import Headers
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from llmcodec.errors import LLMCodecError

FOLDER_PREFIX = "llmcodec-request-"
NAME_LENGTH = 80  # characters of a client's file name that a message repeats


class BoundedBody:
    """Middleware: a body of more than `size` bytes is refused (413) without reading it all, one that takes longer than
    `seconds` to come in too (408)."""

    def __init__(self, app: ASGIApp, size: int, seconds: float) -> None:
        self.app, self.size, self.seconds = app, size, seconds

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self.app(scope, receive, send)
            return
        declared = Headers(scope=scope).get("content-length", "")
        if declared.isdecimal() and int(declared) > self.size:
            await JSONResponse({"detail": self._too_large()}, 413)(scope, receive, send)
            return
        left, ends, more = self.size, asyncio.get_running_loop().time() + self.seconds, True

        async def bounded() -> Message:
            nonlocal left, more
            if not more:  # what comes behind the body is that the client has gone
                return await receive()
            try:
                message = await asyncio.wait_for(receive(), ends - asyncio.get_running_loop().time())
            except asyncio.TimeoutError:
                raise HTTPException(408, f"the request did not come in within {self.seconds:g} s") from None
            more = message.get("more_body", False)
            left -= len(message.get("body", b""))
            if left < 0:
                raise HTTPException(413, self._too_large())
            return message

        await self.app(scope, bounded, send)

    def _too_large(self) -> str:
        return f"the request is larger than {self.size / 2**20:g} MB, the most that is allowed"


@contextmanager
def stored(**uploads: Sequence[UploadFile]) -> Iterator[list[list[Path]]]:
    """The uploads of each field as files, gone when the block ends; an error names field and upload, not the file.

    The names that a client gives its files are never used as paths.
    """
    shown: dict[str, str] = {}
    with tempfile.TemporaryDirectory(prefix=FOLDER_PREFIX, ignore_cleanup_errors=True) as folder:
        paths: list[list[Path]] = []
        for field, files in uploads.items():
            paths.append([])
            for number, upload in enumerate(files, 1):
                path = Path(folder) / f"{len(shown):06}"
                with path.open("wb") as file:
                    shutil.copyfileobj(upload.file, file)
                shown[str(path)] = field + f" {number}" * (len(files) > 1) + _named(upload.filename)
                paths[-1].append(path)
        try:
            yield paths
        except LLMCodecError as error:
            message = str(error)
            for path_text, name in shown.items():
                message = message.replace(path_text, name)
            raise type(error)(message) from error


def _named(filename: str | None) -> str:
    plain = "".join(character for character in filename or "" if character.isprintable())[:NAME_LENGTH]
    return f" ({plain})" if plain else ""

"""API and page together, behind a login if wanted, on a socket."""

from __future__ import annotations

import asyncio
import ipaddress
import socket
from base64 import b64decode
from secrets import compare_digest
from typing import Any

import h11
import uvicorn
from starlette.datastructures import Headers
from starlette.responses import JSONResponse
from starlette.types import ASGIApp, Receive, Scope, Send
from uvicorn.protocols.http.h11_impl import H11Protocol

from llmcodec.errors import ConfigError
from llmcodec.webapp.api import build_api
from llmcodec.webapp.page import mount_page
from llmcodec.webapp.service import Service

CONNECTIONS = 256  # one more gets 503
HEADER_SECONDS = 10.0  # for the headers of a request to come in
KEPT_SECONDS = 30  # for the next request on a connection to begin
GRACE_SECONDS = 3  # for requests to end when the server does


def build_app(service: Service, login: str | None = None) -> ASGIApp:
    """The API, and the page at /. login: USER:PASSWORD that both ask for."""
    app = mount_page(build_api(service), service)
    if login is not None:
        app.add_middleware(Login, login=login)
    return app


class Login:
    """Middleware: HTTP basic authentication for everything behind it."""

    def __init__(self, app: ASGIApp, login: str) -> None:
        self.app, self.login = app, login.encode()

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] == "http" and not self._knows(Headers(scope=scope).get("authorization", "")):
            headers = {"WWW-Authenticate": 'Basic realm="llmcodec", charset="UTF-8"'}
            await JSONResponse({"detail": "user and password are needed"}, 401, headers)(scope, receive, send)
        else:
            await self.app(scope, receive, send)

    def _knows(self, header: str) -> bool:
        scheme, _, given = header.partition(" ")
        try:
            login = b64decode(given, validate=True)
        except ValueError:
            return False
        return scheme.lower() == "basic" and compare_digest(login, self.login)


def checked_login(login: str) -> str:
    """ConfigError unless it is USER:PASSWORD."""
    user, colon, password = login.partition(":")
    if not (user and colon and password):
        raise ConfigError("--auth: USER:PASSWORD is needed, neither of them empty")
    return login


def is_loopback(host: str) -> bool:
    """Whether only this machine reaches that address."""
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return host == "localhost"


def listen(host: str, port: int) -> socket.socket:
    """A socket on that address; port 0: any free one. ConfigError if it cannot be had."""
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    try:
        return socket.create_server((host, port), family=family)
    except OSError as error:
        raise ConfigError(f"{host}, port {port}: {error.strerror or error}; choose with --host and --port") from error


def address(listening: socket.socket) -> str:
    host, port = listening.getsockname()[:2]
    return f"http://[{host}]:{port}" if ":" in host else f"http://{host}:{port}"


def server_of(app: ASGIApp) -> uvicorn.Server:
    """Answers until it is interrupted: `.run(sockets=[...])`."""
    config = uvicorn.Config(
        app, http=PunctualProtocol, ws="none", log_level="warning", access_log=False, server_header=False,
        limit_concurrency=CONNECTIONS, timeout_keep_alive=KEPT_SECONDS, timeout_graceful_shutdown=GRACE_SECONDS,
    )  # fmt: skip
    return uvicorn.Server(config)


class PunctualProtocol(H11Protocol):
    """Closes a connection whose headers take longer than HEADER_SECONDS, or that sends on so long after its answer."""

    _late: asyncio.TimerHandle | None = None

    def connection_made(self, transport: Any) -> None:
        super().connection_made(transport)
        self._close_in(HEADER_SECONDS)

    def handle_events(self) -> None:
        super().handle_events()
        if self._late is not None and self.cycle is not None and not self.cycle.response_complete:
            self._late.cancel()

    def on_response_complete(self) -> None:
        super().on_response_complete()
        if self.cycle.response_complete:  # else the next request has begun
            sends_on = self.conn.their_state is h11.SEND_BODY
            self._close_in(HEADER_SECONDS if sends_on else KEPT_SECONDS + HEADER_SECONDS)

    def connection_lost(self, exc: Exception | None) -> None:
        if self._late is not None:
            self._late.cancel()
        super().connection_lost(exc)

    def _close_in(self, seconds: float) -> None:
        if self._late is not None:
            self._late.cancel()
        self._late = self.loop.call_later(seconds, self.transport.close)

"""`serve`: the page and the HTTP API."""

from __future__ import annotations

import os
from contextlib import suppress
from typing import Annotated

import typer

from llmcodec.cli.common import CodecOption, LLMOption, load_codec, missing_extra


def serve(
    host: Annotated[str, typer.Option(help="Address to listen on; 0.0.0.0: everybody's.")] = "127.0.0.1",
    port: Annotated[int, typer.Option(min=0, max=65535, help="0: any free one.")] = 7860,
    auth: Annotated[
        str | None,
        typer.Option(metavar="USER:PASSWORD", envvar="LLMCODEC_AUTH", help="Ask for it, on the page and in the API."),
    ] = None,
    llm: LLMOption = None,
    codec: CodecOption = None,
    threads: Annotated[
        int | None, typer.Option("--threads", min=1, help="CPU threads of each worker (default: cores / workers)")
    ] = None,
    max_upload_mb: Annotated[int, typer.Option(help="Of one request, all files together.")] = 32,
    max_seconds: Annotated[float, typer.Option(help="Of one clip.")] = 60,
    max_clips: Annotated[int, typer.Option(help="Of one request.")] = 64,
    max_generated_seconds: Annotated[float, typer.Option(help="Of audio that the language model writes.")] = 10,
    workers: Annotated[int, typer.Option(help="Requests that are worked on at once.")] = 2,
    queue: Annotated[int, typer.Option(help="Requests that wait for a worker; one more gets 429.")] = 16,
    timeout: Annotated[float, typer.Option(help="Seconds until a request is answered.")] = 120,
) -> None:
    """Serve the page and the HTTP API, to this machine alone unless told otherwise. Ctrl-C ends it."""
    from llmcodec.llm import load_llm
    from llmcodec.webapp.limits import Limits

    try:
        from llmcodec.webapp import server
        from llmcodec.webapp.service import Service
    except ImportError as error:
        raise missing_extra("serve", error, "web") from error
    login = None if auth is None else server.checked_login(auth)
    limits = Limits(max_upload_mb * 2**20, max_seconds, max_clips, max_generated_seconds, workers, queue, timeout)
    with server.listen(host, port) as listening:
        if login is None and not server.is_loopback(host):
            typer.echo(f"warning: whoever reaches {host} can use this server; --auth asks for a password", err=True)
        model = load_codec(codec, threads or max(1, (os.cpu_count() or 1) // workers))
        with Service(model, load_llm(llm), limits) as service:
            running = server.server_of(server.build_app(service, login))
            where = server.address(listening)
            typer.echo(f"{where}: the page; {where}/docs: the API; Ctrl-C ends the server")
            with suppress(KeyboardInterrupt):  # its usual end
                running.run(sockets=[listening])

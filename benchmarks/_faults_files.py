"""Disks that are full, files that may not be touched, are gone or spoilt."""

from __future__ import annotations

import ctypes
import json
import os
import random
import shutil
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from _bench import Bench, Ended
from _faults import FAULTS, Row, content, count, fault, row, visible

from llmcodec.temporary import PATTERN

NOBODY = 65_534


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
    return row(name, bench, before, [ended], len(visible(out)) == 15 and "15.wav" in ended.errors)


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

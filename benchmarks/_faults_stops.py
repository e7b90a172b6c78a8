"""Commands that are killed, stopped, cut off from their reader or run twice."""

from __future__ import annotations

import json
import os
import random
import resource
import signal
from contextlib import suppress
from functools import partial
from pathlib import Path

from _bench import Bench, Ended
from _faults import Row, content, count, fault, grown, longer, row, step_of, visible


@fault("tokenize: killed five times")
def kill_tokenize(name: str, bench: Bench, draw: random.Random) -> Row:
    before, out = bench.surroundings(bench.out), bench.out / "words"
    bench.run(*bench.tokenize(bench.out / "whole"))
    ended = []
    for _ in range(5):
        command, had = bench.command(*bench.tokenize(out)), count(out, "0*")
        command.until(partial(grown, out, had))
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
        command.until(partial(longer, said, part))
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
        had = step_of(out)
        command.until(partial(_further, out, had))
        command.until(lambda: False, draw.random() * 0.3)
        command.kill()
        ended.append(command.wait())
    ended.append(bench.run(*bench.train(out)))
    ended = [
        Ended(one.code, one.out, "" if one.code in (-9, 0) else one.errors) for one in ended
    ]  # else: progress bars
    same = content(out / "codec") == content(bench.out / "whole" / "codec")
    return row(name, bench, before, ended, same and step_of(out) == 24, (-9, 0))


def _further(run: Path, had: int) -> bool:
    return step_of(run) > had


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
    return row(name, bench, before, ended, first.code == 0 and visible(out) == content(bench.out / "whole"), (-9, 0))


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


@fault("words: nobody reads what is printed (`| head`)")
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
    return row(name, bench, before, [ended], again.code == 0 and len(visible(out)) == 16, (0, 2))


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
        "tokenize": lambda: count(out, "0*") > 0, "train": lambda: step_of(out) > 0,
        "eval": lambda: longer(out, 3),
    }[what]  # fmt: skip
    first = bench.command(*commands[what])
    first.until(reached)
    os.kill(first.process.pid or 0, signal.SIGSTOP)
    second = bench.run(*commands[what])
    os.kill(first.process.pid or 0, signal.SIGCONT)
    done = first.wait()
    return row(name, bench, before, [second], done.code == 0)

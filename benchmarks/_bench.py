"""A place for injected faults: clips, a small codec, stand-ins of the models, commands in processes of their own."""

from __future__ import annotations

import hashlib
import importlib.util
import multiprocessing
import os
import signal
import sys
import time
import traceback
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from types import ModuleType
from typing import Any

import soundfile
import torch
import yaml
from _targets import small_codec
from transformers.utils import logging

import llmcodec.llm
import llmcodec.training.trainer  # noqa: F401  so that no command has to
from llmcodec import cli
from llmcodec.llm import FakeLLM

RATE = 16_000
STAND_INS = Path(__file__).resolve().parent.parent / "tests" / "stand_ins.py"
CONTEXT = multiprocessing.get_context("fork")  # libraries are there already; what runs is the command's own main()


@dataclass(frozen=True)
class Ended:
    """How a command ended: exit code (negative: the signal), and what it printed."""

    code: int
    out: str
    errors: str


class Command:
    """`llmcodec ARGUMENTS` in a process; `before` is called in it first."""

    def __init__(self, folder: Path, arguments: Sequence[object], before: Callable[[], object] | None = None) -> None:
        self.folder = folder
        folder.mkdir(exist_ok=True)
        self.process = CONTEXT.Process(target=self._main, args=([str(one) for one in arguments], before))
        self.process.start()

    def _main(self, arguments: list[str], before: Callable[[], object] | None) -> None:
        os.setsid()
        for number, name in ((1, "out"), (2, "err")):
            handle = os.open(self.folder / name, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o666)
            os.dup2(handle, number)
        if before:
            before()
        sys.stdout, sys.stderr = (os.fdopen(number, "w", buffering=1) for number in (1, 2))
        sys.argv = ["llmcodec", *arguments]
        signal.signal(signal.SIGINT, signal.default_int_handler)  # it is ignored if this script runs in the background
        torch.set_num_threads(1)
        fake: Any = lambda *_, **__: FakeLLM()  # noqa: E731
        llmcodec.llm.load_llm = fake
        code = 1
        try:
            cli.main()
            code = 0
        except SystemExit as ended:
            code = ended.code if isinstance(ended.code, int) else int(bool(ended.code))
        except BaseException:
            traceback.print_exc()
        finally:
            for stream in (sys.stdout, sys.stderr):
                try:
                    stream.flush()
                except (OSError, ValueError):
                    code = code or 1
            os._exit(code)

    def wait(self, seconds: float = 300) -> Ended:
        self.process.join(seconds)
        if self.process.is_alive():
            self.kill()
            raise RuntimeError(f"a command did not end in {seconds:.0f} s")
        paths = [self.folder / name for name in ("out", "err")]  # not there: killed before it had begun
        text = [path.read_text(errors="replace") if path.exists() else "" for path in paths]
        return Ended(self.process.exitcode or 0, *text)

    def kill(self, sign: int = signal.SIGKILL) -> None:
        if self.process.is_alive() and self.process.pid:
            os.kill(self.process.pid, sign)
        self.process.join(60)

    def until(self, reached: Callable[[], bool], seconds: float = 120) -> bool:
        """Wait for a moment of the work; False: it ended before."""
        end = time.monotonic() + seconds
        while self.process.is_alive() and time.monotonic() < end:
            if reached():
                return True
            time.sleep(0.002)
        return False


class Bench:
    """Folders below `root`: clips (with metadata.csv), codec, models, recipe.yaml; `out` is for the commands."""

    def __init__(self, root: Path) -> None:
        self.root, self.out = root, root / "out"
        self.clips, self.codec = root / "clips", root / "codec"
        self.out.mkdir(parents=True)
        self._made = 0
        small_codec().save_checkpoint(self.codec)
        rows = ["file_name,label,text"]
        self.clips.mkdir()
        for number in range(16):
            wave = 0.4 * torch.sin(torch.arange(9000 + 400 * number) * (0.05 + 0.02 * number))
            soundfile.write(self.clips / f"{number:02}.wav", wave.numpy(), RATE)
            rows.append(f"{number:02}.wav,{'low' if number < 8 else 'high'},{'ka' if number % 2 else 'to'}")
        (self.clips / "metadata.csv").write_text("\n".join(rows) + "\n", encoding="utf-8")
        for path in root.rglob("*"):
            path.chmod(0o755 if path.is_dir() else 0o644)

    def command(self, *arguments: object, before: Callable[[], object] | None = None) -> Command:
        self._made += 1
        return Command(self.root.with_name("printed") / str(self._made), arguments, before)

    def run(self, *arguments: object, before: Callable[[], object] | None = None) -> Ended:
        return self.command(*arguments, before=before).wait()

    def tokenize(self, out: Path, per_shard: int = 1) -> tuple[object, ...]:
        return ("tokenize", self.clips, out, "--per-shard", per_shard, "--codec", self.codec)

    def evaluate(self, *more: object) -> tuple[object, ...]:
        return (
            "eval",
            self.clips,
            "--episodes",
            60,
            "--whisper",
            "none",
            "--llm",
            "fake",
            "--codec",
            self.codec,
            *more,
        )

    def train(self, out: Path) -> tuple[object, ...]:
        return ("train", self.root / "recipe.yaml", "--data", self.clips, "--out", out)

    def recipe(self) -> None:
        """Write a recipe of seconds, with the stand-ins of the tests for the models that it learns from."""
        path = self.root / "recipe.yaml"
        if not path.exists():
            made, models = _stand_ins(), self.root / "models"
            words = {"source": "llm"}
            logging.disable_progress_bar()
            content = {
                "llm": str(made.save_llm(models / "llm")),
                "data": {"crop_seconds": 0.48},
                "teachers": {
                    "audio": str(made.save_whisper(models / "whisper")), "audio_layer": 1,
                    "text": str(made.save_text_model("bert", models / "text")),
                },
                "latent_dim": 16,
                "backbone": {
                    "mels": 20, "kernel": 3, "expansion": 1, "encoder_width": 16, "encoder_depth": 1,
                    "listener_mels": 20, "listener_width": 16, "listener_heads": 2, "listener_expansion": 1,
                    "listener_kernel": 3, "listener_slow_depth": 1, "listener_slow_kernel": 3,
                    "decoder_width": 16, "decoder_depth": 1, "fine_width": 8, "fine_depth": 1,
                },
                "layers": [
                    {"name": "semantic", "stride": 4, "lookup_dim": 8, "from_context": True,
                     "words": {**words, "size": 12}},
                    {"name": "fine", "stride": 2, "lookup_dim": 4, "words": words},
                ],
                "semantic": {"sample_clips": 30, "kmeans_rounds": 3},
                "optimiser": {"steps": 24, "batch_size": 2, "warmup_steps": 2},
                "log_every": 4,
                "checkpoint_every": 4,
            }  # fmt: skip
            path.write_text(yaml.safe_dump(content), encoding="utf-8")

    def surroundings(self, kept: Path) -> str:
        """A hash of every name and byte that lies outside of `kept`."""
        sha = hashlib.sha256()
        for path in sorted(self.root.rglob("*")):
            if path != kept and kept not in path.parents:
                sha.update(str(path.relative_to(self.root)).encode())
                sha.update(path.read_bytes() if path.is_file() else b"")
        return sha.hexdigest()


def _stand_ins() -> ModuleType:
    """The tests' tiny models to learn from, whose making takes seconds."""
    spec = importlib.util.spec_from_file_location("stand_ins", STAND_INS)
    assert spec and spec.loader
    made = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(made)
    return made

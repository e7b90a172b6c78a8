"""What the fuzzing reads: each kind of file that a user may give, with whole examples of it and the function that reads
it."""

from __future__ import annotations

import csv
import io
import json
import shutil
import tarfile
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from importlib.resources import files
from pathlib import Path

import numpy as np
import soundfile
import torch

from llmcodec.audio import audio_info, load_audio
from llmcodec.codec import AudioCodes, CodecConfig, LayerConfig, LLMCodec, SpectralConfig
from llmcodec.evaluation import draw_episodes, load_episodes, read_labelled, save_episodes
from llmcodec.evaluation.journal import open_journal
from llmcodec.evaluation.scp import read_scp
from llmcodec.generation.tables import read_pairs, read_spoken
from llmcodec.prompting import load_generation_template, load_template
from llmcodec.training.recipe import Recipe
from llmcodec.training.sources import open_source
from llmcodec.vocabulary import Vocabulary

RATE = 16_000
CLIPS = ("a/one.wav", "a/two.wav", "b/three.wav", "b/four.wav")
SMALL = CodecConfig(
    latent_dim=16,
    backbone=SpectralConfig(
        mels=20, kernel=3, expansion=1, encoder_width=16, encoder_depth=1, listener_mels=20, listener_width=16,
        listener_heads=2, listener_expansion=1, listener_kernel=3, listener_slow_depth=1, listener_slow_kernel=3,
        decoder_width=16, decoder_depth=1, fine_width=8, fine_depth=1,
    ),
    layers=(LayerConfig("semantic", 4, 8, from_context=True), LayerConfig("fine", 1, 4)),
)  # fmt: skip


@dataclass(frozen=True)
class Target:
    """file: what is written, relative to the folder of the fuzzing; read: what is to read it; named: what a message
    must hold; count: of mutations in a full run."""

    file: str
    seeds: Sequence[bytes]
    read: Callable[[Path], object]
    count: int
    text: bool = True
    named: str = ""


def build_targets(root: Path) -> dict[str, Target]:
    """The targets by name; `root` gets what lies beside the files that are damaged."""
    codec = small_codec()
    codec.save_checkpoint(root / "codec")
    wave = tone(800)
    for name in CLIPS:
        (root / "clips" / name).parent.mkdir(parents=True, exist_ok=True)
        soundfile.write(root / "clips" / name, wave.numpy(), RATE)
    return {**_audio(), **_codec(root, codec, wave), **_yaml(), **_tables(root), **_evaluation(root)}


def small_codec() -> LLMCodec:
    torch.manual_seed(0)
    words = Vocabulary.portable().words
    return LLMCodec(SMALL, [Vocabulary(words[:24]), Vocabulary(words[10:40])]).eval().requires_grad_(False)


def tone(samples: int) -> torch.Tensor:
    return 0.5 * torch.sin(torch.arange(samples) * 0.2)


def _audio() -> dict[str, Target]:
    def made(kind: str, subtype: str | None = None, channels: int = 1, rate: int = RATE) -> bytes:
        memory = io.BytesIO()
        samples = np.tile(tone(600).numpy()[:, None], (1, channels))
        soundfile.write(memory, samples, rate, format=kind, subtype=subtype)
        return memory.getvalue()

    def read(path: Path) -> None:
        audio_info(path)
        load_audio(path)

    kinds = {
        "wav": [made("WAV", s, c) for s in ("PCM_16", "PCM_24", "FLOAT", "ULAW", "IMA_ADPCM") for c in (1, 2)],
        "flac": [made("FLAC", "PCM_16"), made("FLAC", "PCM_24", 2), made("FLAC", "PCM_16", 8, 44_100)],
        "ogg": [made("OGG", "VORBIS"), made("OGG", "VORBIS", 2, 44_100)],
        "opus": [made("OGG", "OPUS", 1, 48_000), made("OGG", "OPUS", 2, 16_000)],
        "mp3": [made("MP3"), made("MP3", channels=2, rate=44_100)],
        "aiff": [made("AIFF"), made("AIFF", "FLOAT", 2)],
        "au": [made("AU"), made("AU", "ULAW")],
        "caf": [made("CAF"), made("CAF", "ALAC_16")],
        "w64": [made("W64")],
    }
    counts = {"wav": 40_000, "flac": 25_000, "ogg": 15_000, "opus": 15_000, "mp3": 20_000}
    return {
        f"audio, {kind}": Target(f"clip.{kind}", seeds, read, counts.get(kind, 5_000), False, f"clip.{kind}")
        for kind, seeds in kinds.items()
    }


def _codec(root: Path, codec: LLMCodec, wave: torch.Tensor) -> dict[str, Target]:
    def codes(path: Path) -> None:
        found = AudioCodes.load(path)
        AudioCodes.cat([found, found])[0]
        try:
            codec.check(found)
        except Exception as error:
            raise type(error)(f"{path}: {error}") from error  # as the command line does
        if int(found.samples.sum()) < 10 * RATE:
            codec.decode(found)

    def checkpoint(path: Path) -> None:
        try:
            loaded = LLMCodec.from_pretrained(root / "codec")
            if loaded.sample_rate <= RATE:
                loaded.decode(loaded.encode(wave))
        finally:
            whole = root / "whole" / path.relative_to(root / "codec")
            shutil.copyfile(whole, path)

    shutil.copytree(root / "codec", root / "whole", dirs_exist_ok=True)
    kept = []
    for number, clips in enumerate(([wave], [wave, tone(3000)])):
        codec.encode(clips).save(root / f"{number}.safetensors")
        kept.append((root / f"{number}.safetensors").read_bytes())

    def part(file: str, count: int, text: bool) -> Target:
        return Target(f"codec/{file}", [(root / "codec" / file).read_bytes()], checkpoint, count, text, "codec")

    return {
        "codes": Target("codes.safetensors", kept, codes, 20_000, False, "codes.safetensors"),
        "codec, config.json": part("config.json", 8_000, True),
        "codec, weights": part("model.safetensors", 4_000, False),
        "codec, words": part("words/fine.txt", 1_000, True),
    }


def _yaml() -> dict[str, Target]:
    prompts = Path(str(files("llmcodec") / "prompts"))
    recipes = Path(__file__).resolve().parent.parent / "recipes"
    shown = [path.read_bytes() for path in sorted(recipes.glob("*.yaml"))]
    short = b"layers:\n- {name: semantic, stride: 4, lookup_dim: 8, from_context: true}\n- {name: fine, stride: 2, "
    short += b"lookup_dim: 4}\ndata: {balance: {speech: 0.5}}\nbackbone: {kind: spectral, mels: 20}\nseed: 1\n"
    readers: dict[str, tuple[list[bytes], Callable[[Path], object], int]] = {
        "template": ([path.read_bytes() for path in sorted(prompts.glob("*.yaml"))], load_template, 8_000),
        "generation template": (
            [path.read_bytes() for path in sorted((prompts / "generation").glob("*.yaml"))],
            load_generation_template,
            5_000,
        ),
        "recipe": ([short, short, min(shown, key=len)], Recipe.read, 3_000),
    }
    return {
        name: Target("given.yaml", seeds, read, count, named="given.yaml")
        for name, (seeds, read, count) in readers.items()
    }


def _tables(root: Path) -> dict[str, Target]:
    folder = root / "clips"
    rows = [f"{name},{name[0]},{number % 2},ka {number}" for number, name in enumerate(CLIPS)]
    table = "\n".join(["file_name,label,speaker,text", *rows, ""]).encode()
    memory = io.StringIO()
    csv.writer(memory, quoting=csv.QUOTE_ALL).writerows(row.split(",") for row in table.decode().split())
    tables = [table, memory.getvalue().encode()]
    superb = json.dumps({name: {"instruction": "Which?", "label": name[0]} for name in CLIPS}, indent=1).encode()
    items = [f"{name[0]}/{Path(name).name}" for name in CLIPS]
    lists = [f"{items[0]},{items[2]},{items[1]},\n{items[3]},{items[1]},{items[2]}\n".encode()]
    for name in CLIPS:
        shutil.copyfile(folder / name, folder / Path(name).name)
    (root / "task").mkdir()
    shutil.copytree(folder / "a", root / "task" / "a")
    shutil.copytree(folder / "b", root / "task" / "b")
    (root / "tar").mkdir()
    shard = io.BytesIO()
    with tarfile.open(fileobj=shard, mode="w") as archive:
        archive.add(folder / "a" / "one.wav", "one.wav")
        for name, content in (("one.json", b'{"text": "ka", "kind": "speech"}'), ("two.txt", b"ka")):
            member = tarfile.TarInfo(name)
            member.size = len(content)
            archive.addfile(member, io.BytesIO(content))

    def clips(path: Path) -> None:
        source = open_source(path.parent)
        for clip in source.clips:
            source.stamp(clip)
        source.read(source.clips[0])

    pairs = "\n".join(["noisy,clean", *(f"{a},{b}" for a, b in zip(CLIPS, CLIPS[::-1], strict=True)), ""]).encode()
    spoken = "\n".join(["file,text", *(f"{name},ka" for name in CLIPS), ""]).encode()
    return {
        "metadata.csv": Target("clips/metadata.csv", tables, lambda path: read_labelled(path.parent), 5_000),
        "metadata.csv, to train": Target("clips/metadata.csv", tables, clips, 3_000, named=": "),  # of any file
        "metadata.json": Target("task/metadata.json", [superb], lambda path: read_labelled(path.parent), 3_000),
        "pairs.csv": Target("clips/pairs.csv", [pairs], lambda path: read_pairs(path, "noisy", "clean"), 1_500),
        "spoken.csv": Target("clips/spoken.csv", [spoken], read_spoken, 1_500),
        "episodes, scp": Target("list.scp", lists, lambda path: read_scp(path, folder), 3_000, named="list.scp"),
        "tar": Target("tar/shard.tar", [shard.getvalue()], clips, 2_000, False),
    }


def _evaluation(root: Path) -> dict[str, Target]:
    labelled = read_labelled(root / "task")
    drawn = draw_episodes(labelled, 2, 1, 3, seed=0)
    save_episodes(root / "episodes.json", labelled, drawn)

    def go_on(path: Path) -> None:
        with open_journal(path, ["the same"]) as journal:
            ask = journal.kept("llm, knn", lambda episode: np.array([[0.25, 0.75]]))
            for episode in drawn:
                assert ask(episode).shape == (1, 2)

    go_on(root / "journal.jsonl")

    saved, kept = (root / "episodes.json").read_bytes(), (root / "journal.jsonl").read_bytes()
    return {
        "episodes, json": Target("given.json", [saved], lambda path: load_episodes(path, labelled), 3_000),
        "journal": Target("given.jsonl", [kept], go_on, 3_000, named="given.jsonl"),
    }

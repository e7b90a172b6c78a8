"""LLMCodec: audio to words of a language model, and back."""

from __future__ import annotations

import math
import os
import shutil
from collections.abc import Iterable, Iterator, Sequence
from importlib.resources import files
from math import prod
from pathlib import Path
from typing import Any

import torch
from huggingface_hub import ModelCard, PyTorchModelHubMixin, snapshot_download
from safetensors import SafetensorError
from safetensors.torch import load_file, save
from torch import Tensor, nn
from torch.overrides import TorchFunctionMode

from llmcodec.codec import streaming
from llmcodec.codec.backbones import build_backbone
from llmcodec.codec.card import model_card
from llmcodec.codec.codes import PADDING, AudioCodes
from llmcodec.codec.config import CodecConfig
from llmcodec.codec.place import Decoded, Guide, Place
from llmcodec.codec.quantizer import LayerOutput, ResidualQuantizer
from llmcodec.errors import AudioError, ModelError, first_line
from llmcodec.temporary import beside
from llmcodec.vocabulary import Vocabulary

CHECKPOINT = frozenset(["README.md", "config.json", "model.safetensors", "words"])
MAX_BATCH_SECONDS = 120.0  # longer batches are split, longer clips are coded block by block


class LLMCodec(nn.Module, PyTorchModelHubMixin, library_name="llmcodec", license="apache-2.0"):
    """A multi-scale residual codec whose codebooks are words of a language model.

    vocabularies: one per layer; `vocabularies[l].words[code]` is the word of a code of layer l.
    """

    def __init__(self, config: CodecConfig, vocabularies: Sequence[Vocabulary]) -> None:
        super().__init__()
        if len(vocabularies) != len(config.layers):
            raise ModelError(f"{len(config.layers)} layers need as many vocabularies, not {len(vocabularies)}")
        self.config = config
        self.vocabularies = tuple(vocabularies)
        self.encoder, self.decoder = build_backbone(config)
        self.quantizer = ResidualQuantizer(config, tuple(len(vocabulary) for vocabulary in vocabularies))

    @property
    def sample_rate(self) -> int:
        return self.config.sample_rate

    @property
    def frame_rate(self) -> float:
        """Frames a second."""
        return self.config.sample_rate / self.config.frame_samples

    @property
    def strides(self) -> tuple[int, ...]:
        return tuple(layer.stride for layer in self.config.layers)

    @property
    def layer_names(self) -> tuple[str, ...]:
        return tuple(layer.name for layer in self.config.layers)

    @property
    def tokens_per_second(self) -> float:
        return sum(self.frame_rate / stride for stride in self.strides)

    @property
    def bits_per_second(self) -> float:
        """Were all words of a layer equally likely."""
        sizes = [math.log2(len(vocabulary)) for vocabulary in self.vocabularies]
        return sum(self.frame_rate / stride * size for stride, size in zip(self.strides, sizes, strict=True))

    @property
    def device(self) -> torch.device:
        return next(self.parameters()).device

    def forward(
        self, wave: Tensor, mask: Tensor, tables: list[Tensor] | None = None, guide: Guide | None = None
    ) -> tuple[Decoded, list[LayerOutput]]:
        """For training: wave [B, T] of whole frames, mask [B, F, 1] -> what is decoded, layer outputs.

        `tables` replaces the stored codebooks while their projections are being trained; `guide` is for a
        decoder with a harmonic source.
        """
        latent, context = self.encoder(wave, mask)
        quantised, outputs = self.quantizer(latent, context, mask, tables)
        return self.decoder(quantised, mask, guide=guide), outputs

    def encode(self, waves: Tensor | Sequence[Tensor]) -> AudioCodes:
        """One waveform float32 [T] or a list of them (any lengths) at `sample_rate` -> codes, one row per waveform.

        Layer l of a clip has ceil(ceil(T / frame_samples) / stride_l) codes. AudioError on an empty or non-finite wave.
        """
        clips = [waves] if isinstance(waves, Tensor) else list(waves)
        for number, clip in enumerate(clips):
            if clip.ndim != 1 or not len(clip):
                raise AudioError(f"clip {number}: a waveform is [samples] and not empty, not {list(clip.shape)}")
            if not torch.isfinite(clip).all():
                raise AudioError(f"clip {number}: holds values that are not finite")
        parts: list[AudioCodes] = []
        order: list[int] = []
        limit = int(MAX_BATCH_SECONDS * self.sample_rate)
        for group in _groups([len(clip) for clip in clips], limit):
            order += group
            if len(clips[group[0]]) > limit:
                long = clips[group[0]]
                pieces = list(self.stream_encode(long.split(self.sample_rate * 10)))
                parts.append(streaming.join_codes(pieces))
            else:
                parts.append(self._encode_batch([clips[number] for number in group]))
        found, back = AudioCodes.cat(parts), torch.tensor(order).argsort()
        return AudioCodes(tuple(layer[back] for layer in found.layers), found.samples[back])

    def decode(self, codes: AudioCodes) -> list[Tensor]:
        """Codes -> one waveform float32 [samples] per clip, each exactly as long as the one that was encoded."""
        self.check(codes)
        waves: dict[int, Tensor] = {}
        limit = int(MAX_BATCH_SECONDS * self.sample_rate)
        for group in _groups(codes.samples.tolist(), limit):
            if int(codes.samples[group[0]]) > limit:
                waves[group[0]] = torch.cat(list(self.stream_decode(codes[group[0]])))
            else:
                made, _ = self._decode_batch(AudioCodes.cat([codes[number] for number in group]))
                waves |= zip(group, made, strict=True)
        return [waves[number] for number in range(len(waves))]

    def stream_encode(self, chunks: Iterable[Tensor]) -> Iterator[AudioCodes]:
        """Chunks float32 [t] of one clip, of any sizes -> codes piece by piece, in constant memory.

        Joined with `llmcodec.codec.join_codes` they equal `encode` of the whole clip.
        """
        return streaming.stream_encode(self._encode_batch, chunks, self.config, self.encoder.reach)

    def stream_decode(self, codes: AudioCodes) -> Iterator[Tensor]:
        """The waveform of one clip piece by piece, in constant memory; joined, it equals `decode`."""
        self.check(codes)
        return streaming.stream_decode(self._decode_batch, codes, self.config, self.decoder.reach)

    def decode_pieces(self, pieces: Iterable[AudioCodes]) -> Iterator[Tensor]:
        """Codes of one clip as they come, in pieces of whole units (but for the last) -> its waveform in pieces, each
        as soon as no later code can change it; joined, it equals `decode`."""

        def checked() -> Iterator[AudioCodes]:
            for piece in pieces:
                self.check(piece)
                yield piece

        return streaming.decode_pieces(self._decode_batch, checked(), self.config, self.decoder.reach)

    @torch.inference_mode()
    def queries(self, wave: Tensor) -> Tensor:
        """What the first layer looks for in one clip, before it chooses the nearest words: unit vectors float32 [n, d],
        one for each of its codes. The whole clip is held in memory at once."""
        outputs, samples = self._layers([wave])
        frames = -(-int(samples) // self.config.frame_samples)
        return outputs[0].query[0, : -(-frames // self.strides[0])].cpu()

    def words(self, codes: AudioCodes) -> dict[str, list[str]]:
        """The words of one clip, by the name of their layer."""
        return {
            name: [vocabulary.words[code] for code in row[0].tolist()]
            for name, vocabulary, row in zip(self.layer_names, self.vocabularies, codes.layers, strict=True)
        }

    def check(self, codes: AudioCodes) -> None:
        """ModelError when `codes` cannot be of this codec."""
        codes.check(self.strides, [len(vocabulary) for vocabulary in self.vocabularies], self.config.frame_samples)

    @torch.inference_mode()
    def _encode_batch(self, clips: Sequence[Tensor]) -> AudioCodes:
        outputs, samples = self._layers(clips)
        frames = -(-samples // self.config.frame_samples)
        layers = []
        for output, stride in zip(outputs, self.strides, strict=True):
            counts = -(-frames // stride)
            codes = output.codes.cpu()[:, : int(counts.max())]
            layers.append(codes.masked_fill(torch.arange(codes.shape[1]) >= counts[:, None], PADDING))
        return AudioCodes(tuple(layers), samples)

    def _layers(self, clips: Sequence[Tensor]) -> tuple[list[LayerOutput], Tensor]:
        """What each layer does with clips, padded to whole units, and their lengths in samples."""
        unit = self.config.unit_samples
        samples = torch.tensor([len(clip) for clip in clips])
        units = -(-samples // unit)
        width = int(units.max()) * unit
        wave = torch.stack([nn.functional.pad(clip.to(self.device), (0, width - len(clip))) for clip in clips])
        mask = self._mask(units * self.config.frames_multiple)
        latent, context = self.encoder(wave, mask)
        _, outputs = self.quantizer(latent, context, mask)
        return outputs, samples

    @torch.inference_mode()
    def _decode_batch(self, codes: AudioCodes, place: Place | None = None) -> tuple[list[Tensor], Tensor | None]:
        """The waveforms, and the phases at the starts of their frames [B, F] if the decoder keeps any."""
        frames = -(-codes.samples // self.config.frame_samples)
        mask = self._mask(-(-frames // self.config.window) * self.config.window)
        latent = self.quantizer.decode([layer.clamp(min=0).to(self.device) for layer in codes.layers], mask.shape[1])
        latent = latent * nn.functional.pad(self._mask(frames), (0, 0, 0, mask.shape[1] - int(frames.max())))
        decoded = self.decoder(latent, mask, place)
        waves = zip(decoded.wave.cpu(), codes.samples.tolist(), strict=True)
        return [row[:count] for row, count in waves], decoded.turns

    def _mask(self, frames: Tensor) -> Tensor:
        """frames long [B] -> float [B, max, 1]: 1 on a clip's frames, 0 behind."""
        return (torch.arange(int(frames.max())) < frames[:, None])[..., None].float().to(self.device)

    # Checkpoints: config.json, one words/<layer>.txt per layer, model.safetensors (half precision on disk).

    def _save_pretrained(self, save_directory: Path, dtype: torch.dtype = torch.float16) -> None:
        self.save_words(save_directory)
        state = {name: value.to(dtype).contiguous() for name, value in self.state_dict().items()}
        (save_directory / "model.safetensors").write_bytes(save(state, metadata={"format": "pt"}))

    def generate_model_card(self, *_: Any, **about: str) -> ModelCard:
        """The README.md of `save_pretrained` and `push_to_hub`; about: arguments of `card.model_card`."""
        return model_card(self, **about)

    def push_to_hub(self, repo_id: str, *, model_card_kwargs: dict[str, str] | None = None, **options: Any) -> str:
        """Upload the codec with its card and return the address of the commit.

        model_card_kwargs: what its trainer tells, `training_data` and `license`. options: those of huggingface_hub.
        """
        about = {"repository": repo_id} | (model_card_kwargs or {})
        return super().push_to_hub(repo_id, model_card_kwargs=about, **options)

    def save_words(self, folder: Path) -> None:
        """What a checkpoint holds besides weights: `config.json` and one `words/<layer>.txt` per layer."""
        (folder / "words").mkdir(exist_ok=True)
        (folder / "config.json").write_text(self.config.to_json(), encoding="utf-8")
        for name, vocabulary in zip(self.layer_names, self.vocabularies, strict=True):
            (folder / "words" / f"{name}.txt").write_text("\n".join(vocabulary.words) + "\n", encoding="utf-8")

    def save_checkpoint(self, folder: str | Path, dtype: torch.dtype = torch.float16) -> None:
        """`save_pretrained`, whole or not at all: written beside the folder and renamed. ModelError if that fails, or
        if the folder holds anything but a checkpoint.

        dtype: of the weights on disk; they are loaded as float32.
        """
        folder = Path(folder)
        strange = sorted({entry.name for entry in folder.iterdir()} - CHECKPOINT) if folder.is_dir() else []
        if strange:
            raise ModelError(f"{folder}: holds {strange[0]}, which is no part of a codec; give a folder of its own")
        work, old = beside(folder), beside(folder)
        try:
            work.mkdir(parents=True)
            self._save_pretrained(work, dtype)
            if folder.is_dir():
                os.replace(folder, old)
            os.replace(work, folder)
        except OSError as error:
            raise ModelError(f"{folder}: cannot be written: {error.strerror}") from error
        finally:
            shutil.rmtree(work, ignore_errors=True)
            shutil.rmtree(old, ignore_errors=True)

    @classmethod
    def from_pretrained(cls, pretrained_model_name_or_path: str | Path | None = None, **options: Any) -> LLMCodec:
        """The codec inside the package, or that of a folder or hub id (`revision`, `token`, ... go to the hub).

        In evaluation mode, float32. ModelError when it is not there or damaged.
        """
        if pretrained_model_name_or_path is None:
            return cls._from_folder(Path(str(files("llmcodec") / "data" / "codec")))
        if Path(pretrained_model_name_or_path).is_dir():
            return cls._from_folder(Path(pretrained_model_name_or_path))
        try:
            folder = snapshot_download(str(pretrained_model_name_or_path), **options)
        except Exception as error:  # the hub client raises many kinds
            name = str(pretrained_model_name_or_path)
            raise ModelError(
                f"codec {name!r} is neither a folder nor to be had from the hub: {first_line(error)}"
            ) from error
        return cls._from_folder(Path(folder))

    @classmethod
    def _from_folder(cls, folder: Path) -> LLMCodec:
        try:
            config = CodecConfig.from_json((folder / "config.json").read_text(encoding="utf-8"))
            words = [(folder / "words" / f"{layer.name}.txt").read_text(encoding="utf-8") for layer in config.layers]
            vocabularies = [Vocabulary(tuple(text.split("\n")[:-1])) for text in words]
            state = load_file(folder / "model.safetensors")
            with _Allowance(sum(value.numel() for value in state.values())):
                codec = cls(config, vocabularies)
            expected = codec.state_dict()
            for name in sorted({*expected, *state}):
                if name not in state or name not in expected or state[name].shape != expected[name].shape:
                    raise ModelError(f"the weights {name} are not those of config.json")
                if not (state[name].is_floating_point() and state[name].isfinite().all()):
                    raise ModelError(f"the weights {name} are no finite numbers")
            codec.load_state_dict({name: value.float() for name, value in state.items()})
        except (ModelError, OSError, UnicodeDecodeError, SafetensorError, RuntimeError) as error:
            raise ModelError(f"{folder}: not a codec checkpoint: {first_line(error)}") from error
        return codec.eval().requires_grad_(False)


class _Allowance(TorchFunctionMode):
    """Within it, new tensors may hold so many numbers together: a config cannot ask for more than its weights fill."""

    def __init__(self, numbers: int) -> None:
        super().__init__()
        self.left = numbers

    def __torch_function__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        if func in (torch.empty, torch.full, torch.ones, torch.randn, torch.zeros):
            self.left -= prod(args[0] if isinstance(args[0], (tuple, list)) else args)
            if self.left < 0:
                raise ModelError("config.json describes more weights than there are")
        return func(*args, **(kwargs or {}))


def _groups(lengths: Sequence[int], limit: int) -> Iterator[list[int]]:
    """Positions of clips, the shortest first: as many together as, padded to the longest, fit `limit` samples and are
    at most a fifth padding; at least one."""
    group: list[int] = []
    total = 0
    for number in sorted(range(len(lengths)), key=lengths.__getitem__):
        padded = lengths[number] * (len(group) + 1)
        if group and (padded > limit or 0.8 * padded > total + lengths[number]):
            yield group
            group, total = [], 0
        group.append(number)
        total += lengths[number]
    if group:
        yield group

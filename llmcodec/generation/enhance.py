"""Enhancer: noisy clips made cleaner by what pairs of noisy and clean clips show, with nothing trained."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any

import torch
from torch import Tensor, nn

from llmcodec.audio import load_audio
from llmcodec.codec import AudioCodes, LLMCodec
from llmcodec.codec.mel import mel_filterbank
from llmcodec.errors import ConfigError
from llmcodec.llm import FrozenLLM, Sampling, Schedule
from llmcodec.prompting import GenerationBuilder, load_generation_template

Clip = Any  # path, numpy array or tensor [T] or [channels, T] at the codec's rate
FFT, BANDS = 640, 64
FLOOR = 0.1  # no band is turned down by more than this
SOFTNESS = 0.5  # power of the share of speech that is the gain of the amplitude
SPAN = 1  # frames on either side that are compared too
MIXED = 3  # mixtures of each pair's speech with the noises of other pairs
STEADY = 0.2  # share of a bin's frames in which steady noise is taken to stand alone


class Enhancer:
    """Turns down what the demonstrations, where they sound alike, show to be noise.

    A frame of the noisy clip is compared, by what its words stand for in the codec, with every frame of the noisy
    demonstrations, and of mixtures of their speech with each other's noises. The share of speech that the `neighbours`
    nearest had in each band, known from their clean halves, is averaged and becomes a mask on the noisy spectrum, a
    Wiener gain by example. Where it tells of noise, what is steady in the clip itself is subtracted too, and what the
    codec leaves out when it decodes the clip's words: its decoder has learned to leave noise out of speech. The clip
    keeps its own fine structure, which a resynthesis from words would lose.

    codec: LLMCodec, its folder or hub id; None: the one inside the package.
    """

    def __init__(self, codec: LLMCodec | str | None = None, neighbours: int = 32) -> None:
        if neighbours < 1:
            raise ConfigError(f"neighbours: {neighbours} must be 1 or more")
        self.codec = codec if isinstance(codec, LLMCodec) else LLMCodec.from_pretrained(codec)
        self.neighbours = neighbours
        frame = self.codec.config.frame_samples
        self._per_frame = 3 if frame % 3 == 0 else 1  # spectra
        self._hop = frame // self._per_frame
        self._window = torch.hann_window(FFT)
        bank = mel_filterbank(BANDS, FFT, self.codec.sample_rate)
        self._to_bands = bank / bank.sum(0, keepdim=True).clamp(min=1e-6)
        self._to_bins = (bank / bank.sum(1, keepdim=True).clamp(min=1e-6)).T

    def fit(self, noisy: Iterable[Clip], clean: Iterable[Clip]) -> Enhancer:
        """Take in the pairs. ConfigError: none, counts differ, or the two of a pair are not equally long."""
        firsts, seconds = list(noisy), list(clean)
        if len(firsts) != len(seconds):
            raise ConfigError(f"{len(firsts)} noisy recordings need as many clean ones, not {len(seconds)}")
        if not firsts:
            raise ConfigError("no demonstrations; one pair of a noisy and a clean recording is needed, better several")
        pairs = [self._pair(number, *pair) for number, pair in enumerate(zip(firsts, seconds, strict=True), 1)]
        self.pairs: list[tuple[AudioCodes, AudioCodes]] = []
        features, masks = [], []
        for wave, target in [*pairs, *mixtures(pairs, MIXED)]:
            codes = self.codec.encode(wave)
            self.pairs.append((codes, self.codec.encode(target)))
            features.append(self._features(codes))
            masks.append(self._mask(wave, target, len(features[-1])))
        self._features_known, self._masks_known = torch.cat(features), torch.cat(masks)
        self._scale = 1 / self._features_known.std(0, correction=0).clamp(min=1e-4)
        self._owner = [(n, place) for n, rows in enumerate(features) for place in range(len(rows))]
        return self

    def _pair(self, number: int, noisy: Clip, clean: Clip) -> tuple[Tensor, Tensor]:
        wave, target = (load_audio(clip, self.codec.sample_rate) for clip in (noisy, clean))
        if abs(len(wave) - len(target)) > 0.05 * self.codec.sample_rate:
            raise ConfigError(
                f"pair {number}: the noisy recording has {len(wave)} samples, the clean one {len(target)}; both "
                "must be of one recording"
            )
        size = min(len(wave), len(target))
        return wave[:size], target[:size]

    def enhance(self, clip: Clip) -> Tensor:
        """The clip, cleaner: float32 [T], as long as it was, at the codec's rate. AudioError: it cannot be read."""
        wave = load_audio(clip, self.codec.sample_rate)
        codes = self.codec.encode(wave)
        return self._masked(wave, self._by_example(codes), self._left(wave, self.codec.decode(codes)[0]))

    def resembling(self, wave: Tensor, target: Tensor) -> Tensor:
        """wave [T], its bands turned down to what `target` [T] has in them, at most: a Wiener gain."""
        return self._masked(wave, self._left(wave, target))

    def _masked(self, wave: Tensor, share: Tensor, heard: Tensor | None = None) -> Tensor:
        """wave [T] with the shares [n, BANDS] of speech in its spectra left in it; where they tell of noise, with those
        `heard` in it, too."""
        spectrum = self._stft(wave)
        share = (share @ self._to_bins)[: len(spectrum)]
        doubtful = subtraction(spectrum.abs().square())
        if heard is not None:
            doubtful = doubtful * (heard @ self._to_bins) ** SOFTNESS
        gain = share**SOFTNESS * doubtful ** (1 - share)
        return torch.istft((spectrum * gain.clamp(min=FLOOR)).mT, FFT, self._hop, window=self._window, length=len(wave))

    def _by_example(self, codes: AudioCodes) -> Tensor:
        """The share of speech in each spectrum of a clip where the demonstrations sound like it: [n, BANDS]."""
        distances, places = self._nearest(codes, self.neighbours)
        weights = (-distances.square() / (0.5 * distances[:, -1:].square()).clamp(min=1e-9)).softmax(1)
        rows = (weights[..., None] * self._masks_known[places]).sum(1)
        spectra = rows.unflatten(1, (self._per_frame, BANDS)).flatten(0, 1)
        return torch.cat([spectra, spectra[-1:]])  # a transform centred on its samples has one more

    def _left(self, wave: Tensor, target: Tensor) -> Tensor:
        """The share of the bands of `wave` [T] that `target` [T] has, at most all: [n, BANDS]."""
        power, wanted = self._bands(wave), self._bands(target)
        return wanted / (wanted + (power - wanted).clamp(min=0) + 1e-9)

    def rewrite(self, clip: Clip, llm: FrozenLLM | None = None, shots: int = 2, choices: int = 8) -> AudioCodes:
        """The words of a clean clip: each one of those that the clean halves hold where the noisy halves sound most
        alike.

        llm: chooses among the `choices` nearest, having read the `shots` nearest pairs; None: the nearest is taken.
        """
        wave = load_audio(clip, self.codec.sample_rate)
        codes = self.codec.encode(wave)
        _, places = self._nearest(codes, choices if llm else 1)
        tables = [
            [self._clean_codes(places[place * stride], layer) for place in range(row.shape[1])]
            for layer, (row, stride) in enumerate(zip(codes.layers, self.codec.strides, strict=True))
        ]
        if llm is None:
            return AudioCodes(tuple(torch.tensor([[row[0] for row in rows]]) for rows in tables), codes.samples)
        template = load_generation_template("enhance")
        builder = GenerationBuilder(
            template, llm, self.codec.vocabularies, self.codec.strides, self.codec.config.frame_samples
        )
        near = torch.bincount(torch.tensor([self._owner[n][0] for n in places.flatten().tolist()]))
        chosen = near.argsort(descending=True)[:shots].tolist()
        given = builder.word_ids(codes, len(wave))
        blocks = [
            builder.demonstration(*(builder.word_ids(half, int(half.samples)) for half in self.pairs[n]))
            for n in reversed(chosen)
        ]
        kept = builder.fitting(blocks, 2 * len(given) + len(builder.query([])))
        prefix = llm.prepare([[*builder.prefix(blocks[len(blocks) - kept :]), *builder.query(given)]])[0]
        order = builder.order(len(wave))
        allowed = [
            tuple(sorted({builder.tables[layer][code] for code in tables[layer][place]})) for layer, place in order
        ]
        kinds = {table: number for number, table in enumerate(dict.fromkeys(allowed))}
        schedule = Schedule(tuple(kinds), tuple(kinds[table] for table in allowed))
        found = llm.generate([(prefix, schedule)], Sampling())[0][0]
        return AudioCodes(builder.layers(found.ids, len(wave)), codes.samples)

    def _clean_codes(self, places: Tensor, layer: int) -> list[int]:
        found = []
        for n in places.tolist():
            pair, frame = self._owner[n]
            row = self.pairs[pair][1].layers[layer][0]
            found.append(int(row[min(frame // self.codec.strides[layer], len(row) - 1)]))
        return found

    def _nearest(self, codes: AudioCodes, count: int) -> tuple[Tensor, Tensor]:
        """Distances [F, count] and places of the nearest known frames, nearest first."""
        rows = self._features(codes) * self._scale
        known = self._features_known * self._scale
        parts = [torch.cdist(part, known).topk(min(count, len(known)), largest=False) for part in rows.split(512)]
        return torch.cat([part[0] for part in parts]), torch.cat([part[1] for part in parts])

    @torch.inference_mode()
    def _features(self, codes: AudioCodes) -> Tensor:
        """What the words of one clip stand for, with SPAN frames on either side: [F, (2 SPAN + 1) latent]."""
        frames = -(-int(codes.samples) // self.codec.config.frame_samples)
        latent = self.codec.quantizer.decode([row.to(self.codec.device) for row in codes.layers], frames)[0].cpu()
        padded = torch.cat([latent[:1].expand(SPAN, -1), latent, latent[-1:].expand(SPAN, -1)])
        return torch.cat([padded[n : n + frames] for n in range(2 * SPAN + 1)], dim=1)

    def _mask(self, wave: Tensor, target: Tensor, frames: int) -> Tensor:
        """The share of `target` in the bands of `wave`: [F, spectra * BANDS]."""
        speech, noise = self._bands(target), self._bands(wave - target)
        return self._by_frame(speech / (speech + noise + 1e-9), frames)

    def _by_frame(self, rows: Tensor, frames: int) -> Tensor:
        count = frames * self._per_frame
        rows = torch.cat([rows, rows[-1:].expand(max(0, count - len(rows)), -1)])[:count]
        return rows.unflatten(0, (frames, self._per_frame)).flatten(1)

    def _bands(self, wave: Tensor) -> Tensor:
        return self._stft(wave).abs().square() @ self._to_bands

    def _stft(self, wave: Tensor) -> Tensor:
        short = max(0, FFT // 2 + 1 - len(wave))  # reflection needs more samples than it mirrors
        padded = nn.functional.pad(wave, (0, short))
        return torch.stft(padded, FFT, self._hop, window=self._window, return_complex=True).mT


def mixtures(pairs: Sequence[tuple[Tensor, Tensor]], count: int) -> list[tuple[Tensor, Tensor]]:
    """Noisy and clean: the speech of each pair with the noise of the `count` next pairs, as loud beside it as there."""
    found = []
    for n, (_, clean) in enumerate(pairs):
        for noisy, other in (pairs[(n + step) % len(pairs)] for step in range(1, min(count, len(pairs) - 1) + 1)):
            level = (clean.square().mean() / other.square().mean().clamp(min=1e-9)).sqrt()
            noise = (noisy - other).repeat(-(-len(clean) // len(other)))[: len(clean)]
            found.append((clean + level * noise, clean))
    return found


def subtraction(power: Tensor) -> Tensor:
    """Gains of power spectral subtraction (Berouti et al. 1979) for a spectrogram [F, bins]: noise is what stands in a
    bin's quietest frames."""
    noise = 1.5 * power.quantile(STEADY, dim=0)
    return (1 - 2 * noise / power.clamp(min=1e-9)).clamp(min=0.05).sqrt()

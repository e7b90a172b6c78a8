"""FewShotGenerator: audio out of a frozen language model that was shown a few pairs."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from llmcodec.audio import at_active_level, load_audio
from llmcodec.codec import AudioCodes, LLMCodec, WordSpace, join_codes
from llmcodec.errors import ConfigError, PromptError
from llmcodec.generation.demonstrations import (
    Demonstration,
    plain,
    segments,
    text_nearness,
    usual_samples,
    word_nearness,
)
from llmcodec.generation.ear import Ear
from llmcodec.generation.rerank import RERANKERS, candidate_scores
from llmcodec.generation.thinking import Answer, Thinker, listed
from llmcodec.llm import GREEDY, FrozenLLM, Generation, Prefix, Sampling, Schedule, load_llm
from llmcodec.prompting import GenerationBuilder, GenerationTemplate, load_generation_template

Clip = Any  # path, numpy array or tensor [T] or [channels, T] at the codec's rate, or AudioCodes of one clip
KEPT = 1 << 14  # tokens of contexts whose keys and values are kept
_Asked = tuple[tuple[int, ...], tuple[int, ...]]  # demonstrations and query


@dataclass(frozen=True, eq=False)
class Generated:
    """Audio that a language model wrote.

    wave: float32 [T] at the codec's rate; codes: its words; said: the demonstrated texts it was asked for (empty for
    clips); answer: what was thought first, if so; score: of the candidate that was kept, by the reranker, and `scores`
    of all; likelihood: log-probability of its words; seconds: how long it took.
    """

    wave: Tensor = field(repr=False)
    codes: AudioCodes = field(repr=False)
    said: tuple[str, ...]
    answer: Answer | None
    score: float
    scores: tuple[float, ...]
    likelihood: float
    seconds: float


@dataclass(frozen=True)
class _Part:
    """One stretch to generate: the demonstrations and query that ask for it, its length, and the demonstrations whose
    words it may use (none: any). The last one chosen is the nearest: of a text, one that says it."""

    chosen: tuple[int, ...]
    query: tuple[int, ...]
    samples: int
    shown: tuple[int, ...] = ()


class FewShotGenerator:
    """Audio by demonstration. Nothing is trained: `fit` puts pairs into a prompt, the model writes what follows.

    codec: LLMCodec, its folder or hub id; None: the one inside the package.
    llm: FrozenLLM, its folder or hub id; None: the default language model.
    template: a GenerationTemplate, the name of one in the package, or a YAML file.
    sampling: how words are chosen; rerank: which candidate is kept, see candidate_scores.
    shots: at most so many demonstrations stand in a prompt, those nearest to the query, the nearest last.
    window: for texts, the words of each unit of time are those that a demonstration of the same text holds at the same
        share of its length, so many units more or less: what a small model writes freely is no speech. None: any word
        of the layer.

    A text may be any that was demonstrated, or several of them one after another: others are refused, not made noise.
    """

    def __init__(
        self,
        codec: LLMCodec | str | Path | None = None,
        llm: FrozenLLM | str | Path | None = None,
        template: GenerationTemplate | str | Path = "speak",
        sampling: Sampling = GREEDY,
        rerank: str = "likelihood",
        shots: int = 6,
        window: int | None = 1,
    ) -> None:
        if rerank not in RERANKERS:
            raise ConfigError(f"rerank: {rerank!r} is not one of {', '.join(RERANKERS)}")
        if shots < 1:
            raise ConfigError(f"shots: {shots} must be 1 or more")
        if window is not None and window < 0:
            raise ConfigError(f"window: {window} must be 0 or more, or None")
        self.codec = codec if isinstance(codec, LLMCodec) else LLMCodec.from_pretrained(codec)
        self.llm = load_llm(llm) if llm is None or isinstance(llm, (str, Path)) else llm
        self.template = template if isinstance(template, GenerationTemplate) else load_generation_template(template)
        if rerank == "heard" and not self.speaks:
            raise ConfigError(f"rerank: heard needs a template whose input is text, not {self.template.name}")
        self.sampling, self.rerank, self.shots, self.window = sampling, rerank, shots, window
        self.builder = GenerationBuilder(
            self.template, self.llm, self.codec.vocabularies, self.codec.strides, self.codec.config.frame_samples
        )
        self.demonstrations: list[Demonstration] = []

    def fit(self, inputs: Iterable[Any], audio: Iterable[Clip]) -> FewShotGenerator:
        """Take in the demonstrations: inputs are texts, or clips for a template whose input is audio. Audio is made as
        loud as the template wants it; AudioCodes stay what they are.

        ConfigError: none, counts differ, an empty text; AudioError names a clip that cannot be read.
        """
        inputs, audio = list(inputs), list(audio)
        if len(inputs) != len(audio):
            raise ConfigError(f"{len(inputs)} inputs need as many recordings, not {len(audio)}")
        if not inputs:
            raise ConfigError("no demonstrations; one pair of an input and its recording is needed, better several")
        self.demonstrations = [
            self._demonstration(number, given, clip)
            for number, (given, clip) in enumerate(zip(inputs, audio, strict=True), 1)
        ]
        self._contexts: dict[_Asked, Prefix] = {}
        self._thinker: Thinker | None = None
        self._ear: Ear | None = None
        self._space = None if self.speaks else WordSpace(self.codec, self.codec.layer_names)
        return self

    @property
    def speaks(self) -> bool:
        """Whether what is given is text."""
        return self.template.input == "text"

    def generate(self, given: Any, seconds: float | None = None, think: bool = False) -> Generated:
        """Audio for a text or clip, `seconds` long; default: as the demonstrations of the nearest text, or the clip.

        think: `given` is a question; the model answers it by one of the demonstrated texts, and speaks the answer.
        PromptError: empty or not demonstrated text, or more than the model's context holds. ConfigError: seconds not
        above 0, think for clips, or nothing was fitted.
        """
        return self.generate_batch([given], seconds, think)[0]

    def generate_batch(
        self, given: Sequence[Any], seconds: float | None = None, think: bool = False
    ) -> list[Generated]:
        """`generate` for several at once, each as it would be alone."""
        begun = time.perf_counter()
        answers = [self._think(one) if think else None for one in given]
        asked = [answer.text if answer else one for answer, one in zip(answers, given, strict=True)]
        said = [self.said(one) for one in asked]
        parts = [self._parts(one, texts, seconds) for one, texts in zip(asked, said, strict=True)]
        flat = [part for row in parts for part in row]
        requests = [(prefix, self._schedule(part)) for prefix, part in zip(self._asked(flat), flat, strict=True)]
        rows = iter(zip(flat, self.llm.generate(requests, self.sampling), strict=True))
        results = []
        for texts, row, answer in zip(said, parts, answers, strict=True):
            kept = [self._kept(*next(rows)) for _ in row]
            codes = join_codes([found for _, found, _ in kept])
            scores = tuple(sum(values) for values in zip(*(scores for _, _, scores in kept), strict=True))
            likelihood = sum(float(one.logprobs.sum()) for one, _, _ in kept)
            best = sum(max(scores) for _, _, scores in kept)
            results.append(
                Generated(
                    self.codec.decode(codes)[0], codes, tuple(texts), answer, best, scores, likelihood,
                    time.perf_counter() - begun,
                )
            )  # fmt: skip
        return results

    def stream(
        self,
        given: Any,
        seconds: float | None = None,
        think: bool = False,
        on_codes: Callable[[AudioCodes], object] = lambda codes: None,
    ) -> Iterator[Tensor]:
        """The waveform of the one candidate in pieces, as soon as its words are known; joined, that of `generate`.

        With a template in the order "interleaved" the first piece comes while words are still being written. on_codes
        is told the codes of each stretch before its audio comes.
        """
        asked = self._think(given).text if think else given

        def written() -> Iterator[AudioCodes]:
            for codes in self._pieces(self._parts(asked, self.said(asked), seconds)):
                on_codes(codes)
                yield codes

        return self.codec.decode_pieces(written())

    def said(self, given: Any) -> list[str]:
        """The demonstrated texts that make up a text; none for a clip. PromptError if there are none such."""
        self._check_fitted()
        if not self.speaks:
            return []
        known = [str(one.given) for one in self.demonstrations]
        if not isinstance(given, str) or not plain(given):
            raise PromptError(f"the text {given!r} is empty; it needs a word that was demonstrated: {listed(known)}")
        found = segments(given, known)
        if found is None:
            raise PromptError(
                f"{given!r} was not demonstrated, nor is it made of texts that were: {listed(known)}; demonstrate it, "
                "or, if it is a question, let the model think first"
            )
        return found

    def encode(self, clip: Clip) -> AudioCodes:
        """The codes of one clip; AudioCodes pass through."""
        return clip if isinstance(clip, AudioCodes) else self.codec.encode(load_audio(clip, self.codec.sample_rate))

    def load(self, clip: Clip) -> Tensor:
        """The waveform of a demonstration's audio, float32 [T], as loud as the template wants it."""
        wave, level = load_audio(clip, self.codec.sample_rate), self.template.active_level
        return wave if level is None else at_active_level(wave, level, self.codec.sample_rate)

    def _demonstration(self, number: int, given: Any, clip: Clip) -> Demonstration:
        if self.speaks:
            if not isinstance(given, str) or not plain(given):
                raise ConfigError(f"demonstration {number}: the text {given!r} is empty; a word at least is needed")
            ids = self.builder.input_ids(" ".join(given.split()))
        else:
            given = self.encode(given)
            ids = self.builder.word_ids(given, int(given.samples))
        codes = clip if isinstance(clip, AudioCodes) else self.codec.encode(self.load(clip))
        words = self.builder.word_ids(codes, int(codes.samples))
        return Demonstration(given, codes, tuple(self.builder.demonstration(ids, words)))

    def _check_fitted(self) -> None:
        if not self.demonstrations:
            raise ConfigError("no demonstrations yet; call fit first")

    def _think(self, question: Any) -> Answer:
        self._check_fitted()
        if not self.speaks:
            raise ConfigError(f"think: the template {self.template.name} takes clips; only a text can be a question")
        if not isinstance(question, str) or not question.strip():
            raise PromptError(f"the question {question!r} is empty")
        if self._thinker is None:
            self._thinker = Thinker(self.llm, [str(one.given) for one in self.demonstrations])
        return self._thinker.answer(question)

    def _parts(self, given: Any, texts: Sequence[str], seconds: float | None) -> list[_Part]:
        self._check_fitted()
        if seconds is not None and not 0 < seconds < float("inf"):
            raise ConfigError(f"seconds: {seconds} must be above 0")
        if not self.speaks:
            codes = self.encode(given)
            known = [one.given for one in self.demonstrations if isinstance(one.given, AudioCodes)]
            assert self._space is not None
            nearness = word_nearness(codes, known, self._space)
            own = usual_samples(self.demonstrations, nearness) if self.template.name == "continue" else None
            samples = own or int(codes.samples)
            return [self._part(self.builder.word_ids(codes, int(codes.samples)), nearness, samples, seconds)]
        share = None if seconds is None else seconds / len(texts)
        found = []
        for text in texts:
            nearness = text_nearness(text, self.demonstrations)
            samples = usual_samples(self.demonstrations, nearness)
            found.append(self._part(self.builder.input_ids(text), nearness, samples, share))
        unit = self.codec.config.unit_samples  # all but the last end on whole units, so that codes can be joined
        if seconds is not None and len(found) > 1:
            whole = [replace(part, samples=max(unit, round(part.samples / unit) * unit)) for part in found[:-1]]
            left = round(seconds * self.codec.sample_rate) - sum(part.samples for part in whole)
            if left < 1:
                raise ConfigError(f"seconds: {seconds} are too few for {len(texts)} texts")
            return [*whole, replace(found[-1], samples=left)]
        return [*(replace(part, samples=-(-part.samples // unit) * unit) for part in found[:-1]), found[-1]]

    def _part(self, given: Sequence[int], nearness: Sequence[float], samples: int, seconds: float | None) -> _Part:
        """The nearest demonstrations that fit, the nearest last. PromptError if not even one does."""
        if seconds is not None:
            samples = max(1, round(seconds * self.codec.sample_rate))
        ranked = sorted(range(len(nearness)), key=lambda n: nearness[n])[-self.shots :]
        query = tuple(self.builder.query(given))
        words = sum(-(-samples // (self.codec.config.frame_samples * stride)) for stride in self.codec.strides)
        blocks = [self.demonstrations[n].ids for n in ranked]
        count = self.builder.fitting(blocks, len(query) + words)
        if not count:
            left = self.llm.max_context - len(self.builder.prefix(blocks[-1:])) - len(query)
            most = max(0.0, left / self.codec.tokens_per_second)
            raise PromptError(
                f"{samples / self.codec.sample_rate:.2f} s of audio are {words} words, too many for the context of "
                f"{self.llm.name}, {self.llm.max_context} tokens; beside one demonstration {most:.1f} s would fit"
            )
        chosen = tuple(ranked[-count:])
        same = tuple(n for n in chosen if self.speaks and self.window is not None and nearness[n] == max(nearness))
        return _Part(chosen, query, samples, same)

    def _schedule(self, part: _Part) -> Schedule:
        shown = [self.demonstrations[n].codes for n in part.shown]
        return self.builder.schedule(part.samples, shown, self.window or 0)

    def _asked(self, parts: Sequence[_Part]) -> list[Prefix]:
        """The prefix of each part. What was read before is not read again: neither the demonstrations, nor a query
        behind the same ones."""
        found = self._remembered([(part.chosen, part.query) for part in parts], self._read_queries)
        return [found[part.chosen, part.query] for part in parts]

    def _read_queries(self, asked: Sequence[_Asked]) -> list[Prefix]:
        shown = self._remembered([(chosen, ()) for chosen, _ in asked], self._read_demonstrations)
        return self.llm.extend([(shown[chosen, ()], query) for chosen, query in asked])

    def _read_demonstrations(self, asked: Sequence[_Asked]) -> list[Prefix]:
        return self.llm.prepare(
            [self.builder.prefix([self.demonstrations[n].ids for n in chosen]) for chosen, _ in asked]
        )

    def _remembered(
        self, wanted: Sequence[_Asked], read: Callable[[Sequence[_Asked]], list[Prefix]]
    ) -> dict[_Asked, Prefix]:
        """The prefixes wanted, read where they are not known; those used last are kept, the newest in any case."""
        found = {asked: self._contexts[asked] for asked in wanted if asked in self._contexts}
        new = [asked for asked in dict.fromkeys(wanted) if asked not in found]
        found |= zip(new, read(new), strict=True)
        others = {asked: prefix for asked, prefix in self._contexts.items() if asked not in found}
        newest: list[tuple[_Asked, Prefix]] = []
        tokens = 0
        for asked, prefix in reversed([*others.items(), *found.items()]):
            tokens += len(prefix)
            if newest and tokens > KEPT:
                break
            newest.append((asked, prefix))
        self._contexts = dict(reversed(newest))
        return found

    def _kept(self, part: _Part, candidates: Sequence[Generation]) -> tuple[Generation, AudioCodes, tuple[float, ...]]:
        """The best candidate, its codes, and the scores of all."""
        found = [(one, self._codes(one.ids, part.samples)) for one in candidates]
        scores = candidate_scores(
            self.rerank, found, self.codec, self.llm,
            lambda: self._asked([replace(part, query=tuple(self.builder.query([])))])[0],
            lambda codes: self._listening().surely(codes, self._said_by(part.chosen[-1])),
        )  # fmt: skip
        best, codes = found[max(range(len(scores)), key=scores.__getitem__)]
        return best, codes, tuple(scores)

    def _listening(self) -> Ear:
        if self._ear is None:
            texts = [self._said_by(n) for n in range(len(self.demonstrations))]
            self._ear = Ear(self.codec, texts, [one.codes for one in self.demonstrations])
        return self._ear

    def _said_by(self, demonstration: int) -> str:
        return plain(str(self.demonstrations[demonstration].given))

    def _codes(self, ids: Sequence[int], samples: int) -> AudioCodes:
        return AudioCodes(self.builder.layers(ids, samples), torch.tensor([samples]))

    def _pieces(self, parts: Sequence[_Part]) -> Iterator[AudioCodes]:
        """Codes of whole units of time, each as soon as all of its words are known."""
        for part in parts:
            yield from self._units(part, (token for token, _ in self._words(part)))

    def _words(self, part: _Part) -> Iterator[tuple[int, float]]:
        return self.llm.stream(self._asked([part])[0], self._schedule(part), self.sampling)

    def _units(self, part: _Part, words: Iterator[int]) -> Iterator[AudioCodes]:
        order, unit = self.builder.order(part.samples), self.codec.config.unit_samples
        frames = self.codec.config.frames_multiple
        left = [0] * -(-part.samples // unit)
        for layer, place in order:
            left[place * self.codec.strides[layer] // frames] += 1
        known: list[list[int]] = [[] for _ in self.codec.strides]
        ready = 0
        for token, (layer, place) in zip(words, order, strict=True):
            known[layer].append(self.builder.code(layer, token))
            left[place * self.codec.strides[layer] // frames] -= 1
            while ready < len(left) and not left[ready]:
                rows = tuple(
                    torch.tensor([row[ready * frames // stride : (ready + 1) * frames // stride]])
                    for row, stride in zip(known, self.codec.strides, strict=True)
                )
                yield AudioCodes(rows, torch.tensor([min(unit, part.samples - ready * unit)]))
                ready += 1

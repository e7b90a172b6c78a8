"""What the server does, whoever asks: one codec and one frozen language model, limits, a bounded pool of workers."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import nullcontext
from dataclasses import dataclass, field
from hashlib import sha256
from pathlib import Path
from queue import Empty, SimpleQueue
from typing import TypeVar

import torch
from torch import Tensor

from llmcodec.audio import audio_info, stream_audio
from llmcodec.codec import AudioCodes, LLMCodec, join_codes
from llmcodec.errors import AudioError, ConfigError
from llmcodec.generation import Enhancer, FewShotGenerator, Generated
from llmcodec.generation.demonstrations import text_nearness, usual_samples
from llmcodec.icl import FewShotClassifier
from llmcodec.llm import FrozenLLM, best_of
from llmcodec.prompting import template_names
from llmcodec.webapp.kept import Kept
from llmcodec.webapp.limits import Limits
from llmcodec.webapp.pool import Job, Pool, checkpoint

T = TypeVar("T")
CANDIDATES = 16
SPOKEN = ("speak", "sound")  # templates whose input is text
KEPT = 8  # fitted classifiers
TEXT_LENGTH = 1000  # characters of a text or label


class TooLong(AudioError):
    """More audio than the limits allow."""


@dataclass(frozen=True)
class Reason:
    """A word of a query, the label it spoke for, and by how much it raised that label's score above the mean."""

    word: str
    label: str
    weight: float


@dataclass(frozen=True)
class Prediction:
    """probabilities: of each label, the likeliest first; reasons: the words that spoke the most (scorer knn); codes:
    the clip's."""

    probabilities: dict[str, float]
    reasons: tuple[Reason, ...]
    codes: AudioCodes = field(repr=False)

    @property
    def label(self) -> str:
        """The likeliest."""
        return next(iter(self.probabilities))


class Service:
    """Each verb runs in the pool and returns when it is done; any number of threads may call it.

    job: from `job()`, for who wants to cancel; without one nobody can. Raises what the user can cause (LLMCodecError),
    TooLong for audio beyond the limits, and Busy, Cancelled and TimedOut. A context manager; `close` ends the workers.
    """

    def __init__(self, codec: LLMCodec, llm: FrozenLLM, limits: Limits | None = None) -> None:
        self.codec, self.llm, self.limits = codec, llm, limits or Limits()
        self.pool = Pool(self.limits.workers, self.limits.queue)
        self._fitted: Kept[FewShotClassifier] = Kept(KEPT)
        networks = [codec.encoder, codec.decoder, getattr(llm, "model", None)]
        self._hooks = [
            network.register_forward_pre_hook(checkpoint)
            for network in networks
            if isinstance(network, torch.nn.Module)
        ]

    def __enter__(self) -> Service:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        """Cancel what runs and waits."""
        self.pool.close()
        for hook in self._hooks:
            hook.remove()

    def job(self) -> Job:
        """Something to cancel one call of a verb by; its time begins now."""
        return Job(self.limits.timeout)

    def encode(self, path: Path, job: Job | None = None) -> AudioCodes:
        """The codes of one clip."""
        return self._run(job, lambda: self._codes(path))

    def decode(self, codes: AudioCodes, job: Job | None = None) -> Tensor:
        """The waveform float32 [T] of one clip's codes."""
        return self._run(job, lambda: self._decoded(codes))

    def classify(
        self,
        demonstrations: Mapping[str, Sequence[Path]],
        queries: Sequence[Path],
        template: str = "sound",
        scorer: str = "knn",
        explain: bool = True,
        job: Job | None = None,
    ) -> list[Prediction]:
        """Name each query by the labels of the demonstrations. template: the name of one in the package.

        explain: find the reasons too, if the scorer is knn.
        """
        return self._run(job, lambda: self._classified(demonstrations, queries, template, scorer, explain))

    def speak(
        self,
        text: str,
        demonstrations: Sequence[tuple[str, Path]],
        think: bool = False,
        seconds: float | None = None,
        candidates: int = 1,
        seed: int = 0,
        rerank: str = "likelihood",
        job: Job | None = None,
        template: str = "speak",
    ) -> Generated:
        """Say a text in the voice of demonstrations (text, clip); of several candidates the best by `rerank`.

        think: the text is a question; its answer is said. template: one of SPOKEN.
        """

        def work() -> Generated:
            generator = self._generator(text, demonstrations, think, seconds, template, candidates, seed, rerank)
            return generator.generate(text, seconds, think)

        return self._run(job, work)

    def speak_stream(
        self,
        text: str,
        demonstrations: Sequence[tuple[str, Path]],
        think: bool = False,
        seconds: float | None = None,
        job: Job | None = None,
        template: str = "speak",
        on_codes: Callable[[AudioCodes], object] = lambda codes: None,
    ) -> Iterator[Tensor]:
        """The one candidate of `speak` in pieces float32 [t], as they are written; joined they are the same.

        on_codes, called by the worker, is told the codes of each stretch before its audio comes. A worker writes them
        at its own pace, however slowly they are taken. Leaving the loop cancels it.
        """
        job = job or self.job()
        pieces: SimpleQueue[Tensor | None] = SimpleQueue()

        def work() -> None:
            generator = self._generator(text, demonstrations, think, seconds, template)
            for piece in generator.stream(text, seconds, think, on_codes):
                pieces.put(piece)

        future = self.pool.submit(job, work)
        future.add_done_callback(lambda _: pieces.put(None))
        try:
            while True:
                try:
                    piece = pieces.get(timeout=job.left)
                except Empty:
                    break
                if piece is None:
                    break
                yield piece
            self.pool.result(job, future)
        finally:
            del future  # see Pool.result
            job.cancel()

    def enhance(self, noisy: Path, pairs: Sequence[tuple[Path, Path]], job: Job | None = None) -> Tensor:
        """A noisy clip made cleaner, as pairs of a noisy and a clean clip show: float32 [T], as long as it was."""
        return self._run(job, lambda: self._enhanced(noisy, pairs))

    def _run(self, job: Job | None, work: Callable[[], T]) -> T:
        return self.pool.run(job or self.job(), work)

    def _pieces(self, path: Path) -> Iterator[Tensor]:
        """The samples of a clip; TooLong by its header, or when more come than that said."""
        self._check_seconds(audio_info(path).seconds, str(path))
        samples = 0
        for piece in stream_audio(path, self.codec.sample_rate):
            checkpoint()
            samples += len(piece)
            self._check_seconds(samples / self.codec.sample_rate, str(path))
            yield piece

    def _check_seconds(self, seconds: float, name: str) -> None:
        if seconds > self.limits.seconds:
            raise TooLong(f"{name}: lasts {seconds:.1f} s; at most {self.limits.seconds:g} s are allowed")

    def _wave(self, path: Path) -> Tensor:
        return torch.cat(list(self._pieces(path)))

    def _codes(self, path: Path) -> AudioCodes:
        return join_codes(list(self.codec.stream_encode(self._pieces(path))))

    def _decoded(self, codes: AudioCodes) -> Tensor:
        self.codec.check(codes)
        if len(codes) != 1:
            raise AudioError(f"the codes of one clip are needed, not of {len(codes)}")
        self._check_seconds(int(codes.samples) / self.codec.sample_rate, "the clip of these codes")
        return torch.cat(list(self.codec.stream_decode(codes)))

    def _classified(
        self,
        demonstrations: Mapping[str, Sequence[Path]],
        queries: Sequence[Path],
        template: str,
        scorer: str,
        explain: bool,
    ) -> list[Prediction]:
        if template not in template_names():
            raise ConfigError(f"template {template!r} is not one of {', '.join(template_names())}")
        if not queries:
            raise ConfigError("no queries; one clip to name is needed")
        labelled = [(label, path) for label, paths in demonstrations.items() for path in paths]
        self._check_count(len(labelled) + len(queries))
        for label, _ in labelled:
            _check_text("label", label)
            if not label.strip():
                raise ConfigError(f"label: {label!r} is empty; a word at least is needed")

        def fitted() -> FewShotClassifier:
            classifier = FewShotClassifier(self.codec, self.llm, template, scorer)
            return classifier.fit([self._codes(path) for _, path in labelled], [label for label, _ in labelled])

        clips = [self._codes(path) for path in queries]
        compares = scorer == "knn"  # others keep keys and values, too large to be kept
        key = (template, *((label, sha256(path.read_bytes()).digest()) for label, path in labelled))
        with self._fitted.lent(key, fitted) if compares else nullcontext(fitted()) as classifier:
            rows = classifier.predict_proba(clips).tolist()
            spoken = classifier.explain(clips) if explain and compares else [[]] * len(clips)
        return [
            Prediction(
                dict(sorted(zip(map(str, classifier.classes_), row, strict=True), key=lambda pair: -pair[1])),
                tuple(Reason(word, str(label), weight) for word, label, weight in words),
                codes,
            )
            for row, words, codes in zip(rows, spoken, clips, strict=True)
        ]

    def _generator(
        self,
        text: str,
        demonstrations: Sequence[tuple[str, Path]],
        think: bool,
        seconds: float | None,
        template: str,
        candidates: int = 1,
        seed: int = 0,
        rerank: str = "likelihood",
    ) -> FewShotGenerator:
        """Fitted, and sure not to write more than the limits allow."""
        self._check_count(len(demonstrations))
        if template not in SPOKEN:
            raise ConfigError(f"template {template!r} is not one of {', '.join(SPOKEN)}")
        for one in (text, *(shown for shown, _ in demonstrations)):
            _check_text("text", one)
        if candidates > CANDIDATES:
            raise ConfigError(f"candidates: {candidates} are too many; at most {CANDIDATES} are allowed")
        generator = FewShotGenerator(self.codec, self.llm, template, best_of(candidates, seed), rerank)
        generator.fit([shown for shown, _ in demonstrations], [self._wave(path) for _, path in demonstrations])
        known = generator.demonstrations
        if think:  # any one of them may be the answer
            samples = max(one.samples for one in known)
        else:
            samples = sum(usual_samples(known, text_nearness(said, known)) for said in generator.said(text))
        wanted = samples / self.codec.sample_rate if seconds is None else seconds
        if wanted > self.limits.generated_seconds:
            raise TooLong(f"{wanted:.1f} s would be said; at most {self.limits.generated_seconds:g} s are allowed")
        return generator

    def _enhanced(self, noisy: Path, pairs: Sequence[tuple[Path, Path]]) -> Tensor:
        self._check_count(1 + 2 * len(pairs))
        wave = self._wave(noisy)
        halves = [[self._wave(path) for path in side] for side in zip(*pairs, strict=True)] or [[], []]
        return Enhancer(self.codec).fit(*halves).enhance(wave)

    def _check_count(self, clips: int) -> None:
        if clips > self.limits.clips:
            raise ConfigError(f"{clips} clips are too many; at most {self.limits.clips} are allowed")


def _check_text(kind: str, text: str) -> None:
    if len(text) > TEXT_LENGTH:
        raise ConfigError(f"{kind}: has {len(text)} characters; at most {TEXT_LENGTH} are allowed")

"""The few-shot evaluation: one set of episodes, every method on exactly the same ones."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import nullcontext
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from llmcodec.audio import audio_digest, load_audio
from llmcodec.codec import AudioCodes, LLMCodec, WordSpace
from llmcodec.errors import ConfigError, ModelError
from llmcodec.evaluation import baselines
from llmcodec.evaluation.baselines import Floats, Predictor
from llmcodec.evaluation.dataset import LabelledFolder
from llmcodec.evaluation.episodes import Episode, draw_episodes
from llmcodec.evaluation.journal import Journal, open_journal
from llmcodec.evaluation.metrics import Accuracy, calibration_error, mcnemar
from llmcodec.evaluation.processes import Processes
from llmcodec.evaluation.provenance import digest, provenance
from llmcodec.evaluation.report import Answer, Comparison, Report, Row
from llmcodec.icl import Scorer, build_scorer
from llmcodec.llm import FrozenLLM, load_llm
from llmcodec.prompting import ClipWords, PromptBuilder, TaskTemplate, load_template, with_layers

BATCH = 16
Said = tuple[str, str, float | None]  # answer, right answer, probability of the answer
Progress = Callable[[str, int, int], None]  # stage, done, total


def evaluate_fewshot(
    folder: LabelledFolder,
    codec: LLMCodec,
    llm: FrozenLLM | Sequence[FrozenLLM] | None = None,
    template: str | TaskTemplate = "sound",
    scorers: Sequence[str] = ("knn",),
    ways: int = 2,
    shots: int = 1,
    episodes: int | Sequence[Episode] = 100,
    seed: int = 0,
    queries: int = 1,
    layers: Sequence[str] | None = None,
    whisper: str | None = "openai/whisper-base",
    codec_name: str = "default",
    progress: Progress | None = None,
) -> Report:
    """Measure a frozen language model on audio words, beside the baselines, on the same episodes.

    episodes: how many to draw (see `draw_episodes`), or the drawn ones; then ways, shots and queries are read off them.
    The rest, and what is raised: see FewShotEvaluation, which serves several settings at less cost.
    """
    bench = FewShotEvaluation(folder, codec, llm, template, scorers, layers, whisper, codec_name)
    drawn = draw_episodes(folder, ways, shots, episodes, seed, queries) if isinstance(episodes, int) else episodes
    return bench.run(drawn, seed, progress)


@dataclass(frozen=True)
class Judge:
    """A scorer, and what turns codes into the words of its language model."""

    builder: PromptBuilder
    scorer: Scorer


class FewShotEvaluation:
    """Methods and clips; each clip is read once, however many sets of episodes are run.

    Under `accelerate launch` the processes share the episodes that language models answer, and all have the report.
    llm: one or several, each with all `scorers`; None loads the default one, unless there are no scorers.
    layers: names of the codec's layers whose words are used, by model and baselines; None: those of the template.
    whisper: model for the feature baselines (see `locate`); None: without. A model that is missing becomes a note.

    Raises what its parts raise: AudioError, ConfigError, ModelError, PromptError.
    """

    def __init__(
        self,
        folder: LabelledFolder,
        codec: LLMCodec,
        llm: FrozenLLM | Sequence[FrozenLLM] | None = None,
        template: str | TaskTemplate = "sound",
        scorers: Sequence[str] = ("knn",),
        layers: Sequence[str] | None = None,
        whisper: str | None = "openai/whisper-base",
        codec_name: str = "default",
    ) -> None:
        self.folder, self.codec, self.whisper = folder, codec, whisper
        self.processes = Processes()
        task = template if isinstance(template, TaskTemplate) else load_template(template)
        self.task = with_layers(task, layers)
        self.space = WordSpace(codec, self.task.layers)
        self.judges: dict[str, Judge] = {}
        models = _models(llm) if scorers else []
        self.models = [model.name for model in models]
        for model in models:
            builder = PromptBuilder(self.task, model, codec.vocabularies, codec.layer_names)
            called = "llm" if len(models) == 1 else f"llm {model.name}"
            for name in scorers:
                self.judges[f"{called}, {name}"] = Judge(builder, build_scorer(name, builder, self.space))
        self.named = {"name": codec_name, "codes": digest(codec, without="decoder.")}
        self.codes: dict[int, AudioCodes] = {}
        self._seen: dict[str, int] = {}  # the first clip with this audio
        self._features: dict[int, Floats] = {}

    def run(
        self, episodes: Sequence[Episode], seed: int = 0, progress: Progress | None = None, resume: Path | None = None
    ) -> Report:  # fmt: skip
        """Every method on these episodes.

        seed: breaks ties. progress: called with (stage, done, total). resume: a file for what the language model said,
        to go on from after an interruption.
        """
        tell = progress or (lambda stage, done, total: None)
        used = sorted({clip for episode in episodes for clip in episode.clips})
        new = [clip for clip in used if clip not in self.codes]
        self.codes.update(encode_clips(self.folder, self.codec, new, partial(tell, "encode"), self._seen))
        notes = []
        if self.whisper is not None:
            try:
                self._listen(used, partial(tell, "whisper"))
            except ModelError as error:
                notes.append(f"Without the rows on Whisper features: {error}")
        if resume and self.processes.count > 1:
            raise ConfigError(f"{resume}: holds what one process asked; leave it out with {self.processes.count}")
        measured = {}
        with open_journal(resume, self._asked(episodes)) if resume else nullcontext() as journal:
            for method, predictor, probable in self._methods(used, episodes, bool(self.whisper) and not notes, journal):
                start = time.perf_counter()
                shared = self.processes if method in self.judges else Processes(1)
                scores = shared.map(predictor, episodes, partial(tell, method))
                seconds = time.perf_counter() - start
                measured[method] = _measure(method, scores, seconds, self.folder, episodes, seed, probable)
        said = {method: found for method, (_, found) in measured.items()}
        right = {method: [answer == wanted for answer, wanted, _ in found] for method, found in said.items()}
        models, neighbours = list(self.judges), ("nearest neighbour, words", "nearest neighbour, near words")
        against = [(one, other) for place, one in enumerate(models) for other in models[place + 1 :]]
        against += [(one, other) for one in models for other in neighbours]
        setup = {
            "data": self.folder.root.resolve().name,
            "classes": list(self.folder.classes),
            "clips": len(self.folder),
            "ways": len(episodes[0].labels),
            "shots": len(episodes[0].demonstrations[0]),
            "episodes": len(episodes),
            "queries": len(episodes[0].queries),
            "group_by": self.folder.group_by,
            "template": self.task.name,
            "layers": list(self.task.layers),
            "llm": ", ".join(self.models) or None,
            "codec": self.named,
            "whisper": None if self.whisper is None or notes else Path(self.whisper).name,
        }
        return Report(
            setup,
            (_chance(episodes), *(row for row, _ in measured.values())),
            tuple(Comparison(one, other, *mcnemar(right[one], right[other])) for one, other in against),
            tuple(notes),
            provenance(seed),
            self._answers(episodes, said),
        )

    def _listen(self, clips: Sequence[int], progress: Callable[[int, int], None]) -> None:
        assert self.whisper is not None
        new = [clip for clip in clips if clip not in self._features]
        files = [str(self.folder.files[clip]) for clip in new]
        if files:
            self._features.update(zip(new, baselines.whisper_vectors(files, self.whisper, progress), strict=True))

    def _methods(
        self, used: Sequence[int], episodes: Sequence[Episode], whisper: bool, journal: Journal | None
    ) -> Iterator[tuple[str, Predictor, bool]]:
        """Name, predictor, and whether its scores are probabilities, of every method."""
        yield "majority", baselines.majority(self.folder, episodes), False
        words: dict[PromptBuilder, dict[int, ClipWords]] = {}
        for name, judge in self.judges.items():
            if judge.builder not in words:
                words[judge.builder] = {clip: judge.builder.word_ids(self.codes[clip]) for clip in used}
            asked = _language_model(judge.scorer, words[judge.builder])
            yield name, journal.kept(name, asked) if journal else asked, True
        heard = [self.codes[clip] for clip in used]
        kinds = {
            "words": baselines.word_vectors(heard, self.space.places),
            "near words": baselines.near_word_vectors(heard, self.space),
            "latents": baselines.latent_vectors(heard, self.codec, self.space.places),
        }
        if whisper:
            kinds["whisper"] = np.stack([self._features[clip] for clip in used])
        for kind, vectors in kinds.items():
            rows = np.zeros((len(self.folder), vectors.shape[1]))
            rows[used] = vectors
            yield f"nearest neighbour, {kind}", baselines.nearest(rows), False
            yield f"prototype, {kind}", baselines.prototype(rows), False
            if kind == "whisper":
                yield f"linear probe, {kind}", baselines.linear_probe(rows), True

    def _asked(self, episodes: Sequence[Episode]) -> Any:
        """What the scores of the language model depend on."""
        names = self.folder.names
        clips = [[[names[clip] for clip in row] for row in (*e.demonstrations, e.queries)] for e in episodes]
        labels = [episode.labels for episode in episodes]
        return [self.task.model_dump(), self.models, self.named["codes"], labels, clips]

    def _answers(self, episodes: Sequence[Episode], said: dict[str, list[Said]]) -> tuple[Answer, ...]:
        queries = [(number, query) for number, episode in enumerate(episodes) for query in episode.queries]
        names = self.folder.names
        return tuple(
            Answer(
                number,
                names[query],
                self.folder.labels[query],
                episodes[number].labels,
                {method: found[place][0] for method, found in said.items()},
                {method: round(sure, 6) for method, found in said.items() if (sure := found[place][2]) is not None},
            )
            for place, (number, query) in enumerate(queries)
        )


def encode_clips(
    folder: LabelledFolder, codec: LLMCodec, clips: Sequence[int], progress: Callable[[int, int], None],
    seen: dict[str, int] | None = None,
) -> dict[int, AudioCodes]:  # fmt: skip
    """The codes of each of those clips, by position in the folder; every clip is read and encoded once.

    seen: the first clip with each audio, taken from call to call.
    ConfigError when two clips of different groups hold the same audio: one could be asked about with the other shown.
    """
    codes: dict[int, AudioCodes] = {}
    seen = {} if seen is None else seen
    for start in range(0, len(clips), BATCH):
        batch = clips[start : start + BATCH]
        waves = [load_audio(folder.files[clip], codec.sample_rate) for clip in batch]
        for clip, wave in zip(batch, waves, strict=True):
            twin = seen.setdefault(audio_digest(wave), clip)
            if folder.groups[twin] != folder.groups[clip]:
                raise ConfigError(
                    f"{folder.root}: {folder.names[twin]} and {folder.names[clip]} hold the same audio; remove one, or "
                    "give both the same recording"
                )
        found = codec.encode(waves)
        codes.update({clip: found[row] for row, clip in enumerate(batch)})
        progress(len(codes), len(clips))
    return codes


def _models(llm: FrozenLLM | Sequence[FrozenLLM] | None) -> list[FrozenLLM]:
    given = load_llm() if llm is None else llm
    models = list(given) if isinstance(given, Sequence) else [given]
    names = [model.name for model in models]
    for name in names:
        if names.count(name) > 1:
            raise ConfigError(f"two language models are called {name}; give different ones")
    return models


def _language_model(scorer: Scorer, words: dict[int, ClipWords]) -> Predictor:
    def probabilities(episode: Episode) -> npt.NDArray[np.float64]:
        scorer.fit([[words[clip] for clip in clips] for clips in episode.demonstrations], episode.labels)
        return scorer.scores([words[clip] for clip in episode.queries]).double().softmax(-1).numpy()

    return probabilities


def _measure(
    method: str, found: Sequence[Floats], seconds: float, folder: LabelledFolder, episodes: Sequence[Episode],
    seed: int, probable: bool,
) -> tuple[Row, list[Said]]:  # fmt: skip
    """Accuracy of a method from its scores, and what it said to each query. probable: they are probabilities."""
    random = np.random.default_rng(seed)
    said: list[Said] = []
    losses: list[float] = []
    for episode, scores in zip(episodes, found, strict=True):
        for row, way, query in zip(scores, baselines.decide(scores, random), episode.queries, strict=True):
            label = folder.labels[query]
            said.append((episode.labels[way], label, float(row[way]) if probable else None))
            if probable:
                losses.append(-float(np.log(max(row[episode.labels.index(label)], 1e-12))))
    right = [answer == label for answer, label, _ in said]
    share = Accuracy.of(right)
    row = Row(method, share.accuracy, share.low, share.high, share.n, round(seconds, 3))
    if probable:
        confidence = [sure for *_, sure in said if sure is not None]
        row = replace(row, ece=calibration_error(confidence, right), log_loss=float(np.mean(losses)))
    return row, said


def _chance(episodes: Sequence[Episode]) -> Row:
    shares = [1 / len(episode.labels) for episode in episodes for _ in episode.queries]
    return Row("chance", sum(shares) / len(shares), None, None, len(shares), 0.0)

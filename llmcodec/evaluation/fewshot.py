"""The few-shot evaluation: one set of episodes, every method on exactly the same ones."""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass, replace
from hashlib import sha256
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import torch

from llmcodec.audio import load_audio
from llmcodec.codec import AudioCodes, LLMCodec, WordSpace
from llmcodec.errors import ConfigError, ModelError
from llmcodec.evaluation import baselines
from llmcodec.evaluation.baselines import Predictor
from llmcodec.evaluation.dataset import LabelledFolder
from llmcodec.evaluation.episodes import Episode, draw_episodes
from llmcodec.evaluation.metrics import Accuracy, calibration_error, mcnemar
from llmcodec.evaluation.provenance import digest, provenance
from llmcodec.icl import Scorer, build_scorer
from llmcodec.llm import FrozenLLM, load_llm
from llmcodec.prompting import ClipWords, PromptBuilder, TaskTemplate, load_template

BATCH = 16
Progress = Callable[[str, int, int], None]  # stage, done, total


@dataclass(frozen=True)
class Row:
    """One method. `low`, `high`: 95 % Wilson interval, None where the accuracy is exact.

    ece, log_loss: calibration error and mean negative log-probability of the right label, of methods that give
    probabilities.
    """

    method: str
    accuracy: float
    low: float | None
    high: float | None
    n: int
    seconds: float
    ece: float | None = None
    log_loss: float | None = None


@dataclass(frozen=True)
class Comparison:
    """Two methods on the same queries: how often only one of them was right, and McNemar's exact p."""

    method: str
    other: str
    only_method: int
    only_other: int
    p: float


@dataclass(frozen=True)
class Report:
    """Accuracies of all methods on the same episodes, and each language model scorer against what came before it.

    setup: data, classes, clips, ways, shots, episodes, queries, group_by, template, layers, llm, codec, whisper.
    notes: what is missing and why. provenance: machine, date, commit, seed, threads, versions.
    """

    setup: dict[str, Any]
    rows: tuple[Row, ...]
    comparisons: tuple[Comparison, ...]
    notes: tuple[str, ...]
    provenance: dict[str, Any]

    def to_dict(self) -> dict[str, Any]:
        return asdict(self)

    def to_json(self) -> str:
        return json.dumps(self.to_dict(), indent=2, ensure_ascii=False)

    def to_markdown(self) -> str:
        s = self.setup
        lines = [
            f"{s['data']}: {s['ways']}-way {s['shots']}-shot, {s['episodes']} episodes, {s['queries']} per episode, "
            f"split by {s['group_by']}; words: {' + '.join(s['layers'])}; llm: {s['llm'] or 'none'}",
            "",
            "| method | accuracy | 95 % interval | n | calibration error | log loss |",
            "|---|---|---|---|---|---|",
        ]
        for row in self.rows:
            between = "exact" if row.low is None or row.high is None else f"{100 * row.low:.1f} - {100 * row.high:.1f}"
            sure = "" if row.ece is None else f"{row.ece:.3f}"
            loss = "" if row.log_loss is None else f"{row.log_loss:.3f}"
            lines.append(f"| {row.method} | {100 * row.accuracy:.1f} % | {between} | {row.n} | {sure} | {loss} |")
        for pair in self.comparisons:
            lines.append(
                f"\nOnly {pair.method} was right {pair.only_method} times, only {pair.other} {pair.only_other} times: "
                f"p = {pair.p:.2g} (McNemar, exact)."
            )
        return "\n".join([*lines, *(f"\n{note}" for note in self.notes)])


def evaluate_fewshot(
    folder: LabelledFolder,
    codec: LLMCodec,
    llm: FrozenLLM | None = None,
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

    llm: None loads the default one, unless there are no `scorers`.
    episodes: how many to draw (see `draw_episodes`), or the drawn ones; then ways, shots and queries are read off them.
    layers: names of the codec's layers whose words are used, by model and baselines; None: those of the template.
    whisper: model for the feature baselines (see `locate`); None: without. A model that is missing becomes a note.
    progress: called with (stage, done, total).

    Raises what its parts raise: AudioError, ConfigError, ModelError, PromptError.
    """
    tell = progress or (lambda stage, done, total: None)
    task = template if isinstance(template, TaskTemplate) else load_template(template)
    if layers is not None:
        task = task.model_copy(update={"layers": tuple(layers)})
    if scorers and llm is None:
        llm = load_llm()
    space = WordSpace(codec, task.layers)
    judges = {}
    if scorers and llm is not None:
        builder = PromptBuilder(task, llm, codec.vocabularies, codec.layer_names)
        judges = {scorer: build_scorer(scorer, builder, space) for scorer in scorers}
    drawn = draw_episodes(folder, ways, shots, episodes, seed, queries) if isinstance(episodes, int) else list(episodes)

    used = sorted({clip for episode in drawn for clip in episode.clips})
    codes = encode_clips(folder, codec, used, lambda done, total: tell("encode", done, total))
    rows = [_chance(drawn)]
    right: dict[str, list[bool]] = {}  # of each method, query by query

    def add(method: str, predictor: Predictor, probable: bool = False) -> None:
        row, right[method] = _measure(method, predictor, folder, drawn, seed, tell, probable)
        rows.append(row)

    add("majority", baselines.majority(folder, drawn))
    if judges:
        ids = {clip: builder.word_ids(codes[clip]) for clip in used}
        for scorer, judge in judges.items():
            add(f"llm, {scorer}", _language_model(judge, ids), probable=True)
    heard = [codes[clip] for clip in used]
    for kind, vectors in (
        ("words", baselines.word_vectors(heard, space.places)),
        ("near words", baselines.near_word_vectors(heard, space)),
        ("latents", baselines.latent_vectors(heard, codec, space.places)),
    ):
        rows_of_clips = _spread(vectors, used, len(folder))
        add(f"nearest neighbour, {kind}", baselines.nearest(rows_of_clips))
        add(f"prototype, {kind}", baselines.prototype(rows_of_clips))
    notes = []
    if whisper is not None:
        try:
            files = [str(folder.files[clip]) for clip in used]
            found = baselines.whisper_vectors(files, whisper, lambda done, total: tell("whisper", done, total))
        except ModelError as error:
            notes.append(f"Without the rows on Whisper features: {error}")
        else:
            features = _spread(found, used, len(folder))
            add("nearest neighbour, whisper", baselines.nearest(features))
            add("prototype, whisper", baselines.prototype(features))
            add("linear probe, whisper", baselines.linear_probe(features), probable=True)
    models = [f"llm, {scorer}" for scorer in judges]
    against = [(one, other) for place, one in enumerate(models) for other in models[place + 1 :]]
    against += [
        (one, other) for one in models for other in ("nearest neighbour, words", "nearest neighbour, near words")
    ]
    comparisons = tuple(Comparison(one, other, *mcnemar(right[one], right[other])) for one, other in against)
    setup = {
        "data": folder.root.resolve().name,
        "classes": list(folder.classes),
        "clips": len(folder),
        "ways": len(drawn[0].labels),
        "shots": len(drawn[0].demonstrations[0]),
        "episodes": len(drawn),
        "queries": len(drawn[0].queries),
        "group_by": folder.group_by,
        "template": task.name,
        "layers": list(task.layers),
        "llm": llm.name if scorers and llm is not None else None,
        "codec": {"name": codec_name, "weights": digest(codec)},
        "whisper": None if whisper is None or notes else Path(whisper).name,
    }
    return Report(setup, tuple(rows), comparisons, tuple(notes), provenance(seed))


def encode_clips(
    folder: LabelledFolder, codec: LLMCodec, clips: Sequence[int], progress: Callable[[int, int], None]
) -> dict[int, AudioCodes]:
    """The codes of each of those clips, by position in the folder; every clip is read and encoded once.

    ConfigError when two clips of different groups hold the same audio: one could be asked about with the other shown.
    """
    codes: dict[int, AudioCodes] = {}
    seen: dict[bytes, int] = {}
    for start in range(0, len(clips), BATCH):
        batch = clips[start : start + BATCH]
        waves = [load_audio(folder.files[clip], codec.sample_rate) for clip in batch]
        for clip, wave in zip(batch, waves, strict=True):
            twin = seen.setdefault(sha256((wave * 2**15).round().to(torch.int32).numpy().tobytes()).digest(), clip)
            if folder.groups[twin] != folder.groups[clip]:
                raise ConfigError(
                    f"{folder.root}: {folder.names[twin]} and {folder.names[clip]} hold the same audio; remove one, or "
                    "give both the same recording"
                )
        found = codec.encode(waves)
        codes.update({clip: found[row] for row, clip in enumerate(batch)})
        progress(len(codes), len(clips))
    return codes


def _language_model(judge: Scorer, words: dict[int, ClipWords]) -> Predictor:
    def probabilities(episode: Episode) -> npt.NDArray[np.float64]:
        judge.fit([[words[clip] for clip in clips] for clips in episode.demonstrations], episode.labels)
        return judge.scores([words[clip] for clip in episode.queries]).double().softmax(-1).numpy()

    return probabilities


def _measure(
    method: str, predictor: Predictor, folder: LabelledFolder, episodes: Sequence[Episode], seed: int, tell: Progress,
    probable: bool,
) -> tuple[Row, list[bool]]:  # fmt: skip
    """Accuracy of a method, and for each query whether it was right. probable: its scores are probabilities."""
    random = np.random.default_rng(seed)
    outcomes: list[bool] = []
    confidence: list[float] = []  # probability of the answer
    losses: list[float] = []
    start = time.perf_counter()
    for done, episode in enumerate(episodes, 1):
        scores = predictor(episode)
        ways = baselines.decide(scores, random)
        wanted = [episode.labels.index(folder.labels[query]) for query in episode.queries]
        outcomes += [way == place for way, place in zip(ways, wanted, strict=True)]
        if probable:
            confidence += scores[range(len(ways)), ways].tolist()
            losses += (-np.log(np.maximum(scores[range(len(ways)), wanted], 1e-12))).tolist()
        tell(method, done, len(episodes))
    found = Accuracy.of(outcomes)
    seconds = round(time.perf_counter() - start, 3)
    row = Row(method, found.accuracy, found.low, found.high, found.n, seconds)
    if probable:
        row = replace(row, ece=calibration_error(confidence, outcomes), log_loss=float(np.mean(losses)))
    return row, outcomes


def _chance(episodes: Sequence[Episode]) -> Row:
    shares = [1 / len(episode.labels) for episode in episodes for _ in episode.queries]
    return Row("chance", sum(shares) / len(shares), None, None, len(shares), 0.0)


def _spread(rows: npt.NDArray[np.float64], places: Sequence[int], length: int) -> npt.NDArray[np.float64]:
    """Rows of the used clips at their positions among all clips."""
    spread = np.zeros((length, rows.shape[1]))
    spread[list(places)] = rows
    return spread

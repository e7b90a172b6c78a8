"""What a language model has to beat: chance, nearest neighbours on the same words, and plain features.

Every baseline maps an episode to scores [queries, ways], larger is likelier; a column more breaks ties of the first.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Sequence

import numpy as np
import numpy.typing as npt
import torch

from llmcodec.audio import load_audio
from llmcodec.codec import AudioCodes, LLMCodec, WordSpace
from llmcodec.codec.codes import PADDING
from llmcodec.errors import ConfigError, ModelError, first_line
from llmcodec.evaluation.dataset import LabelledFolder
from llmcodec.evaluation.episodes import Episode
from llmcodec.models import locate
from llmcodec.teachers import WHISPER_SECONDS, AudioTeacher

Floats = npt.NDArray[np.float64]
Predictor = Callable[[Episode], Floats]  # -> [queries, ways] or [queries, ways, 2], the last to break ties
_EQUAL = 1e-9  # cosines closer than this are a tie


def word_vectors(codes: Sequence[AudioCodes], layers: Sequence[int]) -> Floats:
    """Square roots of word counts, scaled to length 1: [N, words in use of all `layers`]. Each item is one clip."""
    blocks = []
    for layer in layers:
        rows = [clip.layers[layer][clip.layers[layer] != PADDING].numpy() for clip in codes]
        _, places = np.unique(np.concatenate(rows), return_inverse=True)
        owners = np.repeat(np.arange(len(rows)), [len(row) for row in rows])
        counts = np.zeros((len(rows), places.max(initial=-1) + 1))
        np.add.at(counts, (owners, places), 1.0)
        blocks.append(np.sqrt(counts))
    return unit(np.concatenate(blocks, axis=1))


def near_word_vectors(codes: Sequence[AudioCodes], space: WordSpace) -> Floats:
    """Word counts that speak for near words too, [N, D]; see WordSpace. Each item is one clip."""
    return space.vectors(space.shares(codes)).double().numpy()


def latent_vectors(codes: Sequence[AudioCodes], codec: LLMCodec, layers: Sequence[int]) -> Floats:
    """Mean codebook row of each layer, scaled to length 1: [N, sum of their dimensions]. Each item is one clip."""
    blocks = []
    for layer in layers:
        table = codec.quantizer.layers[layer].get_buffer("table").double().cpu()
        rows = [clip.layers[layer][clip.layers[layer] != PADDING] for clip in codes]
        blocks.append(unit(np.stack([table[row].sum(0).numpy() for row in rows])))
    return unit(np.concatenate(blocks, axis=1))


def unit(rows: Floats) -> Floats:
    """Rows scaled to length 1; a row of zeros stays."""
    return rows / np.maximum(np.linalg.norm(rows, axis=-1, keepdims=True), 1e-12)


def whisper_vectors(files: Sequence[str], name_or_path: str, progress: Callable[[int, int], None]) -> Floats:
    """Output of Whisper's encoder, averaged over time: [N, dim]. Of a longer clip the first 30 s count.

    name_or_path: folder, hub id, or a name below $LLMCODEC_MODELS. ModelError if there is no such model.
    """
    from transformers import AutoConfig

    folder = locate(name_or_path)
    try:
        config = AutoConfig.from_pretrained(folder)
    except (OSError, ValueError) as error:
        raise ModelError(f"cannot load {name_or_path!r}: {first_line(error)}") from error
    if config.model_type != "whisper":
        raise ModelError(f"{name_or_path!r} is a model of type {config.model_type!r}; a Whisper is needed")
    teacher = AudioTeacher(folder, int(config.encoder_layers))
    rows = []
    for done, file in enumerate(files):
        wave = load_audio(file, teacher.sample_rate)[: int(WHISPER_SECONDS * teacher.sample_rate)]
        with torch.inference_mode():
            hidden = teacher.encoder.layer_norm(teacher.features([wave])[0])
        rows.append(hidden.mean(0).double().numpy())
        progress(done + 1, len(files))
    return np.stack(rows)


def nearest(vectors: Floats) -> Predictor:
    """Nearest neighbour by cosine: a class scores its likest demonstration, and of equal ones the larger mean wins.

    vectors: [clips of the folder, D].
    """
    rows = unit(vectors)

    def scores(episode: Episode) -> Floats:
        shown = rows[np.array(episode.demonstrations)]  # [ways, shots, D]
        cosines = np.einsum("qd,wsd->qws", rows[list(episode.queries)], shown)
        return np.stack([cosines.max(2), cosines.mean(2)], axis=-1)

    return scores


def prototype(vectors: Floats) -> Predictor:
    """Cosine to the mean of a class's demonstrations, each scaled to length 1. vectors: [clips of the folder, D]."""
    rows = unit(vectors)

    def scores(episode: Episode) -> Floats:
        means = unit(rows[np.array(episode.demonstrations)].mean(1))
        return rows[list(episode.queries)] @ means.T

    return scores


def linear_probe(vectors: Floats) -> Predictor:
    """Logistic regression (C = 1) fitted on the demonstrations alone. vectors: [clips of the folder, D]."""
    from sklearn.linear_model import LogisticRegression

    def scores(episode: Episode) -> Floats:
        shown = vectors[np.array(episode.demonstrations)]
        ways = np.repeat(np.arange(shown.shape[0]), shown.shape[1])
        model = LogisticRegression(max_iter=1000).fit(shown.reshape(len(ways), -1), ways)
        return np.asarray(model.predict_proba(vectors[list(episode.queries)]), dtype=np.float64)

    return scores


def majority(folder: LabelledFolder, episodes: Sequence[Episode]) -> Predictor:
    """Always the class that is asked about most often over all episodes, among those of the episode."""
    asked = Counter(folder.labels[query] for episode in episodes for query in episode.queries)
    return lambda episode: np.tile([float(asked[label]) for label in episode.labels], (len(episode.queries), 1))


def decide(scores: Floats, random: np.random.Generator) -> list[int]:
    """The way with the largest score for each query; ties by the next column, then at random.

    scores: [queries, ways] or [queries, ways, columns]. ConfigError if a score is NaN.
    """
    if np.isnan(scores).any():
        raise ConfigError("a method gave no number as a score; its features or probabilities are not finite")
    chosen = []
    for rows in scores.reshape(*scores.shape[:2], -1):
        left = np.arange(len(rows))
        for column in rows.T:
            left = left[column[left] >= column[left].max() - _EQUAL]
        chosen.append(int(random.choice(left)))
    return chosen

"""Codebooks in training: projections of frozen word embeddings, and how the semantic one begins.

A random projection of embeddings collapses onto a few words. Two things stop it: the projected table is standardised
per dimension at every step, so that it always covers the (equally standardised) queries; and the semantic layer starts
from what its teacher hears. For the latter the teacher's features are clustered with as many centroids as the layer has
words, each centroid is given the word whose text embedding is closest to the texts it was heard with, and the
projection is the least-squares map from word embeddings to centroids.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np
import torch
from scipy.optimize import linear_sum_assignment
from torch import Tensor, nn

from llmcodec.training.cache import FeatureCache


class ProjectedCodebook(nn.Module):
    """Embeddings [V, E] -> unit rows [V, d] by one affine map; rows are standardised per dimension before.

    The embeddings are frozen, as a language model has to know its own words again, unless `trainable`: the ablation of
    the paper.
    """

    embeddings: Tensor
    offset: Tensor

    def __init__(self, embeddings: Tensor, dim: int, trainable: bool = False) -> None:
        super().__init__()
        centred = embeddings.float() - embeddings.float().mean(0)
        if trainable:
            self.embeddings = nn.Parameter(centred / centred.std())
        else:
            self.register_buffer("embeddings", centred / centred.std(), persistent=False)
        self.projection = nn.Linear(embeddings.shape[1], dim, bias=False)
        nn.init.normal_(self.projection.weight, std=embeddings.shape[1] ** -0.5)
        self.register_buffer("offset", torch.zeros(dim))
        self.standardise = True

    def fit(self, rows: Tensor) -> float:
        """Set the projection to the least-squares map onto `rows` [V, d] and freeze it; returns the explained variance.

        Exact when there are no more words than embedding dimensions. Centred embeddings have one direction without
        variance, which `rcond` keeps out: a solution with huge weights there would be lost to rounding.
        """
        mean = rows.double().mean(0)
        solution = torch.linalg.lstsq(
            self.embeddings.double(), rows.double() - mean, rcond=1e-5, driver="gelsd"
        ).solution
        self.projection.weight.data = solution.T.float().contiguous()
        self.offset.copy_(mean)
        self.projection.requires_grad_(False)
        self.standardise = False
        return 1 - float((self._projected() - rows).square().sum() / rows.square().sum())

    def recover(self, table: Tensor, steps: int = 300) -> float:
        """Find the projection that makes the unit rows of `table` [V, d]; returns their mean cosine to those it makes.

        Least squares first, as if all rows had been equally long, then L-BFGS on the cosines.
        """
        self.projection.weight.data = torch.linalg.lstsq(self.embeddings, table, driver="gelsd").solution.T.contiguous()
        learned = [parameter for parameter in self.parameters() if parameter.requires_grad]
        search = torch.optim.LBFGS(learned, max_iter=steps, history_size=20, line_search_fn="strong_wolfe")

        def loss() -> Tensor:
            search.zero_grad()
            found = (1 - (self() * table).sum(-1)).mean()
            found.backward()  # type: ignore[no-untyped-call]
            return found

        search.step(loss)
        search.zero_grad()
        with torch.no_grad():
            return float((self() * table).sum(-1).mean())

    def forward(self) -> Tensor:
        table = self._projected()
        if self.standardise:
            table = (table - table.mean(0)) / (table.std(0) + 1e-5)
        return nn.functional.normalize(table, dim=-1)

    def _projected(self) -> Tensor:
        return self.projection(self.embeddings) + self.offset


@dataclass(frozen=True)
class TeacherSpace:
    """The space in which the semantic layer chooses: teacher features, standardised, averaged in time and whitened.

    mean, scale: [dim] of the raw features; basis: [dim, d] takes standardised features to whitened components.
    """

    mean: Tensor
    scale: Tensor
    basis: Tensor

    def standardised(self, rows: Tensor) -> Tensor:
        return (rows - self.mean) / self.scale

    def target(self, rows: Tensor, pool: int, context: float) -> Tensor:
        """Raw teacher rows [B, T, dim] -> unit targets [B, T / pool, d].

        Each target is the mean of `pool` rows, mixed with the mean of the whole clip by weight `context` (0 to 1).
        """
        pooled = self.standardised(rows).unflatten(1, (-1, pool)).mean(2)
        pooled = (1 - context) * pooled + context * pooled.mean(1, keepdim=True)
        return nn.functional.normalize(pooled @ self.basis, dim=-1)


def fit_teacher_space(features: Tensor, dim: int, pool: int) -> TeacherSpace:
    """Raw teacher rows [N, dim0] in time order -> statistics and the `dim` main directions of `pool`-row means."""
    mean, scale = features.mean(0), features.std(0) + 1e-4
    usable = len(features) // pool * pool
    pooled = ((features[:usable] - mean) / scale).reshape(-1, pool, features.shape[1]).mean(1)
    return TeacherSpace(mean, scale, _main_directions(pooled.T @ pooled / len(pooled), dim))


def with_captions(space: TeacherSpace, clips: Tensor, texts: Tensor, dim: int, ridge: float = 0.3) -> TeacherSpace:
    """`space` with `dim` more directions: those in which one hears what the texts say.

    clips: mean raw teacher features [N, dim0]; texts: the embedding of each clip's text [N, e]. A ridge regression
    predicts the one from the other; the main directions of its predictions count as much as all that `space` had.
    """
    heard = space.standardised(clips).double()
    told = (texts - texts.mean(0)).double()
    covariance = heard.T @ heard / len(heard)
    weights = torch.linalg.solve(
        covariance + ridge * torch.eye(len(covariance), dtype=torch.double), heard.T @ told / len(heard)
    )
    found = (weights @ _main_directions(weights.T @ covariance @ weights, dim)).float()
    share = (heard.float() @ space.basis).norm(dim=-1).mean() / (heard.float() @ found).norm(dim=-1).mean()
    return replace(space, basis=torch.cat([space.basis, share * found], dim=1))


def _main_directions(covariance: Tensor, dim: int) -> Tensor:
    """The `dim` main directions as columns, scaled by the inverse fourth root of their variance: half-way between plain
    and whitened, which keeps the strong ones ahead of the noise in the weak ones."""
    variance, directions = torch.linalg.eigh(covariance)
    order = variance.argsort(descending=True)[:dim]
    return directions[:, order] * variance[order].clamp(min=1e-6 * variance.max()) ** -0.25


def spherical_kmeans(points: Tensor, clusters: int, rounds: int, seed: int) -> Tensor:
    """Unit points [N, d] -> unit centroids [clusters, d]; an empty cluster moves to the point that fits worst."""
    generator = torch.Generator().manual_seed(seed)
    centroids = points[torch.randperm(len(points), generator=generator)[:clusters]].clone()
    for _ in range(rounds):
        similarity, nearest = (points @ centroids.T).max(1)
        sums = torch.zeros_like(centroids).index_add_(0, nearest, points)
        empty = torch.bincount(nearest, minlength=clusters) == 0
        sums[empty] = points[similarity.argsort()[: int(empty.sum())]]
        centroids = nn.functional.normalize(sums, dim=-1)
    return centroids


def match_words(centroid_texts: Tensor, word_texts: Tensor) -> Tensor:
    """Give every centroid its own word so that the summed text similarity is largest (Hungarian method).

    centroid_texts [K, e]: mean text embedding of what a centroid was heard with; word_texts [V, e], V >= K.
    Both are centred first. Returns long [K], the word of each centroid.
    """
    centroid_texts = nn.functional.normalize(centroid_texts - centroid_texts.mean(0), dim=-1)
    word_texts = nn.functional.normalize(word_texts - word_texts.mean(0), dim=-1)
    rows, columns = linear_sum_assignment(-(centroid_texts @ word_texts.T).numpy())
    return torch.from_numpy(columns[np.argsort(rows)])


@dataclass(frozen=True)
class ClipSample:
    """A balanced sample of teacher targets [N, d] and the clip each came from [N]."""

    targets: Tensor
    clips: Tensor


def sample_targets(
    cache: FeatureCache, space: TeacherSpace, chosen: np.ndarray, pool: int, context: float, crop_rows: int, seed: int
) -> ClipSample:
    """Targets of one random crop of up to `crop_rows` teacher rows for each of the `chosen` clips."""
    random = np.random.default_rng(seed)
    targets = [torch.zeros(0, space.basis.shape[1])]
    clips = [torch.zeros(0, dtype=torch.long)]
    for clip in chosen:
        low, high = cache.row_bounds[clip]
        start = int(random.integers(max(1, high - low - crop_rows + 1)))
        rows = cache.rows(int(clip), start, crop_rows)
        rows = rows[: max(1, len(rows) // pool) * pool]
        if len(rows) < pool:
            continue
        found = space.target(rows[None], pool, context)[0]
        targets.append(found)
        clips.append(torch.full((len(found),), int(clip)))
    return ClipSample(torch.cat(targets), torch.cat(clips))

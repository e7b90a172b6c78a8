import pytest
import torch
from torch import nn

from llmcodec.training.codebooks import (
    ProjectedCodebook,
    fit_teacher_space,
    match_words,
    spherical_kmeans,
    with_captions,
)


def unit(*shape, seed=0):
    return nn.functional.normalize(torch.randn(*shape, generator=torch.Generator().manual_seed(seed)), dim=-1)


def test_rows_are_unit_and_only_the_projection_learns():
    codebook = ProjectedCodebook(torch.randn(50, 20), 6)
    rows = codebook()
    assert rows.shape == (50, 6) and torch.allclose(rows.norm(dim=1), torch.ones(50), atol=1e-5)
    assert [name for name, _ in codebook.named_parameters()] == ["projection.weight"]
    assert "embeddings" not in codebook.state_dict()


def test_trainable_embeddings_start_as_the_frozen_ones_and_learn():
    embeddings = torch.randn(50, 20)
    torch.manual_seed(1)
    frozen = ProjectedCodebook(embeddings, 6)
    torch.manual_seed(1)
    codebook = ProjectedCodebook(embeddings, 6, trainable=True)
    assert torch.equal(codebook(), frozen())
    assert "embeddings" in codebook.state_dict()
    codebook()[:, 0].sum().backward()
    assert codebook.embeddings.grad.abs().sum() > 0


def test_a_fit_is_exact_with_fewer_words_than_dimensions():
    torch.manual_seed(0)
    wanted = unit(250, 6)
    codebook = ProjectedCodebook(torch.randn(250, 300) + 3, 6)  # as many as are used: few hide what rounding does
    assert codebook.fit(wanted) == pytest.approx(1, abs=1e-6)
    assert torch.allclose(codebook(), wanted, atol=1e-4)
    assert not list(filter(lambda parameter: parameter.requires_grad, codebook.parameters()))


def test_a_fit_of_many_words_explains_a_part():
    torch.manual_seed(0)
    assert 0 < ProjectedCodebook(torch.randn(200, 32), 6).fit(unit(200, 6)) < 0.9


def test_a_projection_is_recovered_from_the_rows_that_it_made():
    torch.manual_seed(0)
    embeddings = torch.randn(300, 40) + 2
    made = ProjectedCodebook(embeddings, 6)
    rows = made().detach().half().float()  # as a checkpoint holds them
    codebook = ProjectedCodebook(embeddings, 6)
    assert codebook.recover(rows) > 0.9999
    assert torch.allclose(codebook(), rows, atol=5e-3)
    assert codebook.projection.weight.requires_grad and codebook.projection.weight.grad is None


def test_centroids_are_the_unit_means_of_their_points():
    points = unit(300, 8)
    found = spherical_kmeans(points, 5, rounds=60, seed=1)
    assert found.shape == (5, 8) and torch.allclose(found.norm(dim=1), torch.ones(5), atol=1e-5)
    nearest = (points @ found.T).argmax(1)
    means = torch.stack([points[nearest == cluster].mean(0) for cluster in range(5)])
    assert torch.allclose(nn.functional.normalize(means, dim=-1), found, atol=1e-3)
    assert torch.equal(found, spherical_kmeans(points, 5, rounds=60, seed=1))


def test_an_empty_cluster_moves_to_a_point_that_fits_badly():
    points = torch.cat([unit(1, 8).expand(30, 8), unit(3, 8, seed=1)])
    found = spherical_kmeans(points, 4, rounds=5, seed=0)
    assert (points @ found.T).max(1).values.min() > 0.99


def test_every_centroid_gets_its_own_word_and_the_closest_where_it_can():
    words = unit(30, 12)
    wanted = torch.randperm(30, generator=torch.Generator().manual_seed(3))
    assert torch.equal(match_words(words[wanted], words), wanted)
    some = match_words(unit(10, 12, seed=5), words)
    assert len(set(some.tolist())) == 10 and set(some.tolist()) <= set(range(30))


def test_targets_are_unit_means_in_time():
    features = torch.randn(90, 10, generator=torch.Generator().manual_seed(0)) * 3 + 1
    space = fit_teacher_space(features, 4, pool=2)
    target = space.target(features[None, :12], pool=2, context=0.3)
    assert target.shape == (1, 6, 4) and torch.allclose(target.norm(dim=-1), torch.ones(1, 6), atol=1e-5)
    whole = space.target(features[None, :12], pool=2, context=1.0)
    assert torch.allclose(whole, whole[:, :1].expand_as(whole), atol=1e-5)


def test_caption_directions_follow_what_texts_say():
    random = torch.Generator().manual_seed(0)
    told = torch.randn(400, 3, generator=random)
    clips = torch.randn(400, 12, generator=random) * torch.tensor([5.0] * 6 + [1.0] * 6)
    clips[:, 9:] = 0.3 * told  # the texts are heard where the sound varies least
    space = fit_teacher_space(clips, 4, pool=1)
    more = with_captions(space, clips, torch.nn.functional.pad(told, (0, 5)), 3)
    assert more.basis.shape == (12, 7) and torch.equal(more.basis[:, :4], space.basis)
    heard = space.standardised(clips) @ more.basis
    solved = torch.linalg.lstsq(heard[:, 4:], told).solution
    assert (heard[:, 4:] @ solved - told).square().mean() < 0.05
    ratio = heard[:, 4:].norm(dim=1).mean() / heard[:, :4].norm(dim=1).mean()
    assert ratio == pytest.approx(1, abs=0.01)

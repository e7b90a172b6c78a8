import pytest
import torch

from llmcodec.codec import AudioCodes, LLMCodec, WordSpace
from llmcodec.codec.wordspace import LANDMARKS, word_shares
from llmcodec.errors import ConfigError


def clip(*rows: list[int]) -> AudioCodes:
    return AudioCodes(tuple(torch.tensor([row], dtype=torch.long) for row in rows), torch.tensor([960]))


def test_shares_count_words_and_leave_out_padding():
    assert word_shares(torch.tensor([2, 2, 0, 2, -1]), 4).tolist() == [0.25, 0, 0.75, 0]
    assert word_shares(torch.tensor([-1]), 3).tolist() == [0, 0, 0]


def test_near_words_are_alike_and_equal_clips_are_equal(tiny_codec: LLMCodec):
    space = WordSpace(tiny_codec, ["semantic"])
    table = tiny_codec.quantizer.layers[0].get_buffer("table")
    order = (table @ table[0]).argsort(descending=True).tolist()
    codes = [clip([word], [0], [0]) for word in (order[0], order[0], order[1], order[-1])]
    vectors = space.vectors(space.shares(codes))
    torch.testing.assert_close(vectors.norm(dim=1), torch.ones(4))
    assert torch.equal(vectors[0], vectors[1])
    assert 1 > vectors[0] @ vectors[2] > vectors[0] @ vectors[3]


def test_the_order_of_words_does_not_matter_and_every_layer_counts(tiny_codec: LLMCodec):
    space = WordSpace(tiny_codec, ["coarse", "semantic"])
    assert space.places == [1, 0] and space.sizes == [len(tiny_codec.vocabularies[place]) for place in (1, 0)]
    one, other, third = clip([1, 2], [3, 4], []), clip([2, 1], [4, 3], []), clip([2, 1], [4, 5], [])
    vectors = space.vectors(space.shares([one, other, third]))
    assert torch.equal(vectors[0], vectors[1]) and not torch.equal(vectors[0], vectors[2])


def test_parts_add_up_to_the_cosine(tiny_codec: LLMCodec):
    space = WordSpace(tiny_codec, tiny_codec.layer_names)
    shares = space.shares([clip([1, 2], [3, 4, 4], [5]), clip([1, 7], [3, 9, 9], [])])
    vectors = space.vectors(shares)
    parts = space.parts([rows[0] for rows in shares], vectors)
    torch.testing.assert_close(sum(part.sum(0) for part in parts), vectors[0] @ vectors.T)
    assert all(part[rows[0] == 0].abs().max() == 0 for part, rows in zip(parts, shares, strict=True))


def test_large_vocabularies_have_a_bounded_number_of_landmarks(tiny_codec: LLMCodec, monkeypatch):
    monkeypatch.setattr("llmcodec.codec.wordspace.LANDMARKS", 5)
    space = WordSpace(tiny_codec, ["semantic", "fine"])
    assert LANDMARKS == 512 and space.vectors(space.shares([clip([1], [], [2])])).shape == (1, 10)


def test_an_unknown_layer_is_refused(tiny_codec: LLMCodec):
    with pytest.raises(ConfigError, match="no layer 'colour'; allowed: semantic, coarse, fine"):
        WordSpace(tiny_codec, ["colour"])

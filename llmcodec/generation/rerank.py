"""Which of several candidates is kept."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

from llmcodec.codec import AudioCodes, LLMCodec
from llmcodec.errors import ConfigError
from llmcodec.llm import FrozenLLM, Generation, Prefix

Found = Sequence[tuple[Generation, AudioCodes]]
RERANKERS = ("likelihood", "mean", "information", "round-trip", "heard", "quality")


def candidate_scores(
    kind: str,
    found: Found,
    codec: LLMCodec,
    llm: FrozenLLM,
    unasked: Callable[[], Prefix],
    surely: Callable[[AudioCodes], float],
) -> list[float]:
    """A number for each candidate, the larger the better.

    kind: "likelihood": log-probability of the words; "mean": the same for each word; "information": by how much the
        query made them likelier than the demonstrations alone do; "round-trip": the share of words that the codec
        hears again in its own decoding; "heard": how surely it hears there the text that was asked for, and no other
        demonstrated one; "quality": DNSMOS of the decoding (extra `eval`).
    unasked: the demonstrations with an empty query, for "information". surely: for "heard", see Ear.
    ConfigError for another kind, ModelError without the package that "quality" needs.
    """
    if kind == "likelihood":
        return [float(one.logprobs.sum()) for one, _ in found]
    if kind == "mean":
        return [float(one.logprobs.mean()) for one, _ in found]
    if kind == "information":
        prefix = unasked()
        without = llm.log_likelihood([(prefix, one.ids) for one, _ in found])
        return [float(one.logprobs.sum() - row.sum()) for (one, _), row in zip(found, without, strict=True)]
    if kind == "round-trip":
        return [agreement(codes, codec) for _, codes in found]
    if kind == "heard":
        return [surely(codes) for _, codes in found]
    if kind == "quality":
        return [quality(codes, codec) for _, codes in found]
    raise ConfigError(f"rerank: {kind!r} is not one of {', '.join(RERANKERS)}")


def agreement(codes: AudioCodes, codec: LLMCodec) -> float:
    """Share of the codes of one clip that encoding its decoding gives again, 0..1."""
    again = codec.encode(codec.decode(codes))
    equal = sum(int((one == other).sum()) for one, other in zip(codes.layers, again.layers, strict=True))
    return equal / sum(layer.numel() for layer in codes.layers)


def quality(codes: AudioCodes, codec: LLMCodec) -> float:
    """DNSMOS of one clip's decoding."""
    from llmcodec.audio import load_audio
    from llmcodec.evaluation.metrics import dnsmos

    wave: Any = codec.decode(codes)[0]
    return dnsmos(load_audio(wave, 16_000, codec.sample_rate), 16_000)

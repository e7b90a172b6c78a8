"""Tiny random models of three families, each with a tokenizer built here, and the fake."""

import json

import pytest
import torch
from tokenizers import AddedToken, Tokenizer, decoders, models, normalizers, pre_tokenizers, trainers
from transformers import (
    Gemma3ForCausalLM,
    Gemma3TextConfig,
    GPT2Config,
    GPT2LMHeadModel,
    LlamaConfig,
    LlamaForCausalLM,
    PreTrainedTokenizerFast,
    Qwen2Config,
    Qwen2ForCausalLM,
)

from llmcodec.llm import FakeLLM, TransformersLLM

WORDS = ["dog", "cat", "bird", "rain", "sea", "wind"]
TEXT = [f"{a} {b} the {a} and the {b} é è" for a in WORDS for b in WORDS]
SPECIAL = ["<unk>", "<s>", "</s>"]
SIZES = {
    "hidden_size": 32,
    "intermediate_size": 48,
    "num_hidden_layers": 2,
    "num_attention_heads": 4,
    "num_key_value_heads": 2,
    "max_position_embeddings": 64,
    "initializer_range": 0.3,
    "bos_token_id": 1,
    "eos_token_id": 2,
}


def byte_level_tokenizer(bos="<s>"):
    core = Tokenizer(models.BPE())
    core.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    core.decoder = decoders.ByteLevel()
    # "ĠÃ", a space with half a letter, becomes a token; "Ġ<end>" looks like a word but is a special token.
    trainer = trainers.BpeTrainer(vocab_size=150, special_tokens=SPECIAL, initial_alphabet=["Ċ", "Ġ"])
    core.train_from_iterator(TEXT, trainer)
    core.add_special_tokens([AddedToken("Ġ<end>", special=True, normalized=False)])
    return PreTrainedTokenizerFast(tokenizer_object=core, bos_token=bos, eos_token="</s>", unk_token="<unk>")


def sentencepiece_tokenizer(dummy_prefix):
    trained = Tokenizer(models.BPE())
    trained.pre_tokenizer = pre_tokenizers.Metaspace(prepend_scheme="always")
    trained.train_from_iterator(TEXT, trainers.BpeTrainer(vocab_size=90))
    pieces = [*SPECIAL, *(f"<0x{i:02X}>" for i in range(256)), "▁▁"]
    pieces += [piece for piece, _ in sorted(trained.get_vocab().items(), key=lambda item: item[1])]
    merges = [tuple(merge) for merge in json.loads(trained.to_str())["model"]["merges"]]
    vocabulary = {piece: i for i, piece in enumerate(pieces)}
    core = Tokenizer(models.BPE(vocab=vocabulary, merges=merges, byte_fallback=True, unk_token="<unk>", fuse_unk=True))
    spaces = normalizers.Replace(" ", "▁")
    core.normalizer = normalizers.Sequence([normalizers.Prepend("▁"), spaces]) if dummy_prefix else spaces
    core.decoder = decoders.Sequence([decoders.Replace("▁", " "), decoders.ByteFallback(), decoders.Fuse()])
    return PreTrainedTokenizerFast(tokenizer_object=core, bos_token="<s>", eos_token="</s>", unk_token="<unk>")


def build(family, **bounds):
    """A TransformersLLM with seeded random weights."""
    torch.manual_seed(7)
    if family == "llama":
        tokenizer = sentencepiece_tokenizer(dummy_prefix=True)
        model = LlamaForCausalLM(LlamaConfig(vocab_size=len(tokenizer), **SIZES))
    elif family == "qwen2":
        tokenizer = byte_level_tokenizer(bos=None)
        model = Qwen2ForCausalLM(Qwen2Config(vocab_size=len(tokenizer) + 5, **SIZES | {"bos_token_id": None}))
    elif family == "gpt2":
        tokenizer = byte_level_tokenizer()
        sizes = {"n_positions": 64, "n_embd": 32, "n_layer": 2, "n_head": 4, "initializer_range": 0.3}
        model = GPT2LMHeadModel(GPT2Config(vocab_size=len(tokenizer), bos_token_id=1, eos_token_id=2, **sizes))
    else:
        tokenizer = sentencepiece_tokenizer(dummy_prefix=False)
        layers = {"sliding_window": 6, "layer_types": ["sliding_attention", "full_attention"]}
        sizes = {"head_dim": 8, "query_pre_attn_scalar": 8}
        config = Gemma3TextConfig(vocab_size=len(tokenizer), **layers, **sizes, **SIZES)
        model = Gemma3ForCausalLM(config)
    return TransformersLLM(model, tokenizer, family, **bounds)


@pytest.fixture(scope="session", autouse=True)
def one_thread():
    torch.set_num_threads(1)


@pytest.fixture(scope="session", params=["llama", "qwen2", "gemma3", "gpt2"])
def transformers_llm(request):
    return build(request.param)


@pytest.fixture(scope="session", params=["llama", "qwen2", "gemma3", "gpt2", "fake"])
def llm(request):
    return FakeLLM(WORDS, max_context=64) if request.param == "fake" else build(request.param)


@pytest.fixture(scope="session")
def tiny():
    """tiny(family, **bounds) -> a new TransformersLLM of "llama", "qwen2", "gemma3" or "gpt2" (absolute positions)."""
    return build

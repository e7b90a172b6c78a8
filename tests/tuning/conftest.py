"""A tiny language model in a folder, and labelled clips."""

from pathlib import Path

import pytest
import torch
from tokenizers import Tokenizer, decoders, models, pre_tokenizers, trainers
from transformers import LlamaConfig, LlamaForCausalLM, PreTrainedTokenizerFast

from llmcodec.evaluation import LabelledFolder


@pytest.fixture(scope="session")
def llm_folder(tmp_path_factory):
    folder = tmp_path_factory.mktemp("llm") / "tiny"
    core = Tokenizer(models.BPE())
    core.pre_tokenizer, core.decoder = pre_tokenizers.ByteLevel(add_prefix_space=False), decoders.ByteLevel()
    core.train_from_iterator(["dog cat"], trainers.BpeTrainer(vocab_size=60, special_tokens=["<s>"]))
    PreTrainedTokenizerFast(tokenizer_object=core, bos_token="<s>", eos_token="<s>").save_pretrained(folder)
    torch.manual_seed(3)
    sizes = {
        "hidden_size": 32,
        "intermediate_size": 48,
        "num_hidden_layers": 2,
        "num_attention_heads": 4,
        "initializer_range": 0.3,
    }
    config = LlamaConfig(vocab_size=60, max_position_embeddings=64, bos_token_id=0, eos_token_id=0, **sizes)
    LlamaForCausalLM(config).save_pretrained(folder)
    return folder


@pytest.fixture(scope="session")
def labelled():
    """Five labels of six clips from three groups each."""
    names = [(label, number) for label in ("dog", "cat", "rain", "sea", "wind") for number in range(6)]
    return LabelledFolder(
        Path("clips"),
        tuple(Path(f"clips/{label}-{number}.wav") for label, number in names),
        tuple(label for label, _ in names),
        tuple(f"{label}-{number // 2}" for label, number in names),
        "recording",
    )

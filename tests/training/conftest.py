"""Tiny random stand-ins for the models that training reads, a folder of tones, and a recipe that takes seconds."""

import csv

import pytest
import soundfile
import torch
from tokenizers import Tokenizer, decoders, models, pre_tokenizers, processors, trainers
from transformers import (
    BertConfig,
    BertModel,
    LlamaConfig,
    LlamaForCausalLM,
    PreTrainedTokenizerFast,
    T5Config,
    T5EncoderModel,
    WhisperConfig,
    WhisperFeatureExtractor,
    WhisperModel,
)

from llmcodec.training.recipe import Recipe
from llmcodec.vocabulary import Vocabulary

WORDS = Vocabulary.whole_words().words[:60]
SPECIAL = ["<pad>", "<s>", "</s>", "<unk>"]


def save_text_model(kind, folder):
    core = Tokenizer(models.WordPiece(unk_token="<unk>"))
    core.pre_tokenizer = pre_tokenizers.BertPreTokenizer()
    core.train_from_iterator(WORDS, trainers.WordPieceTrainer(vocab_size=200, special_tokens=SPECIAL))
    core.post_processor = processors.TemplateProcessing(single="$A </s>", special_tokens=[("</s>", 2)])
    PreTrainedTokenizerFast(
        tokenizer_object=core, pad_token="<pad>", bos_token="<s>", eos_token="</s>", unk_token="<unk>"
    ).save_pretrained(folder)
    torch.manual_seed(1)
    if kind == "t5":
        config = T5Config(vocab_size=len(core.get_vocab()), d_model=16, d_kv=8, d_ff=24, num_layers=1, num_heads=2)
        T5EncoderModel(config).save_pretrained(folder)
    else:
        sizes = {"hidden_size": 16, "num_hidden_layers": 1, "num_attention_heads": 2, "intermediate_size": 24}
        BertModel(BertConfig(vocab_size=len(core.get_vocab()), **sizes)).save_pretrained(folder)
    return folder


def save_whisper(folder):
    torch.manual_seed(2)
    heads = {"encoder_attention_heads": 2, "decoder_attention_heads": 2, "encoder_ffn_dim": 24, "decoder_ffn_dim": 24}
    tokens = {"vocab_size": 8, "pad_token_id": 0, "bos_token_id": 1, "eos_token_id": 2, "decoder_start_token_id": 1}
    config = WhisperConfig(d_model=16, encoder_layers=2, decoder_layers=1, init_std=0.2, **heads, **tokens)
    WhisperModel(config).save_pretrained(folder)
    WhisperFeatureExtractor().save_pretrained(folder)
    return folder


def save_llm(folder):
    core = Tokenizer(models.BPE())
    core.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    core.decoder = decoders.ByteLevel()
    trainer = trainers.BpeTrainer(vocab_size=900, special_tokens=SPECIAL, initial_alphabet=["Ċ", "Ġ"])
    core.train_from_iterator([f"a {word} {word}" for word in WORDS], trainer)
    tokenizer = PreTrainedTokenizerFast(tokenizer_object=core, bos_token="<s>", eos_token="</s>", unk_token="<unk>")
    tokenizer.save_pretrained(folder)
    torch.manual_seed(3)
    sizes = {"hidden_size": 24, "intermediate_size": 24, "num_hidden_layers": 1, "num_attention_heads": 2}
    LlamaForCausalLM(LlamaConfig(vocab_size=len(tokenizer), max_position_embeddings=64, **sizes)).save_pretrained(
        folder
    )
    return folder


@pytest.fixture(scope="session")
def text_model(tmp_path_factory):
    """text_model("t5" or "bert") -> the folder of a tiny random text encoder."""
    return lambda kind: save_text_model(kind, tmp_path_factory.mktemp(kind))


@pytest.fixture(scope="session")
def stand_ins(tmp_path_factory):
    """Folders of a tiny Whisper, text encoder and language model."""
    root = tmp_path_factory.mktemp("models")
    return {
        "whisper": save_whisper(root / "whisper"), "text": save_text_model("bert", root / "text"),
        "llm": save_llm(root / "llm"),
    }  # fmt: skip


@pytest.fixture(scope="session")
def data(tmp_path_factory, sound):
    """Twelve tones of two kinds, 0.4 s to 1.5 s, most with a text; and one clip shorter than a frame."""
    folder = tmp_path_factory.mktemp("data")
    rows = []
    for number in range(12):
        name = f"{'low' if number % 2 else 'high'}{number}.wav"
        soundfile.write(folder / name, 0.9 * sound(6400 + 1600 * number, number).clamp(-1, 1).numpy(), 16_000)
        rows.append((name, "speech" if number % 2 else "sound", "" if number == 3 else WORDS[number % 5]))
    soundfile.write(folder / "short.wav", sound(100).numpy(), 16_000)
    with open(folder / "metadata.csv", "w", newline="", encoding="utf-8") as table:
        csv.writer(table).writerows([("file_name", "kind", "text"), *rows, ("short.wav", "speech", "")])
    return folder


@pytest.fixture(scope="session")
def cache_root(tmp_path_factory):
    return tmp_path_factory.mktemp("cache")


@pytest.fixture(scope="session")
def recipe(stand_ins):
    """recipe(fields, steps=6, ...) -> a Recipe: `fields` replace its own, the others those of the optimiser."""

    def words(size):
        return {"source": "llm", "size": size}

    def build(fields=None, **optimiser):
        values = {
            "llm": str(stand_ins["llm"]),
            "data": {"crop_seconds": 0.48, "copies": {"sound": 1}, "balance": {"speech": 0.5, "sound": 0.5}},
            "teachers": {"audio": str(stand_ins["whisper"]), "audio_layer": 1, "text": str(stand_ins["text"])},
            "latent_dim": 16,
            "backbone": {
                "mels": 20, "kernel": 3, "expansion": 1, "encoder_width": 16, "encoder_depth": 1, "listener_width": 16,
                "listener_depth": 1, "context_width": 16, "context_depth": 1, "decoder_width": 16, "decoder_depth": 1,
                "fine_width": 8, "fine_depth": 1,
            },
            "layers": [
                {"name": "semantic", "stride": 4, "lookup_dim": 8, "from_context": True, "words": words(12)},
                {"name": "coarse", "stride": 2, "lookup_dim": 4, "words": words(30)},
                {"name": "fine", "stride": 1, "lookup_dim": 4, "words": words(None)},
            ],
            "semantic": {"sample_clips": 30, "kmeans_rounds": 3},
            "optimiser": {"steps": 6, "batch_size": 3, "warmup_steps": 2, "learning_rate": 3e-3} | optimiser,
            "log_every": 3,
            "checkpoint_every": 3,
        }  # fmt: skip
        return Recipe.model_validate(values | (fields or {}))

    return build

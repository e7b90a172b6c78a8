"""Tiny random stand-ins for the models that the package reads, as folders that transformers loads."""

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


def save_whisper(folder, layers=2):
    torch.manual_seed(2)
    heads = {"encoder_attention_heads": 2, "decoder_attention_heads": 2, "encoder_ffn_dim": 32, "decoder_ffn_dim": 24}
    tokens = {"vocab_size": 8, "pad_token_id": 0, "bos_token_id": 1, "eos_token_id": 2, "decoder_start_token_id": 1}
    config = WhisperConfig(d_model=16, encoder_layers=layers, decoder_layers=1, init_std=0.2, **heads, **tokens)
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
    return save_llama(folder, tokenizer, 64)


def save_llama(folder, tokenizer, context):
    """A random model of one layer for that tokenizer."""
    tokenizer.save_pretrained(folder)
    torch.manual_seed(3)
    sizes = {"hidden_size": 24, "intermediate_size": 24, "num_hidden_layers": 1, "num_attention_heads": 2}
    config = LlamaConfig(vocab_size=len(tokenizer), max_position_embeddings=context, **sizes)
    LlamaForCausalLM(config).save_pretrained(folder)
    return folder

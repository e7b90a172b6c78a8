import pytest
import torch
from tokenizers import AddedToken, Tokenizer, models, pre_tokenizers
from transformers import (
    PreTrainedTokenizerFast,
    WhisperConfig,
    WhisperFeatureExtractor,
    WhisperForConditionalGeneration,
)

from llmcodec.errors import ModelError
from llmcodec.evaluation import recognition
from llmcodec.evaluation.recognition import WhisperJudge

SPECIAL = ["endoftext", "startoftranscript", "en", "transcribe", "notimestamps"]


def whisper(folder, special):
    """A tiny random Whisper whose tokens are letters."""
    letters = {chr(97 + n): n for n in range(26)} | {"Ġ": 26}
    core = Tokenizer(models.WordLevel(letters, unk_token="a"))
    core.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    core.add_special_tokens([AddedToken(f"<|{name}|>", special=True) for name in special])
    PreTrainedTokenizerFast(tokenizer_object=core).save_pretrained(folder)
    sizes = {"encoder_layers": 1, "decoder_layers": 1, "encoder_attention_heads": 2, "decoder_attention_heads": 2}
    torch.manual_seed(0)
    config = WhisperConfig(
        vocab_size=40, d_model=16, encoder_ffn_dim=16, decoder_ffn_dim=16, pad_token_id=27, bos_token_id=27,
        eos_token_id=27, decoder_start_token_id=28, init_std=0.5, **sizes,
    )  # fmt: skip
    WhisperForConditionalGeneration(config).save_pretrained(folder)
    WhisperFeatureExtractor().save_pretrained(folder)
    return str(folder)


@torch.inference_mode()
def reference(judge, wave):
    """Greedy decoding as it is defined: the whole prefix again for each token."""
    features = judge.extractor(wave.numpy(), sampling_rate=16_000, return_tensors="pt").input_features
    known = judge.tokenizer.get_vocab()
    *ids, end = [
        known[f"<|{name}|>"] for name in ("startoftranscript", "en", "transcribe", "notimestamps", "endoftext")
    ]
    for step in range(12):
        logits = judge.model(input_features=features, decoder_input_ids=torch.tensor([ids])).logits[0, -1]
        logits[end + 1 :] = -torch.inf
        if not step:
            logits[[known["Ġ"], end]] = -torch.inf
        ids.append(int(logits.argmax()))
        if ids[-1] == end:
            break
    return judge.tokenizer.decode(ids, skip_special_tokens=True).strip()


def test_transcripts_are_greedy_and_a_batch_equals_singles(tmp_path):
    judge = WhisperJudge(whisper(tmp_path, SPECIAL))
    waves = [torch.randn(count, generator=torch.Generator().manual_seed(count)) for count in (8_000, 20_000)]
    together = judge.transcribe(waves, fallback=False)
    assert together == [judge.transcribe([wave], fallback=False)[0] for wave in waves]
    for text, wave in zip(together, waves, strict=True):
        wanted = reference(judge, wave)
        assert wanted and text.startswith(wanted)
    with pytest.raises(ModelError, match="30 s at most, not 31.0 s"):
        judge.transcribe([torch.zeros(31 * 16_000)])


def test_text_that_repeats_itself_is_decoded_anew(tmp_path, monkeypatch):
    monkeypatch.setattr(recognition, "_MAX_TOKENS", 60)
    judge = WhisperJudge(whisper(tmp_path, SPECIAL))
    wave = [torch.randn(8_000, generator=torch.Generator().manual_seed(0))]
    greedy, text = judge.transcribe(wave, fallback=False)[0], judge.transcribe(wave)[0]
    assert len(set(text.split())) > len(set(greedy.split()))
    before = torch.random.get_rng_state()
    assert judge.transcribe(wave) == [text] != judge.transcribe(wave, seed=1)
    assert torch.equal(before, torch.random.get_rng_state())


def test_other_models_are_refused(tmp_path):
    with pytest.raises(ModelError, match=r"lacks <\|en\|>; a multilingual Whisper is needed"):
        WhisperJudge(whisper(tmp_path / "english", ["endoftext", "startoftranscript", "transcribe", "notimestamps"]))
    (tmp_path / "empty").mkdir()
    with pytest.raises(ModelError, match="cannot load the speech recogniser"):
        WhisperJudge(str(tmp_path / "empty"))


def test_one_of_several_texts_is_chosen_by_its_likelihood(tmp_path):
    judge = WhisperJudge(whisper(tmp_path, SPECIAL))
    waves = [torch.randn(count, generator=torch.Generator().manual_seed(count)) for count in (8_000, 20_000)]
    texts = ["b", "cd", "e"]
    chosen, heard = judge.choose(waves, texts)
    assert len(chosen) == 2 and set(chosen) <= set(texts)
    full = judge.transcribe(waves, fallback=False)
    assert all(long.startswith(text) for long, text in zip(full, heard, strict=True))
    assert judge.choose(waves[1:], texts) == (chosen[1:], heard[1:])


@torch.inference_mode()
def test_texts_behind_one_sound_score_as_in_full_passes(tmp_path):
    judge = WhisperJudge(whisper(tmp_path, SPECIAL))
    wave = torch.randn(8_000, generator=torch.Generator().manual_seed(0))
    features = judge.extractor(wave.numpy(), sampling_rate=16_000, return_tensors="pt").input_features
    tokens = torch.tensor([[3, 4, 5], [6, 27, 27]])
    found = judge._behind_head(judge.model.model.encoder(features)[0], tokens)
    for row, text in zip(found, tokens, strict=True):
        whole = torch.tensor([[*judge._head, *text.tolist()]])
        wanted = judge.model(input_features=features, decoder_input_ids=whole).logits[0, len(judge._head) - 1 : -1]
        assert torch.allclose(row, wanted.log_softmax(-1), atol=1e-4)

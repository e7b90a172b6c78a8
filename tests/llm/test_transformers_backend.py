import pytest
import torch

from llmcodec.errors import ModelError
from llmcodec.llm import TransformersLLM, devices
from llmcodec.llm.devices import _cpu_has_bfloat16, dtype_named

PREFIX = [20, 21, 22, 20, 21, 23, 24, 20, 21, 25, 26, 27]
CONTINUATIONS = [[22, 20, 30], [40], [20 + 7 * i % 30 for i in range(20)], [31] * 9]


def score(llm, prefix, continuations):
    prepared = llm.prepare([prefix])[0]
    return llm.log_likelihood([(prepared, ids) for ids in continuations])


def test_scores_are_those_of_the_plain_model(transformers_llm):
    for ids, found in zip(CONTINUATIONS, score(transformers_llm, PREFIX, CONTINUATIONS), strict=True):
        with torch.no_grad():
            logits = transformers_llm.model(torch.tensor([PREFIX + ids])).logits[0, len(PREFIX) - 1 : -1]
        expected = logits.log_softmax(-1).gather(1, torch.tensor(ids)[:, None])[:, 0]
        assert torch.allclose(found, expected, atol=1e-4, rtol=0)


@pytest.mark.parametrize(
    "bounds", [{"batch_tokens": 1}, {"batch_tokens": 50}, {"batch_logits": 1}, {"batch_logits": 5000}]
)
@pytest.mark.parametrize("family", ["llama", "qwen2", "gemma3", "gpt2"])
def test_bounds_on_memory_change_no_score(tiny, family, bounds):
    wide, narrow = tiny(family), tiny(family, **bounds)
    a, b = (torch.cat(score(model, PREFIX, CONTINUATIONS)) for model in (wide, narrow))
    assert torch.allclose(a, b, atol=1e-4, rtol=0)
    a, b = (model.next_token_logprobs(CONTINUATIONS) for model in (wide, narrow))
    assert torch.allclose(a, b, atol=1e-4, rtol=0)


def test_no_pass_exceeds_the_bounds(tiny, monkeypatch):
    llm = tiny("llama", batch_tokens=64, batch_logits=5000)
    logits, cached = [], []
    plain = llm.model.forward

    def forward(*args, **kwargs):
        output = plain(*args, **kwargs)
        logits.append(output.logits.numel())
        cached.append(kwargs["attention_mask"].numel())
        return output

    monkeypatch.setattr(llm.model, "forward", forward)
    prefixes = llm.prepare([PREFIX, PREFIX[:5], PREFIX[:2]] * 3)
    llm.log_likelihood([(prefix, ids) for prefix in prefixes for ids in CONTINUATIONS])
    assert max(logits) <= 5000
    assert max(cached) <= 64


def test_the_head_gets_what_it_multiplies_at_once(tiny):
    """A slice of the last steps is multiplied row by row, each time with a copy of the head's weights."""
    llm = tiny("llama")
    given = []
    llm.model.get_output_embeddings().register_forward_hook(lambda head, inputs, output: given.append(inputs[0]))
    prepared = llm.prepare([PREFIX, PREFIX[3:]])
    llm.extend([(prefix, CONTINUATIONS[0]) for prefix in prepared])
    for hidden in given:
        size, steps, width = hidden.shape
        assert hidden.stride() == (steps * width, width, 1)
    assert len(given) >= 2


def test_the_model_is_frozen(transformers_llm):
    assert not transformers_llm.model.training
    assert not any(weight.requires_grad for weight in transformers_llm.model.parameters())


def test_without_bos_the_end_of_text_token_starts(transformers_llm):
    if transformers_llm.name == "qwen2":
        assert transformers_llm.bos_id is None
        assert transformers_llm.prepare([[]])[0].ids == (2,)
    else:
        assert transformers_llm.bos_id == 1


def test_words_hold_no_special_no_byte_and_no_unprintable_token(transformers_llm):
    words, tokenizer = transformers_llm.words(), transformers_llm.tokenizer
    assert {"ĠÃ", "▁▁"} & tokenizer.get_vocab().keys()  # what must not come through is there
    reserved = {*tokenizer.all_special_ids, *tokenizer.added_tokens_decoder}
    assert not reserved & set(words.values())
    for word, i in words.items():
        token = tokenizer.convert_ids_to_tokens(i)
        assert token[0] in "Ġ▁" and not token.startswith("<0x")
        assert word and word.isprintable() and not set(word) & {" ", "\ufffd"}
    words.clear()
    assert transformers_llm.words()


def test_tokenize_gives_back_the_text_without_a_space_in_front(transformers_llm):
    for text in ("dog the cat", " dog", "dog", "the\ncat "):
        assert transformers_llm.tokenizer.decode(transformers_llm.tokenize(text)) == text


def save(llm, folder):
    llm.model.save_pretrained(folder)
    llm.tokenizer.save_pretrained(folder)
    return folder


def test_a_saved_folder_loads_and_scores_the_same(transformers_llm, tmp_path):
    loaded = TransformersLLM.from_folder(save(transformers_llm, tmp_path), dtype="float32", device="cpu")
    assert loaded.name == tmp_path.name
    assert loaded.words() == transformers_llm.words()
    a, b = (torch.cat(score(model, PREFIX, CONTINUATIONS)) for model in (loaded, transformers_llm))
    assert torch.allclose(a, b, atol=1e-5)


def test_bfloat16_is_near_float32(tiny, tmp_path):
    llm = tiny("llama")
    loaded = TransformersLLM.from_folder(save(llm, tmp_path), dtype="bfloat16", device="cpu")
    assert loaded.model.dtype == torch.bfloat16
    a, b = (torch.cat(score(model, PREFIX, CONTINUATIONS)) for model in (llm, loaded))
    assert b.dtype == torch.float32
    assert (a - b).abs().mean() < 0.2


def test_damaged_folders_are_refused_in_one_line(tiny, tmp_path):
    save(tiny("llama"), tmp_path)
    weights = tmp_path / "model.safetensors"
    content = weights.read_bytes()
    weights.write_bytes(content[: len(content) // 2])
    with pytest.raises(ModelError, match="not a causal language model") as caught:
        TransformersLLM.from_folder(tmp_path, device="cpu")
    assert "\n" not in str(caught.value)


def test_missing_weights_are_refused(tiny, tmp_path):
    from safetensors.torch import load_file, save_file

    weights = save(tiny("llama"), tmp_path) / "model.safetensors"
    state = load_file(weights)
    del state["model.layers.1.mlp.up_proj.weight"]
    save_file(state, weights, metadata={"format": "pt"})
    with pytest.raises(ModelError, match="1 weights are missing .* model.layers.1.mlp.up_proj.weight"):
        TransformersLLM.from_folder(tmp_path, device="cpu")


@pytest.mark.parametrize(
    ("flags", "kind"),
    [("avx2 avx512f", torch.float32), ("avx2 avx512_bf16", torch.bfloat16), ("amx_bf16 amx_tile", torch.bfloat16)],
)
def test_auto_is_bfloat16_where_the_cpu_computes_in_it(flags, kind, tmp_path, monkeypatch):
    info = tmp_path / "cpuinfo"
    info.write_text(f"processor : 0\nflags : fpu {flags}\n")
    monkeypatch.setattr(devices, "Path", lambda _: info)
    assert dtype_named("auto", torch.device("cpu")) == kind
    assert dtype_named("auto", torch.device("cuda")) == torch.bfloat16


def test_the_cpu_is_asked_of_torch_where_there_is_no_cpuinfo(tmp_path, monkeypatch):
    monkeypatch.setattr(devices, "Path", lambda _: tmp_path / "absent")
    monkeypatch.setattr(torch.cpu, "_is_avx512_bf16_supported", lambda: False, raising=False)
    monkeypatch.setattr(torch.cpu, "_is_amx_tile_supported", lambda: True, raising=False)
    assert _cpu_has_bfloat16()


@pytest.mark.parametrize(("option", "value"), [("dtype", "int8"), ("device", "toaster"), ("device", "cuda:99")])
def test_unknown_types_and_devices_are_named(option, value, tmp_path):
    with pytest.raises(ModelError, match=value):
        TransformersLLM.from_folder(tmp_path, **{option: value})

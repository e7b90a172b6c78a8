import json

import pytest
import torch

from llmcodec.errors import ConfigError, ModelError
from llmcodec.llm import load_transformers
from llmcodec.tuning import TuneSettings, tune
from llmcodec.tuning.lessons import IGNORED

SETTINGS = TuneSettings(rank=4, steps=40, batch=2, learning_rate=0.02, checkpoint_every=10)


@pytest.fixture(scope="module")
def lessons():
    """After 7 8 always comes 9; only that is to be learned."""
    rows, draw = [], torch.Generator().manual_seed(0)
    for number in range(40):
        ids = [*torch.randint(10, 60, (number % 5 + 1,), generator=draw).tolist(), 7, 8, 9]
        rows.append({"input_ids": torch.tensor(ids), "labels": torch.tensor([IGNORED] * (len(ids) - 1) + [9])})
    return rows


@pytest.fixture(scope="module")
def adapters(llm_folder, lessons, tmp_path_factory):
    out = tmp_path_factory.mktemp("tuned") / "adapters"
    tune(load_transformers(llm_folder), str(llm_folder), lessons, out, SETTINGS)
    return out


def test_what_was_taught_is_learned_and_the_base_stays(llm_folder, adapters):
    frozen, tuned = load_transformers(llm_folder), load_transformers(adapters)
    assert tuned.name == "adapters" and frozen.name == "tiny"
    before, after = (model.next_token_logprobs([[20, 7, 8]])[0, 9] for model in (frozen, tuned))
    assert before < -2 and after > before + 1
    assert not any(parameter.requires_grad for parameter in tuned.model.parameters())
    assert sorted(file.name for file in adapters.iterdir()) == [
        "README.md", "adapter_config.json", "adapter_model.safetensors", "log.json",
    ]  # fmt: skip


def test_a_run_that_was_cut_off_ends_the_same(llm_folder, lessons, adapters, tmp_path, monkeypatch):
    class Cut(list):
        def __getitem__(self, place):
            Cut.asked += 1
            if Cut.asked > 25:
                raise KeyboardInterrupt
            return super().__getitem__(place)

    Cut.asked = 0
    with pytest.raises(KeyboardInterrupt):
        tune(load_transformers(llm_folder), str(llm_folder), Cut(lessons), tmp_path / "a", SETTINGS)
    assert not (tmp_path / "a" / "adapter_config.json").exists()
    tune(load_transformers(llm_folder), str(llm_folder), lessons, tmp_path / "a", SETTINGS)
    ids = [[20, 7, 8], [7, 30]]
    whole, resumed = (load_transformers(folder).next_token_logprobs(ids) for folder in (adapters, tmp_path / "a"))
    torch.testing.assert_close(resumed, whole, atol=1e-4, rtol=1e-4)


def test_damaged_adapters_are_refused(adapters, tmp_path):
    (tmp_path / "adapter_config.json").write_text("[]")
    with pytest.raises(ModelError, match="does not name the model"):
        load_transformers(tmp_path)
    (tmp_path / "adapter_config.json").write_text((adapters / "adapter_config.json").read_text())
    with pytest.raises(ModelError, match=r"needs adapter_model\.safetensors"):
        load_transformers(tmp_path)
    (tmp_path / "adapter_model.safetensors").write_bytes(b"no tensors")
    with pytest.raises(ModelError, match="do not fit tiny"):
        load_transformers(tmp_path)
    config = json.loads((adapters / "adapter_config.json").read_text())
    (tmp_path / "adapter_config.json").write_text(json.dumps(config | {"base_model_name_or_path": None}))
    with pytest.raises(ModelError, match="no folder of adapters"):
        load_transformers(tmp_path)


@pytest.mark.parametrize("wrong", [{"rank": 0}, {"steps": 0}, {"learning_rate": 2.0}])
def test_settings_out_of_range_are_refused(wrong):
    with pytest.raises(ConfigError, match=next(iter(wrong))):
        TuneSettings(**wrong)

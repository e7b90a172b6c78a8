"""Whole runs of a few steps. The models are random and tiny; what is tested is the loop."""

import json
import os
import signal
import socket
import subprocess
import sys
import time

import pytest
import torch
from safetensors.torch import load_file

from llmcodec.codec import LLMCodec
from llmcodec.errors import ConfigError, ModelError
from llmcodec.evaluation.provenance import digest
from llmcodec.locks import sole_use

trainer = pytest.importorskip("llmcodec.training.trainer", reason="needs the extra train", exc_type=ImportError)


@pytest.fixture
def train(data, cache_root):
    return lambda recipe, out, **options: trainer.train(recipe, data, out, cache_root, quiet=True, **options)


@pytest.fixture
def steps(monkeypatch):
    """Losses of every step that ran; set `stop` to interrupt before a step."""
    step, seen = trainer.train_step, Steps()

    def watched(*arguments):
        if len(seen) == seen.stop:
            raise KeyboardInterrupt
        found = step(*arguments)
        seen.append({name: float(value.detach()) for name, value in found[0].items()})
        return found

    monkeypatch.setattr(trainer, "train_step", watched)
    return seen


class Steps(list):
    stop = -1


def weights(run):
    return load_file(run / "last" / "model.safetensors")


LEARNED = [
    {"name": "a", "stride": 4, "lookup_dim": 8, "from_context": True, "words": {"source": "llm", "size": 12}},
    {"name": "b", "stride": 2, "lookup_dim": 4, "words": {"source": "llm", "trainable": True}},
]
ADVERSARIAL = {"start": 1, "stft_sizes": [128], "periods": [2, 3], "width": 4}


@pytest.mark.parametrize(
    ("prelude", "fields", "optimiser"),
    [
        (0, {}, {}),
        (2, {}, {}),
        (5, {}, {}),
        (1, {"adversarial": ADVERSARIAL}, {"accumulate": 2}),
        (2, {"losses": {"listening": 0.5}, "semantic": {"sample_clips": 30, "caption_dims": 2}}, {}),
        (3, {"layers": LEARNED}, {"ema": 0.9}),
        (0, {"adversarial": ADVERSARIAL | {"kind": "least_squares"}, "losses": {"balance": 1.0}}, {"ema": 0.9}),
    ],
)
def test_an_interrupted_run_goes_on_exactly(train, recipe, steps, tmp_path, prelude, fields, optimiser):
    fields = fields | {"prelude": {"steps": prelude, "batch_size": 2}}
    settings = recipe(fields, steps=6 - prelude, **optimiser)
    train(settings, tmp_path / "whole")
    steps.stop = 6 + 4  # the checkpoint of step 3 is there, step 4 is lost
    with pytest.raises(KeyboardInterrupt):
        train(settings, tmp_path / "parts")
    assert json.loads((tmp_path / "parts" / "last" / "step.json").read_text()) == {"step": 3}
    steps.stop = -1
    train(settings, tmp_path / "parts")
    assert len(steps) == 6 + 4 + 3
    assert steps[-3:] == steps[3:6] and steps[6:10] == steps[:4]
    whole, parts = weights(tmp_path / "whole"), weights(tmp_path / "parts")
    assert whole.keys() == parts.keys() and all(torch.equal(whole[name], parts[name]) for name in whole)
    exported = [load_file(tmp_path / run / "codec" / "model.safetensors") for run in ("whole", "parts")]
    assert all(torch.equal(exported[0][name], exported[1][name]) for name in exported[0])


def test_discriminators_come_in_after_their_start(train, recipe, steps, tmp_path):
    train(recipe({"adversarial": ADVERSARIAL | {"start": 4}}), tmp_path / "run")
    names = {"discriminator", "adversarial", "feature_matching"}
    assert [names <= set(step) for step in steps] == [False] * 4 + [True] * 2
    assert all(0 < step["discriminator"] < 4 for step in steps[4:])


def test_the_running_mean_is_exported_and_moves_slower(train, recipe, tmp_path):
    train(recipe(), tmp_path / "plain")
    train(recipe(ema=0.9), tmp_path / "mean")
    plain, mean = (load_file(tmp_path / run / "codec" / "model.safetensors") for run in ("plain", "mean"))
    one, other = weights(tmp_path / "plain"), weights(tmp_path / "mean")
    assert all(torch.equal(one[name], other[name]) for name in one if not name.endswith(".table"))
    assert not torch.equal(plain["decoder.to_spectrum.weight"], mean["decoder.to_spectrum.weight"])


def test_the_loss_falls_and_the_codec_works(train, recipe, steps, sound, tmp_path):
    folder = train(recipe(steps=40, batch_size=6), tmp_path / "run")
    assert folder == tmp_path / "run" / "codec"
    for name in ("total", "stft", "mel", "distillation"):
        assert sum(step[name] for step in steps[-8:]) < 0.95 * sum(step[name] for step in steps[:8])
    codec = LLMCodec.from_pretrained(folder)
    assert [len(vocabulary) for vocabulary in codec.vocabularies][:2] == [12, 30]
    for layer in codec.quantizer.layers:
        assert torch.allclose(layer.table.norm(dim=1), torch.ones(len(layer.table)), atol=1e-2)
    (wave,) = codec.decode(codec.encode(sound(9000)))
    assert len(wave) == 9000 and wave.isfinite().all()


def test_the_prelude_teaches_the_semantic_layer_alone(train, recipe, steps, tmp_path):
    train(recipe({"prelude": {"steps": 30, "batch_size": 6}}, steps=1), tmp_path / "run")
    assert all(set(step) == {"distillation", "semantic", "total"} for step in steps[:30])
    assert {"stft", "mel", "envelope"} < set(steps[30])
    assert "distillation" not in steps[30]
    assert sum(step["distillation"] for step in steps[22:30]) < 0.9 * sum(step["distillation"] for step in steps[:8])


def test_losses_rate_and_codebook_use_are_logged(train, recipe, tmp_path):
    reader = pytest.importorskip("tensorboard.backend.event_processing.event_accumulator")
    train(recipe(), tmp_path / "run")
    log = reader.EventAccumulator(str(tmp_path / "run" / "logs"))
    log.Reload()
    values = {tag: [(event.step, event.value) for event in log.Scalars(tag)] for tag in log.Tags()["scalars"]}
    assert {"loss/total", "loss/mel", "learning_rate", "use/words_0", "use/bits_2"} <= set(values)
    assert all([step for step, _ in rows] == [3, 6] for rows in values.values())
    assert all(1 <= count <= 12 for _, count in values["use/words_0"])
    assert all(0 <= bits <= 3.6 for _, bits in values["use/bits_0"])


def test_a_run_may_start_with_the_codec_of_another(train, recipe, tmp_path):
    first = train(recipe({"losses": {"loudness": 0.0}}), tmp_path / "first")
    still = recipe({"start": str(first), "losses": {"loudness": 1.0}}, steps=1, learning_rate=1e-30)
    second = train(still, tmp_path / "second")
    one, other = LLMCodec.from_pretrained(first), LLMCodec.from_pretrained(second)
    assert one.vocabularies == other.vocabularies
    moved = (".norm.", ".table")  # statistics of the batches; tables are projected anew
    same, now = one.state_dict(), other.state_dict()
    held = [name for name in same if not any(part in name for part in moved)]
    assert len(held) > 20 and [name for name in held if not torch.equal(same[name], now[name])] == []
    for before, after in zip(one.quantizer.layers, other.quantizer.layers, strict=True):
        assert torch.allclose(before.table, after.table, atol=5e-3)


def test_a_start_that_does_not_fit_is_refused(train, recipe, tmp_path):
    with pytest.raises(ModelError, match=r"codec '.*nothing' is neither a folder nor"):
        train(recipe({"start": str(tmp_path / "nothing")}), tmp_path / "run")
    first = str(train(recipe(steps=1), tmp_path / "first"))
    with pytest.raises(ConfigError, match=r"recipe field start: the codec is of other layers or another backbone"):
        train(recipe({"start": first, "latent_dim": 24}, steps=1), tmp_path / "run")
    layers = recipe().model_dump()["layers"]
    layers[2]["words"]["size"] = 30
    layers[1]["words"]["size"] = None
    with pytest.raises(ConfigError, match=r"recipe field start: the codec is of other layers"):
        train(recipe({"start": first, "layers": layers}, steps=1), tmp_path / "run")
    assert not (tmp_path / "run").exists()


def test_another_recipe_in_the_same_folder_is_refused(train, recipe, tmp_path):
    train(recipe(steps=1), tmp_path / "run")
    with pytest.raises(ConfigError, match="run holds a run of another recipe"):
        train(recipe(steps=2), tmp_path / "run")


def test_a_run_stops_in_time_and_can_go_on(train, recipe, steps, tmp_path):
    train(recipe(), tmp_path / "run", max_minutes=1e-9)
    assert not steps and (tmp_path / "run" / "codec" / "model.safetensors").exists()
    train(recipe(), tmp_path / "run")
    assert len(steps) == 6
    train(recipe(), tmp_path / "run")
    assert len(steps) == 6


def test_a_kill_between_two_checkpoints_loses_neither(train, recipe, steps, tmp_path):
    train(recipe(), tmp_path / "run", max_minutes=1e-9)
    (tmp_path / "run" / "last").rename(tmp_path / "run" / "last.old")
    train(recipe(), tmp_path / "run")
    assert len(steps) == 6 and not (tmp_path / "run" / "last.old").exists()


def test_a_killed_process_goes_on_to_the_same_weights(train, recipe, data, cache_root, tmp_path):
    settings = recipe({"prelude": {"steps": 10}, "checkpoint_every": 1}, steps=30)
    whole = train(settings, tmp_path / "whole")
    (tmp_path / "recipe.json").write_text(settings.model_dump_json())
    command = [sys.executable, "-m", "llmcodec", "train", tmp_path / "recipe.json", "--data", data]
    command += ["--out", tmp_path / "run", "--cache", cache_root, "--threads", str(torch.get_num_threads())]
    environment = os.environ | {"PYTHONPATH": os.pathsep.join(sys.path)}
    reached = []
    for step in (3, 17):
        with subprocess.Popen(command, env=environment) as process:
            while (done := steps_done(tmp_path / "run")) < step and process.poll() is None:
                time.sleep(0.01)
            process.send_signal(signal.SIGKILL)
        reached.append(done)
    assert 3 <= reached[0] < reached[1] < 40
    subprocess.run(command, check=True, env=environment)
    one, other = (load_file(run / "model.safetensors") for run in (whole, tmp_path / "run" / "codec"))
    assert all(torch.equal(value, other[name]) for name, value in one.items())


def steps_done(run):
    for folder in ("last", "last.old"):
        try:
            return json.loads((run / folder / "step.json").read_text())["step"]
        except OSError:
            pass
    return 0


def test_a_refused_recipe_leaves_the_folder_to_the_next(train, recipe, tmp_path):
    with pytest.raises(ConfigError):
        train(recipe({"data": {"exclude": ["*"]}}), tmp_path / "run")
    train(recipe(steps=1), tmp_path / "run")


@pytest.mark.parametrize(
    ("fields", "reason"),
    [
        ({"data": {"balance": {"music": 1.0}}}, "data.balance: no clip is of kind music"),
        ({"data": {"exclude": ["*"]}}, "every clip is excluded"),
        ({"semantic": {"sample_clips": 1}, "data": {"crop_seconds": 0.24}}, r"cannot give 12 words"),
        (
            {"layers": [{"name": "a", "stride": 2, "lookup_dim": 8, "words": {"source": "llm", "size": 9999}}]},
            "words.size: 9999",
        ),
    ],
)
def test_a_recipe_that_does_not_fit_the_data_is_refused(train, recipe, tmp_path, fields, reason):
    with pytest.raises(ConfigError, match=reason):
        train(recipe(fields), tmp_path / "run")


def free_port():
    with socket.socket() as one:
        one.bind(("localhost", 0))
        return one.getsockname()[1]


def moved(start, end):
    """How the weights of a run went from its first step to its last, as one vector."""
    return torch.cat([(end[name] - start[name]).flatten() for name in start if name.startswith("codec.decoder.trunk")])


def test_two_processes_learn_as_one_with_twice_the_batch(train, recipe, data, cache_root, tmp_path):
    fields = {"losses": {"stft": 0.0, "entropy": 0.0}}  # those two are no means over clips
    settings = recipe(fields, steps=5, batch_size=4, learning_rate=1e-4)
    (tmp_path / "recipe.json").write_text(settings.model_dump_json())  # JSON is YAML
    train(settings, tmp_path / "start", max_minutes=1e-9)
    train(recipe(fields, steps=5, batch_size=8, learning_rate=1e-4), tmp_path / "one")
    launch = [sys.executable, "-m", "accelerate.commands.launch", "--multi_gpu", "--num_processes=2"]
    launch += [f"--main_process_port={free_port()}", "-m", "llmcodec"]
    command = ["train", tmp_path / "recipe.json", "--data", data, "--out", tmp_path / "two", "--cache", cache_root]
    environment = os.environ | {"OMP_NUM_THREADS": "1", "PYTHONPATH": os.pathsep.join(sys.path)}
    subprocess.run([*launch, *command, "--threads", "1"], check=True, env=environment)
    one, two = (moved(weights(tmp_path / "start"), weights(tmp_path / run)) for run in ("one", "two"))
    assert torch.nn.functional.cosine_similarity(one, two, dim=0) > 0.8
    assert LLMCodec.from_pretrained(tmp_path / "two" / "codec").config == settings.codec_config()


def listener(run):
    state = load_file(run / "codec" / "model.safetensors")
    names = ("encoder.listener.", "quantizer.layers.0.to_query.", "quantizer.layers.0.table")
    return {name: value for name, value in state.items() if name.startswith(names)}


def test_words_of_another_codec_are_taken_over_and_held(train, recipe, steps, sound, tmp_path):
    first = train(recipe(), tmp_path / "first")
    second = train(recipe({"seed": 5, "semantic": {"codec": str(first)}}), tmp_path / "second")
    assert "distillation" in steps[0] and not {"distillation", "semantic"} & set(steps[6])
    one, other = LLMCodec.from_pretrained(first), LLMCodec.from_pretrained(second)
    tables = [codec.quantizer.layers[0].table for codec in (one, other)]
    assert torch.allclose(*tables, atol=1e-3)
    assert one.vocabularies[0] == other.vocabularies[0]
    assert torch.equal(one.encode(sound(20_000)).layers[0], other.encode(sound(20_000)).layers[0])
    held = listener(tmp_path / "second")
    for name, value in listener(tmp_path / "first").items():
        assert name.endswith(".table") or torch.equal(value, held[name])
    before, after = (load_file(folder / "model.safetensors")["encoder.embed.weight"] for folder in (first, second))
    assert not torch.equal(before, after)


def test_words_of_the_prelude_are_held_in_the_main_steps(train, recipe, steps, tmp_path):
    prelude = {"prelude": {"steps": 4, "batch_size": 2}, "checkpoint_every": 4}
    train(recipe(prelude, steps=3), tmp_path / "run", max_minutes=None)
    steps.stop = len(steps) + 4
    with pytest.raises(KeyboardInterrupt):
        train(recipe(prelude, steps=3), tmp_path / "part")
    assert all(
        torch.equal(value, listener(tmp_path / "run")[name]) for name, value in listener(tmp_path / "part").items()
    )


def decoder(start, others):
    """Fields of a recipe in which it learns alone; no model that such a recipe does not need is there."""
    nothing = {"llm": "nothing", "teachers": {"audio": "nothing", "text": "nothing"}}
    return {"start": str(start), "learns": "decoder", **nothing, **others}


def test_a_decoder_learns_alone(train, recipe, steps, sound, tmp_path):
    first = train(recipe(), tmp_path / "first")
    codec = LLMCodec.from_pretrained(first)
    codec.encoder.embed.weight[0, 0] = -0.0  # of which a mean makes 0
    codec.save_checkpoint(first)
    fields = decoder(first, {"adversarial": ADVERSARIAL, "losses": {"balance": 1.0}})
    second = train(recipe(fields, steps=4, ema=0.5), tmp_path / "second")
    before, after = (load_file(folder / "model.safetensors") for folder in (first, second))
    for name, tensor in before.items():
        if not name.startswith("decoder."):
            assert torch.equal(tensor, after[name]), name
    assert not torch.equal(before["decoder.embed.weight"], after["decoder.embed.weight"])
    codecs = [LLMCodec.from_pretrained(folder) for folder in (first, second)]
    codes = [codec.encode(sound(9000)) for codec in codecs]
    assert all(torch.equal(a, b) for a, b in zip(codes[0].layers, codes[1].layers, strict=True))
    assert digest(codecs[0], without="decoder.") == digest(codecs[1], without="decoder.")
    told = {"total", "stft", "mel", "envelope", "adversarial", "feature_matching", "discriminator"}
    assert steps[-1].keys() == told


def test_a_decoder_that_is_interrupted_goes_on_exactly(train, recipe, steps, tmp_path):
    first = train(recipe(), tmp_path / "first")
    settings = recipe(decoder(first, {"adversarial": ADVERSARIAL, "losses": {"balance": 1.0}}), ema=0.9)
    train(settings, tmp_path / "whole")
    steps.stop = len(steps) + 4
    with pytest.raises(KeyboardInterrupt):
        train(settings, tmp_path / "parts")
    steps.stop = -1
    train(settings, tmp_path / "parts")
    whole, parts = weights(tmp_path / "whole"), weights(tmp_path / "parts")
    assert all(torch.equal(whole[name], parts[name]) for name in whole)


def test_a_decoder_gets_a_source_and_its_other_parts_go_on(train, recipe, steps, sound, tmp_path):
    first = train(recipe(), tmp_path / "first")
    backbone = recipe().backbone | {"harmonic_bands": 5, "fine_depth": 2}
    fields = decoder(first, {"backbone": backbone})
    second = train(recipe(fields, steps=1, learning_rate=1e-9), tmp_path / "second")
    assert {"pitch", "stft"} <= steps[-1].keys()
    before, after = (load_file(folder / "model.safetensors") for folder in (first, second))
    new = {name.split(".")[1] for name in after.keys() - before.keys()}
    assert new == {"source", "fine"}
    for name, tensor in before.items():
        assert torch.allclose(tensor.float(), after[name].float(), atol=1e-4), name
    codes = [LLMCodec.from_pretrained(folder).encode(sound(9000)) for folder in (first, second)]
    assert all(torch.equal(a, b) for a, b in zip(codes[0].layers, codes[1].layers, strict=True))


def test_a_codec_learns_with_a_harmonic_source(train, recipe, steps, tmp_path):
    made = train(recipe({"backbone": recipe().backbone | {"harmonic_bands": 5}}, steps=2), tmp_path / "run")
    assert steps[-1]["pitch"] > 0
    assert LLMCodec.from_pretrained(made).config.backbone.harmonic_bands == 5


def test_a_decoder_of_another_codec_is_refused(train, recipe, tmp_path):
    first = train(recipe(steps=1), tmp_path / "first")
    with pytest.raises(ConfigError, match="recipe field start: the codec is of other layers or another backbone"):
        train(recipe(decoder(first, {"latent_dim": 24}), steps=1), tmp_path / "run")


@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a GPU")
def test_a_recorded_step_is_the_step(train, recipe, steps, tmp_path, monkeypatch):
    first = train(recipe(), tmp_path / "first")
    settings = recipe(decoder(first, {"adversarial": ADVERSARIAL, "losses": {"balance": 1.0}}), steps=12)
    train(settings, tmp_path / "recorded")
    monkeypatch.setattr("llmcodec.training.step.Run._always_the_same", lambda run: False)
    train(settings, tmp_path / "plain")
    for one, other in zip(steps[-24:-12], steps[-12:], strict=True):
        assert one == pytest.approx(other, rel=1e-3, abs=1e-4)


def test_words_that_do_not_fit_are_refused(train, recipe, tmp_path):
    wider = recipe().backbone | {"listener_width": 24}
    other = train(recipe({"backbone": wider}), tmp_path / "other")
    with pytest.raises(ConfigError, match="semantic.codec: its first layer is not of the recipe's sizes"):
        train(recipe({"semantic": {"codec": str(other)}}), tmp_path / "run")


def test_a_checkpoint_that_is_cut_off_is_named(train, recipe, tmp_path):
    train(recipe(steps=3), tmp_path / "run")
    file = tmp_path / "run" / "last" / "model.safetensors"
    file.write_bytes(file.read_bytes()[:-100])
    with pytest.raises(ConfigError, match="run/last: no checkpoint that can be read"):
        train(recipe(steps=3), tmp_path / "run")


def test_a_run_has_one_process(train, recipe, tmp_path):
    pytest.importorskip("fcntl")
    (tmp_path / "run").mkdir()
    with sole_use(tmp_path / "run"), pytest.raises(ConfigError, match="run: another process is at work there"):
        train(recipe(), tmp_path / "run")

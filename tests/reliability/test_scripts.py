"""The scripts that measure reliability run, and find what they are to find."""

import importlib
import json
import sys
from pathlib import Path

import numpy as np
import pytest

pytest.importorskip("accelerate")
pytest.importorskip("fcntl")
FOLDER = Path(__file__).parents[2] / "benchmarks"


@pytest.fixture
def script(monkeypatch):
    """script(name) -> that module of the benchmarks."""
    before = set(sys.modules)
    monkeypatch.syspath_prepend(str(FOLDER))
    yield importlib.import_module
    for name in set(sys.modules) - before:
        if Path(getattr(sys.modules[name], "__file__", None) or "/").parent == FOLDER:
            del sys.modules[name]


def test_damage_is_the_same_for_the_same_seed(script):
    mutated = script("_mutate").mutated
    seeds = [bytes(range(200)), b"abc\ndef\n" * 20]

    def made(seed):
        return [mutated(seeds, np.random.default_rng([seed, n]), n % 2 == 0) for n in range(200)]

    assert made(0) == made(0) != made(1)
    assert len(set(made(0)) - set(seeds)) > 150


def test_fuzz_counts_what_is_read_and_goes_on(script, tmp_path):
    arguments = ["--work", str(tmp_path / "work"), "--only", "scp", "--out", str(tmp_path / "fuzz.json")]
    fuzz = script("fuzz")
    assert fuzz.main([*arguments, "--share", "0.005"]) == 0
    assert fuzz.main([*arguments, "--share", "0.008"]) == 0
    written = json.loads((tmp_path / "fuzz.json").read_text())
    (row,) = written["rows"]
    assert written["inputs"] == row["inputs"] == row["read"] + row["refused"]["ConfigError"] == 24
    assert not written["defects"] and not (tmp_path / "work" / "offenders").exists()


def test_fuzz_catches_crashes_and_other_errors(script, tmp_path, monkeypatch):
    fuzz, targets = script("fuzz"), script("_targets")

    def read(path):
        size = path.stat().st_size
        if size % 3 == 0:
            raise KeyError(size)
        if size % 3 == 1:
            import os

            os.abort()

    bad = targets.Target("a.bin", [bytes(range(50))], read, 12, False)
    monkeypatch.setattr(fuzz, "build_targets", lambda root: root.mkdir(parents=True) or {"bad": bad})
    assert fuzz.main(["--work", str(tmp_path / "work"), "--out", str(tmp_path / "fuzz.json")]) == 1
    written = json.loads((tmp_path / "fuzz.json").read_text())
    reasons = [defect["reason"] for defect in written["defects"]]
    assert written["inputs"] == 12 and any("KeyError" in reason for reason in reasons)
    assert any("ends the process (-6)" in reason for reason in reasons)
    assert len(list((tmp_path / "work" / "offenders").iterdir())) == len(reasons)


@pytest.mark.parametrize("fault", ["decode: codes that are cut off", "tokenize: a second process on the same folder"])
def test_a_fault_is_borne(script, tmp_path, fault):
    pytest.importorskip("pyarrow")
    assert script("faults").main(["--only", fault, "--out", str(tmp_path / "faults.json")]) == 0
    written = json.loads((tmp_path / "faults.json").read_text())
    assert written["faults"] == written["borne"] == 1 and written["rows"][0]["codes"] == [2]


def test_leaks(script, tmp_path):
    arguments = ["--counts", "2", "4", "--allowed", "500", "--out", str(tmp_path / "leaks.json")]
    assert script("leaks").main(arguments) == 0
    assert [row["rounds"] for row in json.loads((tmp_path / "leaks.json").read_text())["rows"]] == [2, 4]

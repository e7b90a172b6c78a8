import json
import os
import socket
import subprocess
import sys

import pytest

from llmcodec.errors import ConfigError
from llmcodec.evaluation import draw_episodes, evaluate_fewshot, read_labelled
from llmcodec.evaluation.processes import Processes
from llmcodec.llm import FakeLLM

SCRIPT = """
import json, os, sys
from llmcodec.codec import LLMCodec
from llmcodec.evaluation import evaluate_fewshot, read_labelled
from llmcodec.llm import FakeLLM

asked = []
report = evaluate_fewshot(
    read_labelled(sys.argv[1]), LLMCodec.from_pretrained(sys.argv[2]), FakeLLM(), scorers=["direct"], episodes=7,
    whisper=None, progress=lambda stage, done, total: asked.append(total) if stage == "llm, direct" else None,
)
with open(os.path.join(sys.argv[3], os.environ["RANK"]), "w") as file:
    json.dump([asked, report.to_dict()["answers"]], file)
"""


def test_one_process_does_all(tmp_path):
    steps = []
    alone = Processes()
    assert alone.first and alone.count == 1
    assert alone.map(lambda n: n * n, [3, 4], lambda *step: steps.append(step)) == [9, 16] and steps[-1] == (2, 2)


def test_two_processes_answer_as_one(sounds, codec, tmp_path):
    pytest.importorskip("accelerate")
    codec.save_checkpoint(tmp_path / "codec")
    (tmp_path / "script.py").write_text(SCRIPT)
    with socket.socket() as one:
        one.bind(("localhost", 0))
        port = one.getsockname()[1]
    launch = [sys.executable, "-m", "accelerate.commands.launch", "--multi_gpu", "--num_processes=2"]
    launch += [f"--main_process_port={port}", tmp_path / "script.py", sounds, tmp_path / "codec", tmp_path]
    environment = os.environ | {"OMP_NUM_THREADS": "1", "PYTHONPATH": os.pathsep.join(sys.path)}
    subprocess.run(list(map(str, launch)), check=True, env=environment)
    (asked, first), (others, second) = (json.loads((tmp_path / rank).read_text()) for rank in ("0", "1"))
    assert len(asked) == 4 and len(others) == 3 and first == second
    report = evaluate_fewshot(
        read_labelled(sounds), codec, FakeLLM(), scorers=["direct"], episodes=7, whisper=None,
    )  # fmt: skip
    assert json.loads(report.to_json())["answers"] == first


def test_a_journal_is_for_one_process(sounds, codec, tmp_path):
    from llmcodec.evaluation import FewShotEvaluation

    bench = FewShotEvaluation(read_labelled(sounds), codec, FakeLLM(), whisper=None)
    bench.processes.count = 2
    with pytest.raises(ConfigError, match="holds what one process asked"):
        bench.run(draw_episodes(bench.folder, 2, 1, 1, 0), resume=tmp_path / "kept.jsonl")
    assert not list(tmp_path.iterdir())

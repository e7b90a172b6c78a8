import json


def test_a_task_is_written(run, refused, demonstrations, tmp_path):
    result = run("harness", demonstrations, tmp_path / "tasks", "--episodes", 3, "--ways", 3, "--name", "mine")
    assert result.exit_code == 0 and "--tasks mine" in result.stdout
    rows = [json.loads(line) for line in (tmp_path / "tasks" / "mine.jsonl").open()]
    assert len(rows) == 3 and all(len(row["choices"]) == 3 for row in rows)
    refused(run("harness", demonstrations, tmp_path / "tasks", "--name", "mine"), "exists already")
    refused(run("harness", demonstrations, tmp_path / "tasks", "--ways", 9), "9 ways")


def test_an_unknown_layer_is_refused(run, refused, demonstrations, tmp_path):
    refused(run("harness", demonstrations, tmp_path / "tasks", "--layers", "colour"), "no layer 'colour'")
    assert not list((tmp_path / "tasks").glob("*"))

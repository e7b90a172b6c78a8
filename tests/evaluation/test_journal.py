import pytest

from llmcodec.errors import ConfigError
from llmcodec.evaluation import FewShotEvaluation, draw_episodes, read_labelled
from llmcodec.llm import FakeLLM


def bench(sounds, codec, scorers=("knn", "direct")):
    return FewShotEvaluation(read_labelled(sounds), codec, FakeLLM(), scorers=scorers, whisper=None)


def test_an_interrupted_evaluation_goes_on_with_the_same_result(sounds, codec, tmp_path):
    file = tmp_path / "said.jsonl"
    episodes = draw_episodes(read_labelled(sounds), 2, 1, 8, 0)
    whole = bench(sounds, codec).run(episodes)

    def stop(stage, done, total):
        if (stage, done) == ("llm, direct", 3):
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        bench(sounds, codec).run(episodes, progress=stop, resume=file)
    assert len(file.read_text().splitlines()) == 1 + 8 + 3
    file.write_text(file.read_text()[:-9])  # the last line was cut
    asked = []
    again = bench(sounds, codec)
    for judge in again.judges.values():
        scores = judge.scorer.scores
        judge.scorer.scores = lambda queries, scores=scores: asked.append(1) or scores(queries)
    resumed = again.run(episodes, resume=file)
    assert len(asked) == 6
    assert resumed.answers == whole.answers
    assert [row.accuracy for row in resumed.rows] == [row.accuracy for row in whole.rows]


def test_another_evaluation_is_refused(sounds, codec, tmp_path):
    file = tmp_path / "said.jsonl"
    folder = read_labelled(sounds)
    bench(sounds, codec, ["knn"]).run(draw_episodes(folder, 2, 1, 2, 0), resume=file)
    with pytest.raises(ConfigError, match=r"said.jsonl: is of another evaluation"):
        bench(sounds, codec, ["knn"]).run(draw_episodes(folder, 2, 1, 2, 1), resume=file)

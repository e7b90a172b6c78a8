from llmcodec.models import locate


def test_locate(tmp_path, monkeypatch):
    monkeypatch.delenv("LLMCODEC_MODELS", raising=False)
    assert locate("openai/whisper-base") == "openai/whisper-base"
    (tmp_path / "whisper-base").mkdir()
    (tmp_path / "whisper-base-ct2").mkdir()
    monkeypatch.setenv("LLMCODEC_MODELS", str(tmp_path))
    assert locate("openai/whisper-base") == locate("Whisper-Base") == str(tmp_path / "whisper-base")
    (tmp_path / "minilm-l6").mkdir()
    assert locate("sentence-transformers/all-MiniLM-L6-v2") == str(tmp_path / "minilm-l6")
    assert locate("other/model") == "other/model"
    assert locate(str(tmp_path)) == str(tmp_path)
    monkeypatch.setenv("LLMCODEC_MODELS", str(tmp_path / "missing"))
    assert locate("whisper-base") == "whisper-base"

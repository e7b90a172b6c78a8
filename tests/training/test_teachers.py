import pytest
import torch

from llmcodec.errors import ModelError
from llmcodec.teachers import AudioTeacher, TextTeacher


@pytest.mark.parametrize("kind", ["t5", "bert"])
def test_texts_become_unit_vectors_alone_as_in_any_batch(text_model, kind):
    teacher = TextTeacher(str(text_model(kind)))
    texts = ["north", "a much longer text about north and south", "north", ""]
    rows = teacher.embed(texts, batch_size=3)
    assert rows.shape == (4, 16) and rows.dtype == torch.float32
    assert torch.allclose(rows.norm(dim=1), torch.ones(4), atol=1e-5)
    assert torch.allclose(rows[0], rows[2], atol=1e-5) and not torch.allclose(rows[0], rows[1], atol=1e-3)
    for row, text in zip(rows, texts, strict=True):
        assert torch.allclose(row, teacher.embed([text])[0], atol=1e-5)


def test_a_wave_becomes_fifty_rows_a_second(stand_ins, sound):
    teacher = AudioTeacher(str(stand_ins["whisper"]), layer=2)
    rows = teacher.features([sound(16_000), sound(1), sound(3_000, 1)])
    assert [row.shape for row in rows] == [(50, 16), (1, 16), (10, 16)]
    assert all(row.isfinite().all() for row in rows)
    (alone,) = teacher.features([sound(3_000, 1)])
    assert torch.cosine_similarity(rows[2], alone)[:-1].min() > 0.99  # the last one meets padding, or nothing
    pair = teacher.features([sound(3_000), sound(3_000, 1)])
    assert torch.allclose(pair[1], alone, atol=1e-5)
    (shallow,) = AudioTeacher(str(stand_ins["whisper"]), layer=1).features([sound(3_000, 1)])
    assert not torch.allclose(shallow, alone, atol=1e-2)


def test_its_spectra_are_those_of_whispers_extractor(stand_ins, sound):
    teacher = AudioTeacher(str(stand_ins["whisper"]), layer=1)
    wave = sound(16_000)
    (wanted,) = teacher.extractor(
        [wave.numpy()], sampling_rate=16_000, return_tensors="pt", padding="longest", truncation=False
    ).input_features
    assert torch.allclose(teacher._log_mel(wave[None])[0], wanted, atol=1e-4)


def test_teachers_that_cannot_be_are_refused(stand_ins, tmp_path):
    with pytest.raises(ModelError, match="layer 3: .* has layers 1 to 2"):
        AudioTeacher(str(stand_ins["whisper"]), layer=3)
    with pytest.raises(ModelError, match="takes 30 s.*, not 31.0 s"):
        AudioTeacher(str(stand_ins["whisper"]), layer=1).features([torch.zeros(31 * 16_000)])
    with pytest.raises(ModelError, match="cannot load the audio teacher"):
        AudioTeacher(str(tmp_path), layer=1)
    with pytest.raises(ModelError, match="cannot load the text teacher"):
        TextTeacher(str(tmp_path))

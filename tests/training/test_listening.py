import torch

from llmcodec.teachers import AudioTeacher
from llmcodec.training.listening import ListeningLoss


def test_what_sounds_the_same_costs_nothing_and_the_rest_can_be_learned(stand_ins, sound):
    loss = ListeningLoss(AudioTeacher(str(stand_ins["whisper"]), layer=2))
    wanted = torch.stack([sound(6_400), sound(6_400, 1)])
    assert loss(wanted, wanted) == 0
    made = (0.1 * torch.randn(2, 6_400, generator=torch.Generator().manual_seed(0))).requires_grad_()
    found = loss(wanted, made)
    found.backward()
    assert found > 0.1 and made.grad.isfinite().all() and made.grad.abs().max() > 0
    assert all(parameter.grad is None for parameter in loss.teacher.encoder.parameters())

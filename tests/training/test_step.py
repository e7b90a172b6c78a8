import pytest

stepping = pytest.importorskip("llmcodec.training.step", reason="needs the extra train", exc_type=ImportError)


def test_the_learning_rate_warms_up_and_falls(recipe):
    settings = recipe({"prelude": {"steps": 50}}, steps=100, warmup_steps=10)
    factors = [stepping.learning_rate_factor(step, settings) for step in range(151)]
    for part in (factors[:50], factors[50:]):
        assert part[0] == pytest.approx(0.1) and max(part) == part[9] == part[10] == 1
        assert part[10:] == sorted(part[10:], reverse=True) and part[-1] < 0.03
    assert factors[150] == pytest.approx(0.02)

import pytest

from llmcodec.errors import ConfigError
from llmcodec.webapp import Limits


def test_an_empty_queue_is_allowed():
    assert Limits(queue=0).queue == 0


@pytest.mark.parametrize("field", ["upload_bytes", "seconds", "clips", "generated_seconds", "workers", "timeout"])
@pytest.mark.parametrize("value", [0, -1, float("nan"), float("inf")])
def test_every_limit_is_above_0_and_finite(field, value):
    with pytest.raises(ConfigError, match=f"{field}: {value} must be above 0 and finite"):
        Limits(**{field: value})

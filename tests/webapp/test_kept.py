import pytest

from llmcodec.webapp.kept import Kept


def use(kept, key):
    """Whether the thing had to be made."""
    made = []
    with kept.lent(key, lambda: made.append(key) or object()):
        return bool(made)


def test_the_last_used_are_kept():
    kept = Kept(2)
    assert [use(kept, key) for key in "abaca"] == [True, True, False, True, False]
    assert use(kept, "b")


def test_what_is_lent_out_is_made_again_for_another():
    kept = Kept(2)
    with kept.lent("a", object) as first:
        assert use(kept, "a")
    with kept.lent("a", object) as last:
        assert last is first


def test_what_failed_is_not_kept():
    kept = Kept(2)
    with pytest.raises(ValueError, match="no"), kept.lent("a", object):
        raise ValueError("no")
    assert use(kept, "a")

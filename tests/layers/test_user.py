from __future__ import annotations

from types import SimpleNamespace
from uuid import UUID

import pytest

from raceway import User
from raceway.layers.spec import require_group_name
from raceway.layers.user import session_group_name, user_group_name


@pytest.mark.parametrize("pk", [7, "7", "a.b-c_D", UUID(int=5), "x" * 80])
def test_a_plain_key_stands_in_the_name(pk: object) -> None:
    assert user_group_name(pk) == f"raceway.user.{pk}"
    require_group_name(user_group_name(pk))


@pytest.mark.parametrize("pk", ["leela@planet.express", "Füß", "", "x" * 81, "a\n", "\ud800", (1, 2)])
def test_any_other_is_hashed(pk: object) -> None:
    name = user_group_name(pk)
    require_group_name(name)
    assert len(name) == len("raceway.user.") + 32


def test_nobody_can_take_a_key_whose_name_is_that_of_another() -> None:
    taken = user_group_name("leela@planet.express")
    assert user_group_name(taken.removeprefix("raceway.user.")) != taken


def test_a_user_or_its_key() -> None:
    assert User(SimpleNamespace(pk=7)).name == User(7).name == User("7").name
    assert User(7, "other").alias == "other"
    assert repr(User(7)) == "User('7')"


def test_nobody_is_no_user() -> None:
    with pytest.raises(ValueError, match="no primary key: it is AnonymousUser"):
        User(SimpleNamespace(pk=None))


def test_the_name_of_a_sessions_group_does_not_tell_its_key() -> None:
    assert session_group_name("abc") != session_group_name("abd")
    assert "abc123" not in session_group_name("abc123")
    require_group_name(session_group_name("x" * 5000))

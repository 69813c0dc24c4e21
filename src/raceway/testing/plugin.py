"""The pytest plugin: on as soon as Raceway is installed, and without effect where Django is not configured.

Every test has fresh channel layers if ``raceway`` is in ``INSTALLED_APPS``. With pytest-django, ``async def`` tests
that use the database run their sync code inside the test's transaction.
"""

from __future__ import annotations

import sys
from collections.abc import Callable, Generator, Iterator
from contextlib import ExitStack
from inspect import isasyncgenfunction, iscoroutinefunction, unwrap
from typing import TYPE_CHECKING, Any

import pytest

if TYPE_CHECKING:
    from raceway.testing import Clock, LiveServerThread, Published
    from raceway.testing.client import OpeningSocket
    from raceway.testing.database import SharedTransaction


def is_django_ready() -> bool:
    """Whether somebody has set Django up; this imports nothing of it."""
    if "django.apps" not in sys.modules or "django.conf" not in sys.modules:
        return False
    from django.apps import apps
    from django.conf import settings

    return settings.configured and apps.ready


@pytest.fixture(autouse=True)
def _raceway_fresh_layers() -> Iterator[None]:
    with ExitStack() as stack:
        if is_django_ready():
            from django.apps import apps

            if apps.is_installed("raceway"):
                from raceway.testing.database import see_commits
                from raceway.testing.layers import fresh_channel_layers

                stack.enter_context(fresh_channel_layers())
                stack.enter_context(see_commits())
        yield


@pytest.fixture
def raceway_connect() -> Callable[..., OpeningSocket]:
    """``raceway.testing.connect``: ``async with raceway_connect("/chat/moon/", user=fry) as socket: ...``"""
    from raceway.testing import connect

    return connect


@pytest.fixture
def raceway_published() -> Iterator[Published]:
    """What the test sends to groups and channels; see ``raceway.testing.published``."""
    from raceway.testing import published

    with published() as sent:
        yield sent


@pytest.fixture
def raceway_clock() -> Iterator[Clock]:
    """A clock that the test can move; see ``raceway.testing.Clock``."""
    from raceway.testing import Clock

    with Clock() as clock:
        yield clock


@pytest.fixture
def raceway_live_server(request: pytest.FixtureRequest) -> Iterator[LiveServerThread]:
    """The project on Raceway's own server: ``raceway_live_server.url`` and ``.ws_url``.

    With pytest-django it brings ``transactional_db``.
    """
    from raceway.testing.live import live_server

    if request.config.pluginmanager.has_plugin("django"):
        request.getfixturevalue("transactional_db")
    with live_server() as server:
        yield server


_shared: pytest.StashKey[SharedTransaction] = pytest.StashKey()


def _share_transaction(item: pytest.Item) -> None:
    shared = item.stash.get(_shared, None)
    if shared is None:
        if "django.db" not in sys.modules or not is_django_ready() or not _is_async(item):
            return
        from raceway.testing.database import SharedTransaction

        shared = item.stash[_shared] = SharedTransaction()
    shared.share()


def _is_async(item: pytest.Item) -> bool:
    """Whether a test, or one of its fixtures, runs in an event loop."""
    fixtures = getattr(item, "_fixtureinfo", None)
    functions = [getattr(item, "obj", None)]
    if fixtures is not None:
        functions.extend(one[-1].func for one in fixtures.name2fixturedefs.values())
    return any(
        iscoroutinefunction(one) or isasyncgenfunction(one) for one in map(unwrap, filter(None, functions))
    )


@pytest.hookimpl(wrapper=True)
def pytest_fixture_setup(request: pytest.FixtureRequest) -> Generator[None, Any, Any]:
    """An async fixture may use the database as soon as its transaction is open."""
    if request.scope == "function":
        _share_transaction(request.node)
    return (yield)


@pytest.hookimpl(wrapper=True)
def pytest_runtest_call(item: pytest.Item) -> Generator[None, Any, Any]:
    _share_transaction(item)
    return (yield)


@pytest.hookimpl(wrapper=True)
def pytest_runtest_teardown(item: pytest.Item) -> Generator[None, Any, Any]:
    try:
        return (yield)
    finally:
        shared = item.stash.get(_shared, None)
        if shared is not None:
            shared.end()

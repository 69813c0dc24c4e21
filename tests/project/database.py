"""The tests' database, made once for a run."""

from __future__ import annotations

import asyncio
from functools import cache
from typing import Any

from django.contrib.auth.models import AnonymousUser, User
from django.contrib.sessions.models import Session
from django.core.management import call_command
from django.db import connections

import tests.project  # noqa: F401  Django's settings

__all__ = ["AnonymousUser", "Session", "User", "in_thread", "make_user", "migrate"]


@cache
def migrate() -> None:
    call_command("migrate", verbosity=0)
    connections.close_all()


def make_user(name: str) -> User:
    """A fresh user of that name."""
    migrate()
    User.objects.filter(username=name).delete()
    user = User.objects.create_user(name, password="planetexpress")
    connections.close_all()
    return user


async def in_thread(function: Any, *args: Any) -> Any:
    """Call as a view does, in a thread that then closes its database connections."""

    def call() -> Any:
        try:
            return function(*args)
        finally:
            connections.close_all()

    return await asyncio.to_thread(call)

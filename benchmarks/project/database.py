"""``python -m benchmarks.project.database``: make the project's database anew; prints the key of a user's session."""

from __future__ import annotations

import subprocess
import sys

from benchmarks.servers import BUILD, HERE


def make_session() -> str:
    """Make the database in a process of its own; the key of the session of its one user."""
    command = [sys.executable, "-m", "benchmarks.project.database"]
    done = subprocess.run(command, cwd=HERE.parent, stdout=subprocess.PIPE, text=True, check=True)
    return done.stdout.strip()


def main() -> None:
    import django

    BUILD.mkdir(exist_ok=True)
    (BUILD / "project.sqlite3").unlink(missing_ok=True)
    django.setup()
    from django.contrib.auth import login
    from django.contrib.auth.models import User
    from django.contrib.sessions.backends.db import SessionStore
    from django.core.management import call_command
    from django.http import HttpRequest

    call_command("migrate", verbosity=0)
    request = HttpRequest()
    request.session = SessionStore()
    login(request, User.objects.create_user("leela", password="planetexpress"))
    request.session.save()
    print(request.session.session_key)


if __name__ == "__main__":
    main()

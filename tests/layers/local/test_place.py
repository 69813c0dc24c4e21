"""Where the broker is, and who may own it."""

from __future__ import annotations

import os
import socket
import stat
import subprocess
import sys
import tempfile
from pathlib import Path

import pytest
from django.test import override_settings

from raceway.errors import ConfigurationError
from raceway.layers.local.place import (
    SOCKET_PATH_BYTES,
    is_same_user,
    listen,
    prepare_directory,
    socket_path,
    take_lock,
)

pytestmark = pytest.mark.shell  # files and sockets


@pytest.fixture
def temporary(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A temporary directory of the system's that only this test has."""
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    return tmp_path


def test_the_default_is_the_same_in_all_processes_of_a_project(temporary: Path) -> None:
    found = socket_path()
    assert found.parent == temporary / f"raceway-{os.getuid()}"
    code = "from raceway.layers.local.place import socket_path; print(socket_path())"
    environment = {
        **os.environ,
        "TMPDIR": str(temporary),
        "DJANGO_SETTINGS_MODULE": os.environ.get("DJANGO_SETTINGS_MODULE", ""),
        "PYTHONPATH": os.pathsep.join(sys.path),
    }
    printed = subprocess.run(
        [sys.executable, "-c", code], env=environment, capture_output=True, text=True, timeout=60
    )
    assert printed.stdout.strip() == str(found), printed.stderr


def test_the_default_is_named_for_the_file_of_the_settings(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Wherever the project runs, and however its modules are called."""
    (tmp_path / "place_settings.py").touch()
    (tmp_path / "linked").symlink_to(tmp_path)
    monkeypatch.setenv("DJANGO_SETTINGS_MODULE", "place_settings")
    names = set()
    with override_settings():  # which hides the settings module
        for directory in (tmp_path, tmp_path / "linked"):
            with monkeypatch.context() as patch:
                patch.syspath_prepend(directory)
                patch.chdir("/")
                names.add(socket_path())
        assert len(names) == 1

        monkeypatch.setenv("DJANGO_SETTINGS_MODULE", "place_settings_of_nobody")
        here = socket_path()
        monkeypatch.chdir(tmp_path)
        assert {here, socket_path()}.isdisjoint(names)
        assert here != socket_path()


def test_a_path_is_used_as_it_is_if_a_socket_can_have_it() -> None:
    assert socket_path("/run/project/raceway.sock") == Path("/run/project/raceway.sock")
    longest = "/" + "x" * (SOCKET_PATH_BYTES - 1)
    assert str(socket_path(longest)) == longest
    with pytest.raises(ConfigurationError, match=rf"has {SOCKET_PATH_BYTES + 1} bytes.*choose a shorter one"):
        socket_path(longest + "x")
    with pytest.raises(ConfigurationError, match=r"has 205 bytes"):
        socket_path("/" + "ä" * 102)  # it is bytes that count
    with pytest.raises(ConfigurationError, match=r"relative.*write an absolute path such as '/"):
        socket_path("raceway.sock")


def test_the_longest_path_can_be_listened_on(path: Path) -> None:
    longest = path.parent / ("x" * (SOCKET_PATH_BYTES - len(str(path.parent)) - 1))
    listen(socket_path(longest), 1).close()


def test_a_temporary_directory_with_a_long_name_is_told(
    temporary: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(tempfile, "tempdir", str(temporary / ("x" * 100)))
    with pytest.raises(ConfigurationError, match=r"set CONFIG\['path'\] of the local layer to a shorter one"):
        socket_path()


def test_the_default_directory_is_for_one_user(temporary: Path) -> None:
    for _ in range(2):  # the second finds it
        prepare_directory(socket_path())
        assert stat.S_IMODE(socket_path().parent.stat().st_mode) == 0o700


@pytest.mark.parametrize(
    ("fault", "said"),
    [
        ("link", "is no directory"),
        ("file", "cannot be made"),
        ("open", "is open to other users"),
        ("owner", "belongs to the user 12345"),
    ],
)
def test_a_directory_that_somebody_else_prepared_is_refused(temporary: Path, fault: str, said: str) -> None:
    directory = socket_path().parent
    if fault == "link":
        (temporary / "elsewhere").mkdir(mode=0o700)
        directory.symlink_to(temporary / "elsewhere")
    elif fault == "file":
        directory.touch()
    else:
        directory.mkdir(mode=0o700)
        if fault == "open":
            directory.chmod(0o755)
        elif os.getuid() == 0:
            os.chown(directory, 12345, 12345)
        else:
            pytest.skip("only root can give a directory away")
    with pytest.raises(ConfigurationError, match=rf"{said}.*CONFIG\['path'\]"):
        prepare_directory(socket_path())


def test_a_directory_of_the_users_choice_may_be_open(path: Path) -> None:
    path.parent.chmod(0o755)
    prepare_directory(path)
    prepare_directory(path.parent / "new" / "broker.sock")
    assert stat.S_IMODE((path.parent / "new").stat().st_mode) == 0o700
    with pytest.raises(ConfigurationError, match=r"cannot be made.*CONFIG\['path'\]"):
        prepare_directory(path.parent / "far" / "away" / "broker.sock")


def test_one_owner_at_a_time(path: Path) -> None:
    lock = take_lock(path)
    assert lock is not None
    try:
        assert take_lock(path) is None
    finally:
        os.close(lock)
    again = take_lock(path)
    assert again is not None
    os.close(again)
    assert Path(f"{path}.lock").exists()


def test_the_lock_of_a_killed_owner_is_free(path: Path) -> None:
    code = f"""if True:
        from raceway.layers.local.place import take_lock
        assert take_lock({str(path)!r}) is not None
        print("mine", flush=True)
        input()
    """
    with subprocess.Popen(
        [sys.executable, "-c", code], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    ) as owner:
        try:
            assert owner.stdout is not None
            assert owner.stdout.readline() == "mine\n"
            assert take_lock(path) is None
        finally:
            owner.kill()
    lock = take_lock(path)
    assert lock is not None
    os.close(lock)


def test_a_lock_file_that_is_a_link_is_refused(path: Path) -> None:
    Path(f"{path}.lock").symlink_to(path.parent / "precious")
    with pytest.raises(ConfigurationError, match=r"cannot be opened.*CONFIG\['path'\]"):
        take_lock(path)
    assert not (path.parent / "precious").exists()


@pytest.mark.skipif(os.getuid() != 0, reason="only root can give a file away")
def test_a_lock_file_of_another_user_is_refused(path: Path) -> None:
    lock_file = Path(f"{path}.lock")
    lock_file.touch()
    os.chown(lock_file, 12345, 12345)
    with pytest.raises(ConfigurationError, match=r"belongs to another user.*CONFIG\['path'\]"):
        take_lock(path)


def test_a_stale_socket_is_replaced(path: Path) -> None:
    listen(path, 1).close()  # as kill -9 leaves it
    listener = listen(path, 1)
    with listener, socket.socket(socket.AF_UNIX) as member:
        member.connect(str(path))
        with listener.accept()[0] as accepted:
            assert is_same_user(accepted)
            assert is_same_user(member)
    assert stat.S_IMODE(path.stat().st_mode) == 0o600


def test_a_file_is_never_replaced(path: Path) -> None:
    path.write_text("precious")
    with pytest.raises(ConfigurationError, match=r"is a file.*CONFIG\['path'\]"):
        listen(path, 1)
    assert path.read_text() == "precious"


def test_a_path_that_cannot_be_listened_on_is_told(path: Path) -> None:
    with pytest.raises(ConfigurationError, match=r"cannot listen on .*No such file.*CONFIG\['path'\]"):
        listen(path.parent / "missing" / "broker.sock", 1)


@pytest.mark.skipif(os.getuid() != 0, reason="only root can be another user")
def test_another_user_is_known_as_one(path: Path) -> None:
    listener = listen(path, 1)
    path.parent.chmod(0o755)
    path.chmod(0o666)
    code = f"import os, socket; os.setuid(12345); s = socket.socket(socket.AF_UNIX); s.connect({str(path)!r}); input()"
    listener.settimeout(30)
    with listener, subprocess.Popen([sys.executable, "-c", code], stdin=subprocess.PIPE) as stranger:
        try:
            with listener.accept()[0] as accepted:
                assert not is_same_user(accepted)
        finally:
            stranger.kill()

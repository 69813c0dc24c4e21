"""Where the broker's socket is, who may use it, and which process owns it."""

from __future__ import annotations

import fcntl
import hashlib
import os
import socket
import stat
import struct
import sys
import tempfile
from contextlib import suppress
from importlib.util import find_spec
from pathlib import Path
from typing import Final

from raceway.conf import django_setting
from raceway.errors import ConfigurationError

SOCKET_PATH_BYTES: Final = 107 if sys.platform == "linux" else 103
"""What fits into the address of a Unix socket (unix(7): 108 bytes with the zero at the end; 104 on the BSDs)."""

LOCK_SUFFIX: Final = ".lock"


def socket_path(path: str | os.PathLike[str] | None = None) -> Path:
    """Where the broker of this project is: ``path`` if it is given, else the same place for all its processes.

    Raises ``ConfigurationError`` for a path that no Unix socket can have.
    """
    found = _default_path() if path is None else Path(path)
    if not found.is_absolute():
        raise ConfigurationError(
            f"The path {str(found)!r} of the local layer is relative, so each working directory would have another "
            f"broker; write an absolute path such as {str(Path.cwd() / found)!r}."
        )
    length = len(os.fsencode(found))
    if length > SOCKET_PATH_BYTES:
        mend = (
            "set CONFIG['path'] of the local layer to a shorter one"
            if path is None
            else "choose a shorter one"
        )
        raise ConfigurationError(
            f"The path {str(found)!r} has {length} bytes, and a Unix socket has at most {SOCKET_PATH_BYTES}: {mend}."
        )
    return found


def _default_path() -> Path:
    digest = hashlib.sha256(os.fsencode(_project())).hexdigest()[:16]
    return _default_directory() / f"{digest}.sock"


def _default_directory() -> Path:
    return Path(tempfile.gettempdir(), f"raceway-{os.getuid()}").absolute()


def _project() -> Path:
    """What all processes of a project have in common: its settings module's file; without one, where they run."""
    # A test that overrides settings hides their module's name; the environment still has it.
    name = django_setting("SETTINGS_MODULE", None) or os.environ.get("DJANGO_SETTINGS_MODULE")
    with suppress(ImportError, ValueError):
        spec = find_spec(name) if name else None
        if spec is not None and spec.origin is not None:
            return Path(spec.origin).resolve()
    return Path.cwd()


def prepare_directory(path: Path) -> None:
    """Make the directory of ``path`` if it is missing, for this user only.

    The default one lies where everybody may write, so it is also checked: raises ``ConfigurationError`` if
    somebody else made it, could look into it, or has put a link there.
    """
    directory = path.parent
    try:
        directory.mkdir(mode=0o700, exist_ok=True)
    except OSError as error:
        raise ConfigurationError(
            f"The directory {str(directory)!r} for the broker's socket cannot be made ({error.strerror}); make it, "
            "or set CONFIG['path'] of the local layer."
        ) from None
    if directory != _default_directory():
        return
    found = directory.lstat()
    if not stat.S_ISDIR(found.st_mode):
        fault = "is no directory"
    elif found.st_uid != os.getuid():
        fault = f"belongs to the user {found.st_uid}"
    elif found.st_mode & 0o077:
        fault = "is open to other users"
    else:
        return
    raise ConfigurationError(
        f"{str(directory)!r} {fault}, so the broker's socket is not safe in it; remove it, or set CONFIG['path'] of "
        "the local layer."
    )


def take_lock(path: Path) -> int | None:
    """Become the owner of the broker at ``path``; ``None`` if another process is.

    Returns a file descriptor: whoever closes it, or dies, is the owner no more. The lock's file stays for ever, as
    two processes could else hold locks of two files of the same name. Raises ``ConfigurationError`` for a lock
    file that cannot be ours.
    """
    name = f"{path}{LOCK_SUFFIX}"
    try:
        lock = os.open(name, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC | os.O_NOFOLLOW, 0o600)
    except OSError as error:
        raise ConfigurationError(
            f"The lock file {name!r} of the broker cannot be opened ({error.strerror}); remove it, or set "
            "CONFIG['path'] of the local layer."
        ) from None
    try:
        if os.fstat(lock).st_uid != os.getuid():
            raise ConfigurationError(
                f"The lock file {name!r} of the broker belongs to another user; remove it, or set CONFIG['path'] of "
                "the local layer."
            )
        fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        os.close(lock)
        return None
    except BaseException:
        os.close(lock)
        raise
    return lock


def listen(path: Path, backlog: int) -> socket.socket:
    """A listening socket at ``path``, in place of one whose owner has died; only for whoever holds the lock.

    Raises ``ConfigurationError`` if something else is there, or the file system takes no sockets.
    """
    listener = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
    try:
        listener.setblocking(False)
        if path.exists() and not path.is_socket():
            raise ConfigurationError(
                f"{str(path)!r} is a file, and the broker's socket would replace it; set CONFIG['path'] of the local "
                "layer to another path."
            )
        path.unlink(missing_ok=True)
        listener.bind(str(path))
        path.chmod(0o600)  # before anybody can connect, which needs listen()
        listener.listen(backlog)
    except OSError as error:
        listener.close()
        raise ConfigurationError(
            f"The broker cannot listen on {str(path)!r} ({error.strerror}); set CONFIG['path'] of the local layer to "
            "a path that this user can write."
        ) from None
    except BaseException:
        listener.close()
        raise
    return listener


def is_same_user(connection: socket.socket) -> bool:
    """Whether the other end of a connected Unix socket is a process of this user."""
    return peer_uid(connection) == os.getuid()


def peer_uid(connection: socket.socket) -> int:
    """The user whose process is at the other end of a Unix socket, as the kernel says (unix(7), SO_PEERCRED)."""
    if sys.platform == "linux":
        level, option, layout = socket.SOL_SOCKET, socket.SO_PEERCRED, _UCRED
    else:
        level, option, layout = 0, 1, _XUCRED  # SOL_LOCAL, LOCAL_PEERCRED: unix(4) of macOS and FreeBSD
    return int(layout.unpack(connection.getsockopt(level, option, layout.size))[1])


_UCRED: Final = struct.Struct("iII")  # pid, uid, gid
_XUCRED: Final = struct.Struct("IIh2x16I")  # version, uid, number of groups, groups

"""``path`` and ``root_path`` of a scope (ASGI HTTP, "Connection Scope")."""

from __future__ import annotations

from raceway.types import Scope


def path_to_route(scope: Scope) -> str:
    """What is left of the path to route; the outermost router takes off ``root_path`` and the slash."""
    rest: str | None = scope.get("path_remaining")
    if rest is not None:
        return rest
    path: str = scope["path"]
    root = _root(scope)
    if root and _is_below(path, root):
        path = path[len(root) :]
    return path.removeprefix("/")


def whole_path(scope: Scope) -> str:
    """The path with ``root_path`` before it, which not every server puts there."""
    path: str = scope["path"]
    root = _root(scope)
    return path if _is_below(path, root) else root + path


def _root(scope: Scope) -> str:
    root: str = scope.get("root_path", "")
    return root.rstrip("/")


def _is_below(path: str, root: str) -> bool:
    return path == root or path.startswith(f"{root}/")

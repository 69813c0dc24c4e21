"""What a backend for several processes gives: something that carries frames to addresses, and keeps queues.

Addresses are strings: ``g:<group>``; ``p:<process>``, a process's own; ``a``, everybody's; ``d``, of whoever was
elected; ``r:<anything>``, for answers; ``c:<channel>``, for the news that a named channel has something
(``channel_address``). Frames are bytes that a carrier does not look into. A named channel is one whose name no process
has made (``raceway.layers.spec.process_of``).
"""

from __future__ import annotations

import asyncio
from abc import ABC, abstractmethod
from collections.abc import Callable
from typing import Any, NamedTuple, Protocol

from raceway.layers.spec import non_local_name
from raceway.layers.statistics import Statistics

EVERYBODY = "a"
DESK = "d"
"""Where presences are kept: the carrier that was elected subscribes to it."""


def group_address(group: str) -> str:
    return f"g:{group}"


def process_address(process: str) -> str:
    return f"p:{process}"


def channel_address(channel: str) -> str:
    """One address for all channels that begin with the same ``name!``, as one receiver may want them all."""
    return f"c:{non_local_name(channel)}"


class Popped(NamedTuple):
    """The first message of a named channel, or what is known of the next."""

    entry: bytes | None
    """``None``: nothing waits."""
    channel: str = ""
    """Whose it is, which matters if it was asked for by ``name!``."""
    wait_s: float | None = None
    """If nothing waits: the next delayed message is due then."""
    handle: Any = None
    """What ``release`` and ``put_back`` need."""


class Ears(Protocol):
    """The layer's side of a carrier; called in the loop's thread."""

    def heard(self, address: str, frame: bytes) -> None:
        """A frame was cast to an address that is subscribed."""

    def lost(self, reason: str) -> None:
        """The connection was lost. What is subscribed stands, and will be again."""

    def missed(self, reason: str) -> None:
        """Frames may have been missed; said once for each loss, when everything is subscribed again."""


class Carrier(ABC):
    """One loop's connection to what carries frames and keeps queues.

    All methods belong to the loop's thread, begin when called, in that order, and return at once. Futures end with
    ``LayerUnavailable`` if it cannot be done, or is not known to have been; nothing is ever done twice. A carrier whose
    tasks are cancelled, as at the end of ``asyncio.run``, closes what it holds.
    """

    @abstractmethod
    def subscribe(self, address: str) -> asyncio.Future[None] | None:
        """Hear what is cast to ``address``. The future ends when nothing that is cast from then on is missed;
        ``None`` if that is so already. The subscription stands also if the future ends with ``LayerUnavailable``.
        """

    @abstractmethod
    def unsubscribe(self, address: str) -> None: ...

    @abstractmethod
    def cast(self, address: str, frame: bytes) -> asyncio.Future[int]:
        """Carry ``frame`` to every carrier that has subscribed to ``address``, this one too; how many those are.

        For ``a`` that is exact: the answers of so many are waited for.
        """

    @abstractmethod
    def publish(self, group: str, frame: bytes) -> asyncio.Future[list[str]]:
        """``cast`` to the group's address; the channels that are its members by name."""

    @abstractmethod
    def put(self, channel: str, entry: bytes, capacity: int, expiry_s: float) -> asyncio.Future[None]:
        """Let ``entry`` wait in a named channel, at the end. Ends with ``ChannelFull`` if ``capacity`` wait already.

        If none waited, ``b""`` is cast to ``channel_address(channel)``.
        """

    @abstractmethod
    def put_later(
        self, channel: str, entry: bytes, expiry_s: float, delay_s: float, token: str
    ) -> asyncio.Future[None]:
        """The same in ``delay_s`` seconds, whatever waits then. ``b""`` is cast now, so that receivers know when."""

    @abstractmethod
    def cancel(self, channel: str, token: str) -> asyncio.Future[bool]:
        """Take back what ``put_later`` was given; ``False`` if its time has come."""

    @abstractmethod
    def pop(self, channel: str, hold: bool) -> asyncio.Future[Popped]:
        """Take the first message that has not expired, of a channel or of all that begin with ``name!``.

        ``hold``: it counts as in this process's hands until ``release`` or ``put_back``; if the process dies before
        that, it counts as lost.
        """

    @abstractmethod
    def release(self, popped: Popped) -> None:
        """What was held is done."""

    @abstractmethod
    def put_back(self, popped: Popped) -> None:
        """What was popped was not used: it is the first again."""

    @abstractmethod
    def add_named(self, group: str, channel: str, expiry_s: float) -> asyncio.Future[None]:
        """Make a channel a member by name for ``expiry_s`` seconds from now."""

    @abstractmethod
    def discard_named(self, group: str, channel: str) -> asyncio.Future[None]: ...

    @abstractmethod
    def named(self, group: str) -> asyncio.Future[list[str]]:
        """The members by name."""

    @abstractmethod
    def figures(self, channel: str | None) -> asyncio.Future[Statistics]:
        """Of one named channel, or of all (``None``)."""

    @abstractmethod
    def elect(self, role: str, lease_s: float) -> asyncio.Future[bool]:
        """Have ``role`` for ``lease_s`` seconds, or keep it for so long; ``False`` if another carrier has it."""

    @abstractmethod
    def resign(self, role: str) -> asyncio.Future[None]:
        """Let go of ``role``, if this carrier has it."""

    @abstractmethod
    def flush(self) -> asyncio.Future[None]:
        """Forget what waits, also for its time, and all members by name; subscriptions stand."""

    @abstractmethod
    async def aclose(self) -> None:
        """Let go in good order."""

    @abstractmethod
    def forsake(self) -> None:
        """Close file descriptors without a word: the loop is closed, or this is the child of a fork."""


class ThreadCarrier(ABC):
    """The same for all threads without an event loop; it makes none. Methods return, or raise, what the futures of
    ``Carrier`` end with.
    """

    @abstractmethod
    def cast(self, address: str, frame: bytes) -> int: ...

    @abstractmethod
    def publish(self, group: str, frame: bytes) -> list[str]: ...

    @abstractmethod
    def put(self, channel: str, entry: bytes, capacity: int, expiry_s: float) -> None: ...

    @abstractmethod
    def put_later(self, channel: str, entry: bytes, expiry_s: float, delay_s: float, token: str) -> None: ...

    @abstractmethod
    def cancel(self, channel: str, token: str) -> bool: ...

    @abstractmethod
    def add_named(self, group: str, channel: str, expiry_s: float) -> None: ...

    @abstractmethod
    def discard_named(self, group: str, channel: str) -> None: ...

    @abstractmethod
    def named(self, group: str) -> list[str]: ...

    @abstractmethod
    def gather(
        self, address: str, make_frame: Callable[[str], bytes], wait_s: float
    ) -> tuple[list[bytes], int]:
        """Cast ``make_frame(answer_address)`` and wait for one frame of each carrier that heard it.

        Returns the frames, and how many carriers did not answer within ``wait_s`` seconds.
        """

    @abstractmethod
    def close(self) -> None: ...

    @abstractmethod
    def forsake(self) -> None:
        """Close file descriptors without a word or a lock: this is the child of a fork."""

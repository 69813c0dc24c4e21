"""The local layer between real processes, which are killed and stopped: gaps are told once, the dead leave nothing,
nothing hangs, and no message comes twice.
"""

from __future__ import annotations

import json
import os
import queue
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.waiting import eventually

ROOT = Path(__file__).parents[2]
WAIT_S = 15.0
QUIET_S = 0.3
"""What has not come after so long will not."""


class Process:
    """A member, or only a host, and what it has said."""

    def __init__(self, *args: str, hosts: bool = False) -> None:
        environ = {**os.environ, "PYTHONWARNINGS": "error"}
        if not hosts:
            environ["RACEWAY_SUPERVISED"] = "1"
        self.popen = subprocess.Popen(
            [sys.executable, "-m", "tests.topology.local_member", *args],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
            cwd=ROOT,
            env=environ,
        )
        self._said: queue.Queue[dict[str, Any] | None] = queue.Queue()
        self.all: list[dict[str, Any]] = []
        self.unread: list[dict[str, Any]] = []
        self._reader = threading.Thread(target=self._read)
        self._reader.start()

    def _read(self) -> None:
        assert self.popen.stdout is not None
        for line in self.popen.stdout:
            self._said.put(json.loads(line))
        self._said.put(None)

    def do(self, *order: Any) -> None:
        assert self.popen.stdin is not None
        self.popen.stdin.write(json.dumps(order) + "\n")
        self.popen.stdin.flush()

    def says(self, what: str) -> Any:
        """The next thing of that kind that it says; the others are kept."""
        for said in self.unread:
            if what in said:
                self.unread.remove(said)
                return said[what]
        while what not in (said := self._next()):
            self.unread.append(said)
        return said[what]

    def asks(self, *order: Any, what: str) -> Any:
        self.do(*order)
        return self.says(what)

    def says_no_more(self) -> list[dict[str, Any]]:
        """What nobody has read, when anything that is under way has come."""
        time.sleep(QUIET_S)
        while not self._said.empty():
            self.unread.append(self._next())
        return self.unread

    def _next(self) -> dict[str, Any]:
        said = self._said.get(timeout=WAIT_S)
        assert said is not None, "it has ended"
        self.all.append(said)
        return said

    def kill(self) -> None:
        self.popen.kill()
        self.popen.wait(WAIT_S)

    def signal(self, number: int) -> None:
        self.popen.send_signal(number)

    def end(self) -> None:
        if self.popen.poll() is None:
            self.popen.send_signal(signal.SIGCONT)
            self.popen.kill()
        self.popen.wait(WAIT_S)
        assert self.popen.stdin is not None
        assert self.popen.stdout is not None
        self.popen.stdin.close()
        self._reader.join(WAIT_S)
        self.popen.stdout.close()


class House:
    """The processes of one test."""

    def __init__(self, path: str) -> None:
        self.path = path
        self.processes: list[Process] = []

    def host(self, lease_s: float = 15.0) -> Process:
        self.processes.append(Process("host", self.path, str(lease_s), hosts=True))
        self.processes[-1].says("hosts")
        return self.processes[-1]

    def member(self, *, hosts: bool = False, lease_s: float = 15.0) -> Process:
        self.processes.append(Process(self.path, str(lease_s), hosts=hosts))
        return self.processes[-1]

    def members(self, count: int, **options: Any) -> list[Process]:
        """Members in the order in which they have begun: if they may, the first hosts the broker."""
        members = []
        for _ in range(count):
            members.append(self.member(**options))
            members[-1].says("channel")
        return members


@pytest.fixture
def house(broker_path: Path) -> Iterator[House]:
    house = House(str(broker_path))
    yield house
    for process in house.processes:
        process.end()


def test_when_the_broker_is_killed_each_member_is_told_of_one_gap_and_goes_on(house: House) -> None:
    first = house.host()
    house.host()  # it waits to take over
    here, there, worker = house.members(3)
    worker.do("take", "work")
    here.asks("publish", 1, what="published")
    assert [one.says("heard") for one in (here, there, worker)] == [1, 1, 1]
    first.kill()
    for one in (here, there, worker):
        assert one.says("gap").startswith(("The broker at", "The connection to the broker at"))
    here.asks("publish", 2, what="published")
    assert [one.says("heard") for one in (here, there, worker)] == [2, 2, 2]
    assert here.asks("send", "work", 3, what="sent") == 3
    assert worker.says("taken") == 3
    assert here.asks("send_from_thread", "later", 4, what="sent") == 4
    assert there.asks("count", what="count") == 3
    for one in (here, there, worker):
        assert one.says_no_more() == []


def test_no_message_comes_twice_or_out_of_order_while_brokers_come_and_go(house: House) -> None:
    hosts = [house.host(), house.host()]
    here, there, listener = house.members(3)
    here.do("publish_on", "here", 0.001)
    there.do("publish_on", "there", 0.001)
    for _ in range(4):
        for _ in range(50):
            listener.says("heard")
        hosts.pop(0).kill()
        listener.says("gap")
        hosts.append(house.host())
    for _ in range(50):
        listener.says("heard")
    for name in ("here", "there"):
        numbers = [said["heard"][1] for said in listener.all if said.get("heard", [""])[0] == name]
        assert numbers == sorted(set(numbers))
        assert len(numbers) > 50
    assert sum("gap" in said for said in listener.all) == 4


def test_a_member_that_hosts_is_killed_and_another_takes_over(house: House) -> None:
    host, heir = house.members(2, hosts=True)
    host.asks("publish", 1, what="published")
    assert heir.says("heard") == 1
    assert heir.asks("count", what="count") == 2
    host.kill()
    heir.says("gap")
    assert heir.asks("count", what="count") == 1
    [third] = house.members(1, hosts=True)
    third.asks("publish", 2, what="published")
    assert heir.says("heard") == 2


def test_of_a_killed_member_nothing_is_left(house: House) -> None:
    house.host()
    stays, goes = house.members(2)
    channel = goes.all[-1]["channel"]
    goes.do("take", "work")
    assert stays.asks("count", what="count") == 2
    goes.kill()
    eventually(lambda: stays.asks("count", what="count") == 1)
    stays.asks("send", "work", 1, what="sent")  # which the dead does not take
    assert stays.asks("take", "work", what="taken") == 1
    stays.asks("send", channel, 2, what="sent")
    stays.asks("publish", 3, what="published")
    assert [said for said in stays.says_no_more() if "gap" in said] == []


def test_of_a_killed_member_nothing_is_left_even_if_it_has_forked(house: House) -> None:
    house.host()
    stays, goes = house.members(2)
    goes.asks("fork", what="forked")
    assert stays.asks("count", what="count") == 2
    goes.kill()
    eventually(lambda: stays.asks("count", what="count") == 1)


def test_who_hosts_and_has_forked_leaves_the_broker_to_others_when_it_is_killed(house: House) -> None:
    host, heir = house.members(2, hosts=True)
    host.asks("fork", what="forked")
    host.kill()
    heir.says("gap")
    assert heir.asks("count", what="count") == 1


@pytest.mark.parametrize("how", ["stopped", "busy"])
def test_who_is_stuck_longer_than_its_lease_is_gone_and_told_of_a_gap_when_it_is_back(
    house: House, how: str
) -> None:
    house.host(lease_s=0.6)
    stays, sleeps = house.members(2)
    assert stays.asks("count", what="count") == 2
    if how == "stopped":
        sleeps.signal(signal.SIGSTOP)
    else:
        sleeps.asks("stay_silent", what="silent")
    eventually(lambda: stays.asks("count", what="count") == 1)
    if how == "busy":
        return
    stays.asks("publish", 1, what="published")
    sleeps.signal(signal.SIGCONT)
    sleeps.says("gap")
    stays.asks("publish", 2, what="published")
    assert sleeps.says("heard") == 2
    assert stays.asks("count", what="count") == 2
    assert [said for said in sleeps.says_no_more() if "gap" in said] == []


def test_members_that_say_nothing_are_not_dropped(house: House) -> None:
    house.host(lease_s=0.6)
    one, other = house.members(2)
    time.sleep(1.5)
    assert one.asks("count", what="count") == 2
    assert [said for said in other.says_no_more() if "gap" in said] == []


def test_a_broker_that_is_stopped_keeps_nobody_waiting_for_ever_and_goes_on(house: House) -> None:
    host = house.host()
    here, there = house.members(2)
    host.signal(signal.SIGSTOP)
    here.do("count")
    here.do("send_from_thread", "work", 1)
    here.do("publish", 2)
    assert here.says("heard") == 2
    assert here.says("failed") == "LayerUnavailable"
    assert here.says("count") == 1  # of what can be known
    host.signal(signal.SIGCONT)
    eventually(lambda: there.asks("count", what="count") == 2)
    here.asks("publish", 3, what="published")
    eventually(lambda: there.says("heard") == 3)
    assert there.says_no_more() == [] or all("gap" in said for said in there.unread)
    numbers = [said["heard"] for said in there.all if "heard" in said]
    assert len(numbers) == len(set(numbers))

"""What joining, leaving, sending and receiving cost in a layer that is full of others."""

from __future__ import annotations

import asyncio
from collections.abc import Callable

import pytest

from raceway import Group
from raceway.layers.memory import MemoryLayer
from tests.layers.work import Compared, run, steps


def cost(action: Callable[[], object]) -> tuple[int, int]:
    Compared.count = 0
    return steps(action), Compared.count


def group_of(layer: MemoryLayer, kind: str, size: int) -> Compared:
    """Give the group ``g`` so many members and return the name of one that may join."""
    last = Compared()
    for number in range(size + 1):
        last = Compared(f"p!{number}" if kind == "connections" else f"p{number}")
        if kind == "connections":
            layer.open(last, lambda encoded: True)
        if number < size:
            layer.join("g", last)
    return last


@pytest.mark.parametrize("kind", ["connections", "named channels"])
async def test_the_ten_thousandth_joins_and_leaves_as_cheaply_as_the_tenth(
    kind: str, layer: MemoryLayer
) -> None:
    def join_and_leave(size: int) -> tuple[int, int]:
        run(layer.flush())
        name = group_of(layer, kind, size)
        joined = cost(lambda: Group("g").add(name))
        assert run(Group("g").acount()) == size + 1
        left = cost(lambda: Group("g").discard(name))
        assert run(Group("g").acount()) == size
        run(layer.aclose())
        return joined[0] + left[0], joined[1] + left[1]

    tenth, ten_thousandth = join_and_leave(9), join_and_leave(9_999)
    assert tenth[0] > 100, "nothing was counted"
    assert ten_thousandth[0] <= tenth[0]
    assert ten_thousandth[1] <= tenth[1] + 5  # names whose hashes meet by chance


@pytest.mark.parametrize("kind", ["connections", "named channels"])
async def test_leaving_all_groups_costs_nothing_per_other_member(kind: str) -> None:
    def close(size: int) -> int:
        layer = MemoryLayer()
        name = group_of(layer, "connections", size)
        layer.join("g", name)
        return steps(lambda: layer.close(name))

    assert close(5_000) <= close(10)


async def test_a_group_message_costs_the_same_per_named_member_in_any_group() -> None:
    def publish(size: int) -> int:
        layer = MemoryLayer()
        group_of(layer, "named channels", size)
        message = layer.prepare({"type": "n"})
        return steps(lambda: layer.publish_from_thread("g", message))

    ten, hundred, thousand = publish(10), publish(100), publish(1000)
    assert abs((thousand - hundred) / 900 - (hundred - ten) / 90) < 1


@pytest.mark.parametrize("prefix", ["work", "p!"])
async def test_sending_and_receiving_cost_the_same_beside_any_number_of_channels(prefix: str) -> None:
    def send_and_receive(channels: int) -> tuple[int, int]:
        layer = MemoryLayer()
        for number in range(channels):
            run(layer.send(f"{prefix}{number}", {"type": "n"}))
        message = layer.prepare({"type": "n"})
        channel = f"{prefix}0"
        listened = prefix if prefix.endswith("!") else channel
        return (
            steps(lambda: layer.send_from_thread(channel, message)),
            steps(lambda: run(layer.receive(listened))),
        )

    few, many = send_and_receive(10), send_and_receive(2_000)
    assert many[0] <= few[0]
    assert many[1] <= few[1]


async def test_joining_costs_the_same_beside_any_number_of_groups() -> None:
    def join(groups: int) -> int:
        layer = MemoryLayer()
        for number in range(groups):
            layer.join(f"g{number}", "member")
        return steps(lambda: layer.join("g", "member"))

    assert join(2_000) <= join(10)


async def test_members_and_counts_do_not_look_at_other_groups(layer: MemoryLayer) -> None:
    for number in range(3):
        layer.join("small", f"m{number}")

    def cost_of_both() -> tuple[int, int]:
        return steps(lambda: layer.count_from_thread("small")), steps(
            lambda: layer.channels_from_thread("small")
        )

    few = cost_of_both()
    for number in range(1000):
        layer.join(f"g{number}", f"m{number}")
    assert cost_of_both() == few


async def test_nothing_is_scheduled_by_a_send(layer: MemoryLayer, monkeypatch: pytest.MonkeyPatch) -> None:
    layer.open("p!1", lambda encoded: True)
    layer.join("g", "p!1")
    loop = asyncio.get_running_loop()
    calls: list[object] = []
    with monkeypatch.context() as patch:  # for as long as nothing waits
        patch.setattr(loop, "call_soon", lambda *args, **kwargs: calls.append(args))
        run(layer.group_send("g", {"type": "n"}))
        run(layer.send("p!1", {"type": "n"}))
        run(layer.send("named", {"type": "n"}))
    assert calls == []

"""The conformance suite over ``channels_redis`` behind our front, for the interpreter that has it.

``python -m tests.interop.suite_of_theirs Core redis://...`` prints as JSON which tests failed, and which were skipped.
"""

from __future__ import annotations

import json
import os
import secrets
import sys
import unittest
from typing import Any

os.environ.setdefault("DJANGO_SETTINGS_MODULE", "tests.interop.project.settings")

import django
from channels_redis.core import RedisChannelLayer
from channels_redis.pubsub import RedisPubSubChannelLayer

from raceway.layers.configured import as_front
from raceway.testing.conformance import LayerConformance


class OverTheirs(LayerConformance):
    receives_by_prefix = False
    backend: Any
    hosts: list[str] = []

    def setUp(self) -> None:
        self.prefix = f"t{secrets.token_hex(4)}"

    def make_layer(self, **options: Any) -> Any:
        return as_front(self.backend(hosts=self.hosts, prefix=self.prefix, **options))

    def make_neighbour(self, **options: Any) -> Any:
        return self.make_layer(**options)

    def make_stranger(self, **options: Any) -> Any:
        self.prefix = f"t{secrets.token_hex(4)}"
        return self.make_layer(**options)


class Core(OverTheirs, unittest.IsolatedAsyncioTestCase):
    backend = RedisChannelLayer
    expiry_s = 2

    @unittest.skip("It reckons memberships in whole seconds.")
    async def test_a_membership_ends_some_time_after_the_last_add(self) -> None: ...

    @unittest.skip("Receivers in several processes put back what others have in hand: it may come twice.")
    async def test_receivers_on_several_machines_share_the_messages(self) -> None: ...

    @unittest.skip("The same.")
    async def test_receivers_on_several_machines_share_the_messages_from_a_thread(self) -> None: ...


KEPT_BY_PUBSUB = {
    "test_a_new_channel_keeps_the_order",
    "test_a_receiver_that_is_cancelled_stays_a_member",
    "test_impossible_names_of_channels_are_a_type_error",
    "test_impossible_names_of_groups_are_a_type_error",
    "test_it_names_its_exceptions_and_extensions",
    "test_members_by_new_channel",
    "test_no_message_to_many_new_channels_is_lost",
    "test_several_receivers_share_the_messages",
    "test_sync_code_sends_to_a_group",
    "test_sync_code_sends_to_a_receiver_in_a_loop",
    "test_who_waits_gets_what_is_sent_later",
}
"""The rest wants named channels that keep messages or are members, which it has not: a message to nobody is gone, and
so is one to a receiver that is being cancelled (V37).
"""


class Pubsub(OverTheirs, unittest.IsolatedAsyncioTestCase):
    backend = RedisPubSubChannelLayer


def suite_of(name: str) -> unittest.TestSuite:
    case = {"Core": Core, "Pubsub": Pubsub}[name]
    tests = unittest.defaultTestLoader.getTestCaseNames(case)
    kept = KEPT_BY_PUBSUB if case is Pubsub else tests
    return unittest.TestSuite(case(test) for test in tests if test.removesuffix("_from_a_thread") in kept)


def name_of(test: Any) -> str:
    case = getattr(test, "test_case", test)  # a subtest belongs to its test
    return str(case.id().rpartition(".")[2])


if __name__ == "__main__":
    django.setup()
    OverTheirs.hosts = sys.argv[2:]
    result = unittest.TestResult()
    suite_of(sys.argv[1]).run(result)
    faults = {name_of(test): text.strip().splitlines()[-1] for test, text in result.failures + result.errors}
    skips = sorted({name_of(test) for test, _ in result.skipped})
    print(json.dumps({"run": result.testsRun, "faults": faults, "skips": skips}))

"""Faults that were verified in the consumers before ours: each has a test that would fail with it."""

from __future__ import annotations

from importlib import import_module

import pytest

pytestmark = pytest.mark.pure

FAULTS = {
    "V20: all sync handlers of a process share one thread": (
        "consumers.test_served.test_five_slow_handlers_on_five_sockets_take_as_long_as_one",
        "consumers.test_threads.test_no_connection_waits_for_anothers_thread",
        "consumers.test_threads.test_async_handlers_sync_to_async_does_not_wait_for_others_either",
    ),
    "V21: a disconnect is not seen while a handler runs; a slow handler blocks group messages": (
        "consumers.test_runtime.test_a_disconnect_overtakes_a_handler",
        "consumers.test_runtime.test_sends_raise_once_the_client_has_gone",
        "consumers.test_runtime.test_client_messages_pass_by_a_busy_handler",
        "consumers.test_functions.test_it_has_a_grace_to_finish_and_is_cancelled_then",
    ),
    "V22: text that is not JSON kills the connection with 1011, and there is no hook": (
        "consumers.test_json.test_what_is_not_json_closes_without_a_traceback",
        "consumers.test_json.test_on_error_can_answer_a_bad_message",
    ),
    "V23: after an exception disconnect() does not run and groups keep the dead channel": (
        "consumers.test_runtime.test_a_failing_handler_runs_disconnect_and_leaves_groups",
        "consumers.test_runtime.test_a_failing_connect_runs_disconnect",
        "consumers.test_runtime.test_a_failing_disconnect_still_leaves_everything",
        "consumers.test_runtime.test_a_cancelled_connection_runs_disconnect",
        "consumers.test_functions.test_an_exception_is_raised_for_the_server",
        "consumers.test_http.test_an_exception_is_raised_for_the_server",
        "consumers.test_sse.test_an_exception_is_raised_for_the_server",
    ),
    "V23b: a long poll ends when handle() returns; a stream of events does not see its client leave": (
        "consumers.test_http.test_a_long_poll_is_answered_by_a_handler",
        "consumers.test_http.test_a_client_that_leaves_cancels_the_handler_at_once",
        "consumers.test_sse.test_a_client_that_leaves_is_noticed_at_once",
        "consumers.test_served.test_a_long_poll_is_answered",
        "consumers.test_served.test_a_client_that_leaves_is_noticed_at_once",
    ),
    "V24: a group message without a handler kills every member": (
        "consumers.test_runtime.test_a_message_cannot_call_anything_else_and_kills_nobody",
        "consumers.test_functions.test_events_have_no_handler_here",
        "consumers.test_raw.test_a_bad_type_is_logged_once_and_kills_nobody",
    ),
    "V25: a group message can call close(), send() and all the rest": (
        "consumers.test_runtime.test_a_message_cannot_call_anything_else_and_kills_nobody",
        "consumers.test_handlers.test_no_message_can_call_what_a_raceway_base_has",
    ),
    "V29b: a path without a route is a traceback": (
        "routing.test_urls.test_an_unrouted_path_is_refused",
        "routing.test_urls.test_the_denial_is_a_whole_response",
    ),
}


@pytest.mark.parametrize("fault", FAULTS)
def test_each_known_fault_has_its_test(fault: str) -> None:
    for name in FAULTS[fault]:
        module, _, test = name.rpartition(".")
        assert callable(getattr(import_module(f"tests.{module}"), test)), name

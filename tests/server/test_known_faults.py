"""Faults that were verified in the servers before ours: each has a test here that would fail with it."""

from __future__ import annotations

from importlib import import_module

import pytest

pytestmark = pytest.mark.pure

FAULTS = {
    "send() never waits, so what a client does not read piles up": (
        "test_http_lifetime.test_send_waits_while_the_client_does_not_read",
        "test_websocket.test_send_waits_while_the_client_does_not_read",
    ),
    "what a stuck application does not read piles up": (
        "test_http_lifetime.test_reading_pauses_while_the_application_does_not_read",
        "test_abuse.test_a_flood_at_an_application_that_does_not_read",
    ),
    "the headers of websocket.accept are dropped": (
        "test_websocket.test_headers_of_accept_reach_the_client",
    ),
    "the reason of a close is dropped, in either direction": (
        "test_websocket.test_close_code_and_reason_reach_the_client",
        "test_websocket.test_the_clients_close_reaches_the_application",
    ),
    "a crash of the application is noticed by polling": (
        "test_http_responses.test_a_crash_is_500_at_once_with_one_record",
        "test_websocket.test_a_crash_is_1011_at_once_with_one_record",
    ),
    "empty messages are dropped": ("test_websocket.test_messages",),
    "denial responses are ignored": (
        "test_websocket.test_denial_responses",
        "test_websocket.test_close_before_accept_is_403",
    ),
    "no lifespan, no state, no extensions, no spec_version": (
        "test_http_lifetime.test_lifespan_runs_from_start_to_stop",
        "test_http_requests.test_scope_is_complete",
        "test_websocket.test_scope_is_complete",
    ),
    "the application is called when the whole body is there": (
        "test_http_framing.test_the_application_is_called_before_the_body_is_complete",
    ),
    "send() after a disconnect returns as if nothing were wrong": (
        "test_http_lifetime.test_send_behind_a_disconnect_raises_an_oserror",
        "test_websocket.test_send_behind_a_disconnect_raises_an_oserror",
    ),
    "compression is never agreed to": ("test_websocket.test_deflate_negotiation",),
    "a large message and bad UTF-8 end in a dropped connection, without a close frame": (
        "test_websocket.test_too_big_is_1009",
        "test_websocket.test_bad_frames",
    ),
    "the messages of ASGI's extensions are errors": (
        "test_http_responses.test_pathsend",
        "test_http_responses.test_early_hints",
        "test_http_responses.test_trailers",
        "test_http_responses.test_debug_messages_stay_inside",
    ),
    "SIGTERM cuts requests and sockets": (
        "test_drain.test_sigterm_finishes_the_request_and_refuses_new_connections",
        "test_drain.test_sigterm_spreads_the_closing_of_websockets",
        "test_drain.test_an_application_that_ignores_the_stop_is_cut_off",
    ),
    "a time-out that is switched off fires at once, others are coarse": (
        "test_websocket.test_no_pings_when_switched_off",
        "test_deadlines.test_a_deadline_is_noticed_within_two_slots",
    ),
    "on a Unix socket the scope has no server": ("test_http_requests.test_unix_socket_scope_has_its_path",),
    "anybody's word is taken for the client's address": (
        "test_http_requests.test_proxy_headers_of_a_stranger_are_ignored",
        "test_http_requests.test_proxy_headers_of_a_trusted_peer",
        "test_proxy.test_what_is_read",
    ),
    "no Host, two Hosts, doubled handshake headers, names with an underscore": (
        "test_http_requests.test_not_exactly_one_host",
        "test_websocket.test_duplicated_handshake_headers",
        "test_http_requests.test_names_with_underscore_are_dropped",
    ),
}


@pytest.mark.parametrize("fault", FAULTS)
def test_each_known_fault_has_its_test(fault: str) -> None:
    for name in FAULTS[fault]:
        module, _, test = name.partition(".")
        assert callable(getattr(import_module(f"tests.server.{module}"), test)), name

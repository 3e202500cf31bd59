"""What is known to go wrong with ZeroMQ and with supervisors, and the test of each by its name: none may be lost."""

from __future__ import annotations

import ast
from pathlib import Path

import pytest

TESTS = Path(__file__).parents[1]
SOURCES = [path for top in ("protocol", "actors", "supervisor") for path in (TESTS.parent / top).rglob("*.py")]

PITFALLS = {
    # ZeroMQ
    "PUSH loses what a killed PULL had queued, binding or connecting, high water mark or not": (
        "unit/test_pitfalls.py::test_no_pipe_is_a_bare_push_or_pull"
    ),
    "PUB drops what a connected SUB does not read, in silence": (
        "unit/test_broadcaster.py::test_a_subscriber_that_does_not_read_loses_messages_and_holds_nobody_up"
    ),
    "whoever missed telemetry does not know it": (
        "unit/test_feed_reader.py::test_a_gap_comes_before_the_heartbeat_that_shows_it_and_says_how_many_of_what"
    ),
    "DEALER/ROUTER with positions and credit is lossless over SIGKILL of either side": (
        "unit/test_stream.py::test_a_pipe_that_loses_messages_loses_no_item_and_doubles_none"
    ),
    "ROUTER drops what goes to an unknown identity": (
        "unit/test_restarted_actors.py::test_a_reply_of_the_router_to_an_unknown_identity_is_counted"
    ),
    "ZeroMQ's heartbeats go on while the peer's main loop hangs": (
        "faults/test_hung_children.py::test_whichever_child_is_stopped_it_is_killed_and_comes_back"
    ),
    "an exception between receive and send leaves REP stuck": (
        "unit/test_restarted_actors.py::"
        "test_an_exception_between_receive_and_send_is_an_error_reply_and_the_socket_goes_on"
    ),
    "REQ is unusable after a timeout": (
        "unit/test_client.py::test_a_peer_that_does_not_answer_is_no_answer_and_the_next_request_works"
    ),
    "a REQ that reconnects delivers an old request": (
        "unit/test_client.py::test_an_unanswered_request_is_never_delivered_later"
    ),
    "a second bind on an ipc path succeeds and steals it": (
        "pipeline/test_running.py::test_a_second_engine_on_the_same_run_dir_is_refused"
    ),
    "an ipc binder out of descriptors aborts": (
        "faults/test_attack.py::test_an_attack_is_not_noticed_by_those_who_trade_and_leaves_all_as_it_was"
    ),
    "a socket's file is open to others under umask 022, and left behind": (
        "pipeline/test_running.py::test_pipes_and_control_socket_lie_in_a_private_directory"
    ),
    "a killed engine leaves its sockets": "unit/test_run_dir.py::test_sockets_of_an_engine_that_was_killed_are_gone",
    "ZAP without a handler accepts everybody": (
        "unit/test_security.py::test_zap_with_no_handler_running_accepts_nobody"
    ),
    "the control socket is ipc, where ZAP knows no address: its directory guards it": (
        "pipeline/test_curve.py::test_the_control_socket_needs_no_key"
    ),
    "MAXMSGSIZE is of a frame, and an unfinished multipart grows": (
        "faults/test_attack.py::test_a_gateway_that_gets_no_more_memory_comes_back_and_the_others_trade_on"
    ),
    "an oversized frame cuts off its sender": (
        "pipeline/test_running.py::test_a_frame_far_too_large_cuts_off_its_sender_alone"
    ),
    "malformed handshakes": "pipeline/test_running.py::test_raw_bytes_and_silence_on_the_port_harm_nobody",
    "an ipc path has at most 107 bytes": (
        "unit/test_pipeline.py::test_the_longest_path_is_taken_and_one_byte_more_is_refused"
    ),
    # Supervisors, and stuck code
    "a process that dies just after it is ready comes back for ever (supervisord #168)": (
        "unit/test_restart.py::test_no_child_gets_more_restarts_in_a_window_than_the_limit"
    ),
    "SIGKILL of the supervisor leaves orphans (supervisord #925)": (
        "faults/test_supervisor_death.py::"
        "test_when_the_supervisor_is_killed_the_children_end_in_the_stop_order_and_no_record_is_lost"
    ),
    "and orphans of orphans": "faults/test_descendants.py::test_whatever_a_strategy_has_started_ends_with_it",
    "a bad command freezes the daemon (circus #1157)": (
        "pipeline/test_running.py::test_a_malformed_command_gets_an_error_reply"
    ),
    "it restarts what an operator stopped (circus #809)": (
        "faults/test_steered_children.py::test_processes_are_restarted_parked_and_brought_back_while_the_rest_trades_on"
    ),
    "waiting for one dying child freezes everybody (openalgo #1737)": (
        "faults/test_waiting_supervisor.py::"
        "test_nobody_waits_with_the_supervisor_for_a_child_whose_restart_is_put_off"
    ),
    "one sleep in a hook delays everybody (vnpy #2174)": (
        "faults/test_hung_children.py::"
        "test_a_strategy_in_an_endless_loop_leaves_its_stacks_and_is_parked_while_the_other_trades_on"
    ),
    "a handler's exception kills the event thread (vnpy #522)": (
        "unit/test_loop.py::test_a_timer_that_raises_stays_set_and_takes_no_other_with_it"
    ),
    "heartbeats go on while the work has stopped (freqtrade #11957)": (
        "unit/test_loop.py::test_a_turn_is_progress_and_the_page_says_what_the_loop_is_in_the_middle_of"
    ),
}  # fmt: skip


@pytest.mark.parametrize("test", PITFALLS.values(), ids=PITFALLS.keys())
def test_what_is_known_to_go_wrong_has_its_test(test: str) -> None:
    path, _, name = test.partition("::")
    tree = ast.parse((TESTS / path).read_text(encoding="utf-8"))
    assert name in {node.name for node in tree.body if isinstance(node, ast.FunctionDef)}


@pytest.mark.parametrize("path", SOURCES, ids=lambda path: str(path.relative_to(TESTS.parent)))
def test_no_pipe_is_a_bare_push_or_pull(path: Path) -> None:
    names = {node.attr for node in ast.walk(ast.parse(path.read_text("utf-8"))) if isinstance(node, ast.Attribute)}
    assert not names & {"PUSH", "PULL"}

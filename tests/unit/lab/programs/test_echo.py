"""A long query of the echo is answered when its time has come."""

from __future__ import annotations

import selectors
import socket

from sharedip_lab.programs.echo import Owed, _pay, _serve


def test_a_query_is_owed_its_answer_and_a_word_is_answered_at_once() -> None:
    ours, theirs = socket.socketpair()
    with ours, theirs, selectors.DefaultSelector() as selector:
        ours.setblocking(False)
        theirs.setblocking(False)
        selector.register(ours, selectors.EVENT_READ)
        owed: Owed = []
        theirs.send(b".")
        _serve(selector, ours, b"n1", owed)
        assert theirs.recv(64) == b"n1"
        theirs.send(b"?3600")
        _serve(selector, ours, b"n1", owed)
        _pay(owed)
        assert len(owed) == 1
        owed[0] = (0.0, *owed[0][1:])
        _pay(owed)
        assert theirs.recv(64) == b"n1"
        assert owed == []


def test_a_connection_that_ended_meanwhile_takes_no_answer() -> None:
    ours, theirs = socket.socketpair()
    with ours, selectors.DefaultSelector() as selector:
        ours.setblocking(False)
        selector.register(ours, selectors.EVENT_READ)
        owed: Owed = []
        theirs.send(b"?0")
        _serve(selector, ours, b"n1", owed)
        theirs.close()
        _serve(selector, ours, b"n1", owed)
        _pay(owed)
        assert owed == []

"""The arithmetic of margins."""

from __future__ import annotations

from dataclasses import replace

import pytest

from sharedip.core.settings import (
    CLOCK_DRIFT,
    LEASE_GUARD_S,
    LIFETIME_LATE_S,
    REMOVAL_LEAD_S,
    RENEW_EVERY_S_MAX,
    REQUEST_TIMEOUT_S_MIN,
    Settings,
    attempt_timeout_s,
    gate_timeout_s,
    lease_margin_s,
    read_shared_settings,
    renew_every_s,
    shared_settings,
    takeover_s,
)


def test_the_assumptions_are_those_that_were_measured_and_written_down() -> None:
    """0.1 % of drift; removed up to 1 s late: no test that imports the constants would see them shrink."""
    assert CLOCK_DRIFT >= 0.001
    assert LIFETIME_LATE_S >= 1.0
    assert LEASE_GUARD_S >= 0.1
    assert RENEW_EVERY_S_MAX <= 2.0


TTLS = (3, 4, 5, 6, 10, 15, 30, 60, 3600)


@pytest.mark.parametrize("ttl_s", TTLS)
def test_the_margin_covers_the_drift_of_two_clocks_over_the_whole_ttl(ttl_s: int) -> None:
    """Clock rates of two nodes differ by at most 0.1 %."""
    ends_for_etcd_s = ttl_s / (1 + CLOCK_DRIFT)  # its clock is the faster one
    assert ttl_s - lease_margin_s(ttl_s) <= ends_for_etcd_s - LEASE_GUARD_S + 1e-3


@pytest.mark.parametrize("ttl_s", TTLS)
def test_renewals_come_every_sixth_of_the_ttl_and_every_two_seconds_at_most(ttl_s: int) -> None:
    """Renew every ttl/6, at most every 2 s."""
    assert renew_every_s(ttl_s) == pytest.approx(min(2.0, ttl_s / 6))
    assert renew_every_s(ttl_s) <= RENEW_EVERY_S_MAX


@pytest.mark.parametrize("ttl_s", TTLS)
@pytest.mark.parametrize("configured_s", [0.3, 1.0, 30.0])
def test_three_silent_endpoints_can_be_tried_before_the_address_must_go(ttl_s: int, configured_s: float) -> None:
    """In good time for two retries on other endpoints before lease_until."""
    timeout_s = attempt_timeout_s(ttl_s, configured_s)
    right_s = ttl_s - lease_margin_s(ttl_s) - LIFETIME_LATE_S
    assert renew_every_s(ttl_s) + 3 * timeout_s <= right_s + 1e-9
    assert REQUEST_TIMEOUT_S_MIN <= timeout_s <= configured_s


def test_a_ttl_too_short_for_anything_still_waits_for_a_local_etcd() -> None:
    """Never zero or less: a request without time can't succeed."""
    assert attempt_timeout_s(1, 1.0) == REQUEST_TIMEOUT_S_MIN


def test_an_address_that_is_still_held_has_room_for_its_gate() -> None:
    """Until the agent begins to remove it: an opening is never for no time at all."""
    assert gate_timeout_s(REMOVAL_LEAD_S) > 0


def test_a_crash_takes_the_window_with_a_witness_and_the_whole_lease_without() -> None:
    """And a scan of etcd's for what has expired, and the way to the next one."""
    assert takeover_s(1.0, 15.0) == pytest.approx(1.101)
    assert takeover_s(None, 15.0) == pytest.approx(15.6)


def test_what_should_be_the_same_everywhere_is_read_as_it_was_written() -> None:
    settings = Settings("n1", "sharedip:v1", ("http://m0:2379",), (), window_s=0.5, lease_ttl_s=30)
    shared = shared_settings(settings)
    assert read_shared_settings(shared.record()) == shared
    assert shared.shown()[:2] == (("failover.window", "500 ms"), ("lease.ttl", "30 s"))
    assert shared_settings(replace(settings, window_s=None)).shown()[0] == ("failover.window", "off")


@pytest.mark.parametrize(
    "value",
    [
        None,
        [],
        {},
        {"windowMs": "1000", "ttlS": 15, "policy": "defend"},
        {"windowMs": -1, "ttlS": 15, "policy": "defend"},
        {"windowMs": 1000, "ttlS": 10**12, "policy": "defend"},
        {"windowMs": 1000, "ttlS": 15, "policy": "<b>yield</b>"},
    ],
)
def test_nonsense_about_settings_is_nothing(value: object) -> None:
    """Numbers and our own words alone: the rest would be shown to people."""
    assert read_shared_settings(value) is None

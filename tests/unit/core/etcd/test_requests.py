"""What is under way with etcd: each request has one answer, and none of a lost lease has any."""

from __future__ import annotations

from sharedip.core.etcd.requests import Purpose, RequestKind, Requests


def purpose(kind: RequestKind, lease: int | None = 0x1) -> Purpose:
    return Purpose(kind, lease, 5, 2)


def test_a_request_is_pending_until_its_one_answer() -> None:
    requests = Requests()
    number = requests.begin(purpose(RequestKind.READ))
    assert requests.is_pending(RequestKind.READ)
    assert not requests.is_pending(RequestKind.PROOF)
    assert requests.end(number) == purpose(RequestKind.READ)
    assert not requests.is_pending(RequestKind.READ)
    assert requests.end(number) is None


def test_a_kind_is_pending_until_the_last_of_it_was_answered() -> None:
    requests = Requests()
    first, second = (requests.begin(purpose(RequestKind.RELEASE)) for _ in range(2))
    requests.end(first)
    assert requests.is_pending(RequestKind.RELEASE)
    requests.end(second)
    assert not requests.is_pending(RequestKind.RELEASE)


def test_with_the_lease_all_that_was_sent_on_it_is_forgotten_and_nothing_else() -> None:
    requests = Requests()
    read = requests.begin(purpose(RequestKind.READ))
    grant = requests.begin(purpose(RequestKind.GRANT, None))
    requests.forget_lease()
    assert not requests.is_pending(RequestKind.READ)
    assert requests.end(read) is None
    assert requests.is_pending(RequestKind.GRANT)
    assert requests.end(grant) is not None


def test_no_number_is_given_twice() -> None:
    """Not after an answer, and not for a watch."""
    requests = Requests()
    numbers = [requests.begin(purpose(RequestKind.READ)), requests.next_number()]
    requests.end(numbers[0])
    numbers.append(requests.begin(purpose(RequestKind.READ)))
    requests.forget_lease()
    numbers.append(requests.next_number())
    assert len(set(numbers)) == len(numbers)

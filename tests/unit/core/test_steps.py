"""Work in steps ends with what it has made."""

from __future__ import annotations

from sharedip.core.steps import Steps, to_the_end


def test_all_steps_are_taken_and_what_they_made_is_given() -> None:
    taken: list[int] = []

    def work() -> Steps[str]:
        for number in range(3):
            taken.append(number)
            yield
        return "made"

    assert to_the_end(work()) == "made"
    assert taken == [0, 1, 2]

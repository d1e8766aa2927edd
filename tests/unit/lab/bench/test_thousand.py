"""Which of a thousand VIPs are looked at closely."""

from __future__ import annotations

from sharedip_lab.bench.thousand import COUNT, SAMPLE, sample


def test_the_sample_has_the_first_and_the_last() -> None:
    chosen = sample(COUNT)
    assert len(set(chosen)) == SAMPLE
    assert (chosen[0], chosen[-1]) == ("10.77.4.0", "10.77.7.231")
    assert sample(1) == ("10.77.4.0",)

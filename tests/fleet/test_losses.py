"""What was lost of a limit adds up, and each request is lost to one cause."""

from __future__ import annotations

import pytest

from tests.fleet.losses import Answer, Sample, losses


def sample(at: float, *, rate: float = 10.0, issued: int, wished: int = 1) -> Sample:
    return Sample(at=at, rate=rate, paused_until=2.0, issued=issued, wished=wished, starting=0)


def test_what_was_lost_adds_up() -> None:
    samples = [
        sample(1.0, issued=0),
        sample(2.0, issued=0),  # paused
        sample(3.0, issued=8),  # two were asked for and not granted, one was granted and not used
        sample(4.0, issued=8, wished=0),
        sample(5.0, issued=8, wished=0),  # nobody asked
        sample(9.0, issued=50),  # outside
    ]
    answers = [Answer(2.1 + number / 10, throttled=number == 6) for number in range(7)]
    found = losses(20.0, answers, samples, [(1.0, 5.0)])
    assert found.answered == 6
    assert found.allowed == pytest.approx(80.0)
    assert found.allowed - found.answered == pytest.approx(sum(found.causes.values()))
    assert found.causes["paused after a 429"] == pytest.approx(20.0)
    assert found.causes["the rate was not the limit"] == pytest.approx(30.0)
    assert found.causes["granted, not used"] == 1
    assert found.causes["nobody asked"] == pytest.approx(10.0)
    assert found.causes["answered 429"] == 1
    assert found.of_asked == pytest.approx(6 / 70)

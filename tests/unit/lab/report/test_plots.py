"""What the pictures of the bench show."""

from __future__ import annotations

import re
from xml.etree import ElementTree

from sharedip_lab.report.figures import Findings
from sharedip_lab.report.plots import CHARACTER, OWNER_CORE, TAKEOVER, TWO_OWNERS, drawings


def _found(title: str, takeover_s: float, two_ms: list[float], core: float = 0.5) -> Findings:
    found = Findings(title, title)
    found.add(TAKEOVER, "s", [takeover_s])
    found.add(TWO_OWNERS, "ms", two_ms)
    found.add(OWNER_CORE, "%", [core])
    return found


def _points(picture: str) -> dict[str, tuple[float, float]]:
    root = ElementTree.fromstring(picture)
    return {
        str(circle.findtext("title")).partition(":")[0]: (float(circle.get("cx", "")), float(circle.get("cy", "")))
        for circle in root.iter("circle")
    }


def test_who_is_quicker_stands_left_and_who_has_two_owners_for_longer_stands_higher() -> None:
    """The worst run of two owners counts."""
    (_, picture), (_, cost) = drawings([_found("a", 0.1, [0.0, 5000.0], 0.1), _found("b", 60.0, [0.0], 0.7)]).values()
    points = _points(picture)
    assert points["a"][0] < points["b"][0]
    assert points["a"][1] < points["b"][1]
    assert _points(cost)["a"][1] > _points(cost)["b"][1]


def test_nine_names_near_each_other_are_all_legible() -> None:
    """Two may be written beside the same spot, none on another."""
    names = [f"sharedip, number {number}" for number in range(9)]
    _, picture = next(iter(drawings([_found(name, 0.3, [0.0]) for name in names]).values()))
    lines = re.findall(r'<text x="([\d.]+)" y="([\d.]+)" text-anchor="(start|end)">share', picture)
    wide = CHARACTER * len(names[0])
    places = [(float(x) - (wide if anchor == "end" else 0), float(y)) for x, y, anchor in lines]
    assert len(places) == 9
    assert not any(
        abs(one[0] - other[0]) < wide and abs(one[1] - other[1]) < 14
        for index, one in enumerate(places)
        for other in places[:index]
    )


def test_nothing_is_drawn_of_who_never_took_over_or_where_nothing_was_compared() -> None:
    assert drawings([Findings("lease", "lease")]) == {}
    _, picture = next(iter(drawings([_found("a", 1.0, [0.0]), _found("b", float("inf"), [0.0])]).values()))
    assert list(_points(picture)) == ["a"]


def test_a_picture_that_stands_alone_has_its_own_colours() -> None:
    _, alone = next(iter(drawings([_found("a", 1.0, [0.0])], alone=True).values()))
    assert "prefers-color-scheme" in alone
    assert alone.startswith('<svg xmlns="http://www.w3.org/2000/svg"')

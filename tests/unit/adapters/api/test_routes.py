"""The status page, as it is served."""

from __future__ import annotations

import re

from sharedip.adapters.api.routes import page_response


def test_the_page_loads_nothing_from_elsewhere_and_lets_only_itself_run() -> None:
    response = page_response()
    page = response.body.decode()
    assert not re.search(r"(src|href)=\"(https?:)?//", page)
    assert "innerHTML" not in page
    policy = dict(response.headers)[b"Content-Security-Policy"].decode()
    assert policy.count("sha256-") == 2
    assert "unsafe" not in policy

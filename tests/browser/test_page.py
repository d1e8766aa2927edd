"""What the page shows in ten states, and that it is no green light over a dead agent.

Screenshots, light and dark, on a desk and on a telephone, go to out/page (`make test-page`): they are for eyes.
"""

from __future__ import annotations

import html
import json
import re
import shutil
import subprocess
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest

from sharedip.adapters.api.routes import page_response
from tests.browser.states import STATES, VIP

CHROMIUM = shutil.which("chromium") or shutil.which("chromium-browser")
pytestmark = pytest.mark.skipif(CHROMIUM is None, reason="no chromium here: apt-get install chromium")
OUT = Path("out/page")
DESK, TELEPHONE = "1280,1500", "390,2200"
LOOKS = {
    "desk-light": (DESK, "1"),
    "desk-dark": (DESK, "0"),
    "telephone-light": (TELEPHONE, "1"),
    "telephone-dark": (TELEPHONE, "0"),
}
"""Size of the window, and blink's preferredColorScheme."""
EVERY = [*STATES, "stale"]
STALE_AFTER_MS = 9000


class _Agent(BaseHTTPRequestHandler):
    """`/STATE/` is the page, and its status document is that state's; the stale one has it once."""

    asked: set[str]

    def do_GET(self) -> None:
        state = (self.headers.get("Referer") or self.path).rstrip("/").rpartition("/")[2]
        if self.path == "/status.json":
            self._status(state)
            return
        page = page_response()
        self.send_response(200)
        self.send_header("Content-Type", "text/html; charset=utf-8")
        self.send_header("Referrer-Policy", "unsafe-url")
        for name, value in page.headers:
            self.send_header(name.decode(), value.decode())
        self.end_headers()
        self.wfile.write(page.body)

    def _status(self, state: str) -> None:
        if state.startswith("stale") and state in self.asked:
            self.send_error(503)
            return
        self.asked.add(state)
        body = json.dumps(STATES["well" if state.startswith("stale") else state]).encode()
        self.send_response(200)
        self.send_header("Content-Type", "application/json")
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, format: str, *args: object) -> None:  # noqa: A002 - as the class above has it
        """Nothing."""


@pytest.fixture(scope="module")
def address() -> Iterator[str]:
    handler = type("Agent", (_Agent,), {"asked": set()})
    server = ThreadingHTTPServer(("127.0.0.1", 0), handler)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    yield f"http://127.0.0.1:{server.server_address[1]}"
    server.shutdown()
    server.server_close()


def chromium(directory: Path, url: str, *words: str, wait_ms: int = 3000) -> str:
    """Load the page, let it live for a while (time is virtual), and do what the words say."""
    assert CHROMIUM is not None
    common = ["--headless=new", "--no-sandbox", "--disable-gpu", "--hide-scrollbars", "--no-first-run"]
    line = [CHROMIUM, *common, f"--user-data-dir={directory}", f"--virtual-time-budget={wait_ms}", *words, url]
    done = subprocess.run(line, capture_output=True, text=True, timeout=60, check=False)
    assert done.returncode == 0, done.stderr[-2000:]
    return done.stdout


@pytest.fixture(scope="module")
def dom(address: str, tmp_path_factory: pytest.TempPathFactory) -> dict[str, str]:
    """The page's elements in each state, as the browser has them in the end."""
    directory = tmp_path_factory.mktemp("chromium")
    return {
        state: chromium(
            directory, f"{address}/{state}", "--dump-dom", wait_ms=STALE_AFTER_MS if state == "stale" else 3000
        )
        for state in EVERY
    }


def text_of(page: str, name: str) -> str:
    """The words below the element with this id."""
    found = re.search(rf'<(\w+)[^>]* id="{name}"[^>]*>(.*?)</\1>', page, re.DOTALL)
    assert found is not None, name
    return html.unescape(re.sub(r"<[^>]*>", " ", found[2]))


def title_of(page: str) -> str:
    found = re.search(r"<title>(.*?)</title>", page)
    assert found is not None
    return html.unescape(found[1])


def test_a_sound_node_is_green_and_says_what_happens_next(dom: dict[str, str]) -> None:
    page = dom["well"]
    assert title_of(page) == "n1: owns 1 of 2 · sharedip"
    assert "Nothing is wrong." in text_of(page, "problems")
    assert "If n1 dies now, n2 has it within 1.1 s (0.8 to 1.1 s), by its witness n2." in text_of(page, "explained")
    assert "This cluster could keep a window of 300 ms: in the last day" in text_of(page, "explained")
    rows = re.findall(r"<tr[^>]*>.*?</tr>", re.search(r'id="matrix-body">(.*?)</tbody>', page, re.DOTALL)[1])  # type: ignore[index]
    assert [re.sub(r"<[^>]*>", " ", row).split() for row in rows] == [
        ["n1", "healthy", "owner", "next", "leader"],
        ["n2", "healthy", "witness", "owner"],
        ["n3", "healthy", "candidate", "candidate"],
    ]


def test_an_address_that_is_down_is_the_title(dom: dict[str, str]) -> None:
    page = dom["down"]
    assert title_of(page).startswith("DOWN: 1 of 1, n1")
    assert f"{VIP} is DOWN: " in text_of(page, "problems")
    assert "DOWN, comes first" in text_of(page, "matrix")
    assert "Nothing is wrong" not in page.partition("<script>")[0]


def test_an_agent_that_does_not_answer_turns_everything_red(dom: dict[str, str]) -> None:
    """What was well is not said to be: neither by a line, nor by a pill, nor by the title."""
    page = dom["stale"]
    assert title_of(page) == "NO ANSWER: n1 · sharedip"
    assert 'class="stale"' in page
    alarm = re.search(r'<p id="alarm"[^>]*>', page)
    assert alarm is not None
    assert "hidden" not in alarm[0]
    assert "may not be so any more" in text_of(page, "alarm")


def test_who_is_dead_drained_or_sick_stands_in_the_table_of_the_cluster(dom: dict[str, str]) -> None:
    assert "died" in text_of(dom["dead"], "matrix")
    cluster = text_of(dom["nobody-sound"], "matrix")
    assert "drained" in cluster
    assert "unhealthy" in cluster
    assert "sharedip undrain ends that" in text_of(dom["drained-here"], "problems")


def test_sixty_addresses_are_one_column_and_one_event(dom: dict[str, str]) -> None:
    page = dom["many"]
    assert "owns 60, stands for 60" in text_of(page, "matrix")
    assert "60 addresses" in text_of(page, "changes")
    assert text_of(page, "changes").count("released it") == 1


def test_no_name_becomes_markup(dom: dict[str, str]) -> None:
    page = dom["hostile"]
    assert "<img" not in page.partition("<script>")[0]
    assert title_of(page).startswith("! <img")


@pytest.mark.parametrize("state", EVERY)
def test_tables_have_captions_and_scopes_and_problems_are_read_out(dom: dict[str, str], state: str) -> None:
    page = dom[state].partition("<script>")[0]
    assert page.count("<caption>") == page.count("<table")
    assert not [head for head in re.findall(r"<th\b[^>]*>", page) if "scope=" not in head]
    assert re.search(r'<ul id="problems" aria-live="polite"', page)
    assert re.search(r'<p id="alarm" role="alert"', page)


@pytest.mark.parametrize("look", LOOKS)
@pytest.mark.parametrize("state", EVERY)
def test_it_is_drawn_in_each_look(address: str, tmp_path: Path, state: str, look: str) -> None:
    """For eyes; here only that there is a picture, and no empty one."""
    OUT.mkdir(parents=True, exist_ok=True)
    size, scheme = LOOKS[look]
    file = OUT / f"{state}-{look}.png"
    file.unlink(missing_ok=True)
    words = [
        f"--screenshot={file.absolute()}",
        f"--window-size={size}",
        f"--blink-settings=preferredColorScheme={scheme}",
    ]
    url = f"{address}/{state}" if state != "stale" else f"{address}/stale-{look}"
    chromium(tmp_path, url, *words, wait_ms=STALE_AFTER_MS if state == "stale" else 3000)
    assert file.stat().st_size > 10_000

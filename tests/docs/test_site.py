"""The site as it is built, and as a browser shows it; `SITE` names where it was built just now."""

from __future__ import annotations

import os
import re
import subprocess
import sys
import threading
from collections.abc import Iterator
from functools import partial
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any
from urllib.parse import quote

import pytest

from tests.conftest import ROOT
from tests.report.browser import browser, show

pytestmark = pytest.mark.slow

PHONE, DESK = 390, 1280
LONGEST = 4
"""Pages of a folder that are looked at."""
OVERFLOW = "return document.documentElement.scrollWidth - document.documentElement.clientWidth"
CUT = """
const width = document.documentElement.clientWidth;
const scrolls = e => e && (/auto|scroll/.test(getComputedStyle(e).overflowX) || scrolls(e.parentElement));
return [...document.querySelectorAll('.md-content :is(table, pre, img, p, li)')]
  .filter(e => e.checkVisibility() && e.getBoundingClientRect().right > width + 1 && !scrolls(e))
  .map(e => e.tagName + ' ' + e.textContent.slice(0, 40));
"""
"""What is wider than the window and in no box that scrolls."""
FIRST_COLUMNS = """
return [...document.querySelectorAll('.md-typeset__scrollwrap')].map(box => {
  const cells = [...box.querySelectorAll('tr > :first-child')];
  const left = () => Math.round(cells[0].getBoundingClientRect().left);
  const before = left();
  box.scrollLeft = 1e4;
  const width = Math.max(...cells.map(e => e.getBoundingClientRect().width));
  return [cells[0].textContent, Math.round(width), left() >= 0 && left() <= before];
});
"""
"""First words, width of the first column, and whether it is in sight when the table is scrolled to its end."""
NARROW = """
return [...document.querySelectorAll('.md-typeset__table td')].filter(e => e.innerText.length > 60)
  .map(e => [e.innerText, e.getBoundingClientRect().width]).filter(([_, width]) => width < 150);
"""
"""Cells of many words that are a column of single ones."""


SEARCHES = {
    "own dataset": "data/",
    "custom data": "data/",
    "notebook": "python/",
    "embedding": "embeddings/",
    "fine-tune": "evaluation/finetune/",
    "transfer learning": "evaluation/finetune/",
    "pretrained": "backbones/timm/",
    "segmentation": "evaluation/dense/",
    "DICOM": "science/",
    "multi-GPU": "distributed/",
}
"""What people look for, in words that are not ours, and the page that answers."""
RESULTS = """
const done = arguments[arguments.length - 1];
const look = () => {
  const links = [...document.querySelectorAll('.md-search-result__item > a')];
  if (links.length) done(links.slice(0, 2).map(e => new URL(e.href).pathname)); else setTimeout(look, 50);
};
look();
"""


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return Path(os.environ.get("SITE") or build_site(tmp_path_factory.mktemp("site")))


def build_site(site: Path) -> Path:
    for tool in ("mkdocs", "mkdocstrings"):
        pytest.importorskip(tool, reason="the site's tools are not installed: pip install '.[docs]'")
    words = ["mkdocs", "build", "--strict", "--quiet", "--site-dir", str(site)]
    done = subprocess.run(
        [sys.executable, "-m", *words], cwd=ROOT, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stdout + done.stderr
    return site


@pytest.fixture(scope="module")
def driver() -> Iterator[Any]:
    with browser() as started:
        yield started


class Silent(SimpleHTTPRequestHandler):
    def log_message(self, *_: Any) -> None:
        """Requests are told nobody."""


@pytest.fixture(scope="module")
def address(site: Path) -> Iterator[str]:
    """Where the site is served; a browser's search needs that."""
    handler = partial(Silent, directory=str(site))
    with ThreadingHTTPServer(("127.0.0.1", 0), handler) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        yield f"http://127.0.0.1:{server.server_port}"
        server.shutdown()


def pages(site: Path) -> list[Path]:
    """The longest pages of every folder, and those of none."""
    folders: dict[Path, list[Path]] = {}
    for page in sorted(site.glob("**/*/index.html"), key=lambda page: -page.stat().st_size):
        folders.setdefault(page.parent.parent, []).append(page)
    top = folders.pop(site)
    return [site / "index.html", *top, *(page for inside in folders.values() for page in inside[:LONGEST])]


def test_the_site_builds_without_a_warning(site: Path) -> None:
    """Links, anchors, navigation and the generated reference."""
    page = (site / "interfaces" / "masker" / "index.html").read_text(encoding="utf-8")
    assert 'id="random"' in page
    assert "fonts.googleapis" not in page
    picture = site / "maskers" / "kind-random-ratio-0.75.png"
    assert picture.read_bytes().startswith(b"\x89PNG")
    assert "../kind-random-ratio-0.75.png" in (site / "maskers/random/index.html").read_text(encoding="utf-8")


def test_headings_of_the_reference_are_names_and_their_anchors_are_paths(site: Path) -> None:
    headings: list[tuple[str, str]] = []
    for page in (site / "reference").rglob("index.html"):
        source = page.read_text(encoding="utf-8")
        for anchor, inner in re.findall(
            r'<h[2-6] id="(sslkit[.\w]*)"[^>]*>(.*?)</h[2-6]>', source, re.DOTALL
        ):
            headings.append((anchor, re.sub(r"<a class=\"headerlink.*|<[^>]+>", "", inner, flags=re.DOTALL)))
    assert len(headings) > 200
    assert [heading for heading in headings if "sslkit." in heading[1]] == []
    assert "Run" in dict(headings)["sslkit.api.Run"].split()


def test_pages_can_be_read_on_a_phone(site: Path, driver: Any) -> None:
    tables = 0
    for page in pages(site):
        show(driver, page, PHONE)
        assert driver.execute_script(OVERFLOW) <= 0, f"{page} does not scroll sideways"
        assert driver.execute_script(CUT) == [], f"{page}: what is wide scrolls in a box of its own"
        assert driver.execute_script(NARROW) == [], page
        columns = driver.execute_script(FIRST_COLUMNS)
        tables += len(columns)
        assert [c for c in columns if c[1] > PHONE / 2 or not c[2]] == [], f"{page}: the first column stays"
    assert tables > 100


def test_the_tabs_fit_in_one_line(site: Path, driver: Any) -> None:
    show(driver, site / "index.html", DESK)
    tabs = driver.execute_script(
        "return [...document.querySelectorAll('.md-tabs__link')].map(e => e.getBoundingClientRect())"
        ".map(b => [b.top, b.right])"
    )
    assert len(tabs) > 5
    assert len({top for top, _ in tabs}) == 1
    assert max(right for _, right in tabs) < DESK


@pytest.mark.parametrize("words", SEARCHES)
def test_the_search_finds_what_people_look_for(words: str, address: str, driver: Any) -> None:
    driver.get(f"{address}/?q={quote(words)}")
    assert f"/{SEARCHES[words]}" in driver.execute_async_script(RESULTS)

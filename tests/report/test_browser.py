"""Pages in a real browser: what a parser cannot see."""

from __future__ import annotations

import base64
import json
import re
from types import SimpleNamespace

import numpy as np
import pytest

from sslkit.analysis.compare.compare_runs import compare
from sslkit.report.comparison_report import report_comparison
from sslkit.report.page.html import tag
from sslkit.report.page.html_page import Head, Section, page, write_page
from sslkit.report.run_report import report
from sslkit.report.sections import confusion
from sslkit.runs.evaluations import StoredPredictions
from sslkit.train.launch import train
from tests import tiny
from tests.report.browser import browser, show
from tests.report.conftest import EVALUATE
from tests.train.test_trainer import silent

IMAGES = "return [...document.images].map(i => [i.alt, i.complete, i.naturalWidth, i.getBoundingClientRect().width])"
DRAWINGS = (
    "return [...document.querySelectorAll('svg')].map(s => {const b = s.getBoundingClientRect(); "
    "return [s.getAttribute('aria-label'), b.width, b.height]})"
)
OVERFLOW = "return document.documentElement.scrollWidth - document.documentElement.clientWidth"
COLORS = "const s = getComputedStyle(document.body); return [s.backgroundColor, s.color]"
CONTRAST = """
const seen = new Map();
const texts = 'p, td, th, figcaption, li, dt, dd, h1, h2, h3, a, button, caption, summary';
for (const e of document.querySelectorAll(texts)) {
  if (!e.checkVisibility() || !e.textContent.trim()) continue;
  let box = e, back;
  do { back = getComputedStyle(box).backgroundColor; box = box.parentElement; }
  while (box && /rgba\\(.*, 0\\)|transparent/.test(back));
  seen.set(getComputedStyle(e).color + ' on ' + back, e.tagName);
}
return [...seen.entries()];
"""


@pytest.fixture(scope="module")
def driver():
    with browser() as started:
        yield started


@pytest.fixture(scope="module")
def pages(run_dir, tmp_path_factory):
    """The page of a run, and that of a comparison."""
    root = tmp_path_factory.mktemp("pages")
    other = tiny.spec(
        root / "other", name="a-longer-name-of-a-run", steps=4, evaluate=EVALUATE, log=tiny.DRAWN
    )
    train(other, say=silent)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("sslkit.report.sections.feature_maps.find_spec", lambda name: None)
        patch.setattr("sslkit.report.sections.features_shown.POINTS", 60)
        run = report(run_dir, root / "run.html")
    return {"run": run, "comparison": report_comparison(compare([run_dir, root / "other"]), root / "c.html")}


def luminance(color: str) -> float:
    """Of `rgb(...)` or `color(srgb ...)`, by WCAG 2."""
    values = [float(v) for v in re.findall(r"[\d.]+", color.replace("srgb", ""))[:3]]
    shares = [v if "srgb" in color else v / 255 for v in values]
    linear = [v / 12.92 if v <= 0.04045 else ((v + 0.055) / 1.055) ** 2.4 for v in shares]
    return 0.2126 * linear[0] + 0.7152 * linear[1] + 0.0722 * linear[2]


def contrast(one: str, other: str) -> float:
    low, high = sorted((luminance(one), luminance(other)))
    return (high + 0.05) / (low + 0.05)


@pytest.mark.parametrize("which", ["run", "comparison"])
@pytest.mark.parametrize(("width", "scheme"), [(1280, "light"), (400, "dark")])
def test_everything_is_shown(driver, pages, which, width, scheme):
    driver.get_log("browser"), driver.get_log("performance")
    show(driver, pages[which], width, scheme)
    images, drawings = driver.execute_script(IMAGES), driver.execute_script(DRAWINGS)
    assert images
    assert [i for i in images if not (i[1] and i[2] > 0 and i[3] > 0)] == []
    assert len(drawings) >= 3
    assert [d for d in drawings if not (d[1] > 50 and d[2] > 30)] == []
    assert driver.execute_script(OVERFLOW) <= 0, "the page does not scroll sideways"
    assert driver.get_log("browser") == [], "no error or warning"
    assert {url for url in requests(driver) if not url.startswith("data:")} == {pages[which].as_uri()}


def requests(driver) -> list[str]:
    """What the page asked for."""
    events = (json.loads(entry["message"])["message"] for entry in driver.get_log("performance"))
    return [e["params"]["request"]["url"] for e in events if e["method"] == "Network.requestWillBeSent"]


@pytest.mark.parametrize("scheme", ["light", "dark"])
@pytest.mark.parametrize("which", ["run", "comparison"])
def test_text_can_be_read(driver, pages, which, scheme):
    show(driver, pages[which], scheme=scheme)
    pairs = driver.execute_script(CONTRAST)
    assert len(pairs) > 3
    poor = [(pair, tag) for pair, tag in pairs if contrast(*pair.split(" on ")) < 4.5]
    assert poor == [], "WCAG AA asks for 4.5"


def test_dark_follows_the_system_and_the_button(driver, pages):
    show(driver, pages["run"], scheme="light")
    light = driver.execute_script(COLORS)
    show(driver, pages["run"], scheme="dark")
    dark = driver.execute_script(COLORS)
    assert luminance(light[0]) > 0.8 > 0.1 > luminance(dark[0])
    assert luminance(light[1]) < 0.1 < 0.6 < luminance(dark[1])
    driver.find_element("id", "theme").click()
    assert driver.execute_script(COLORS) == light
    assert driver.find_element("id", "theme").text == "Dark"
    driver.find_element("id", "theme").click()
    assert driver.execute_script(COLORS) == dark
    driver.execute_script("try { localStorage.clear() } catch {}")


def test_printing_is_light_and_opens_what_is_folded(driver, pages):
    show(driver, pages["run"], 794, "dark", "print")
    assert luminance(driver.execute_script(COLORS)[0]) == pytest.approx(1)
    assert not driver.find_element("id", "theme").is_displayed()
    closed = "return document.querySelectorAll('details:not([open])').length"
    assert driver.execute_script(closed) > 3
    driver.execute_script("dispatchEvent(new Event('beforeprint'))")
    assert driver.execute_script(closed) == 0
    assert driver.execute_script(OVERFLOW) <= 0
    driver.execute_script("dispatchEvent(new Event('afterprint'))")
    assert driver.execute_script(closed) > 3


def test_printing_makes_a_document(driver, pages):
    show(driver, pages["run"])
    made = driver.execute_cdp_cmd("Page.printToPDF", {"printBackground": True})
    content = base64.b64decode(made["data"])
    assert content.startswith(b"%PDF-")
    assert len(content) > 20_000
    assert len(re.findall(rb"/Type\s*/Page\b", content)) >= 4


def test_nothing_moves_while_pictures_come(driver, pages):
    show(driver, pages["run"])
    shift = "return performance.getEntriesByType('layout-shift').reduce((sum, e) => sum + e.value, 0)"
    assert driver.execute_script(shift) == 0
    heights = "return [...document.images].every(i => i.getAttribute('width') && i.getAttribute('height'))"
    assert driver.execute_script(heights)


PIXEL = "data:image/gif;base64,R0lGODlhAQABAIAAAAAAAP///yH5BAEAAAAALAAAAAABAAEAAAIBRAA7"
CLASSES = ["airplane", "automobile", "bird", "cat", "deer", "dog", "frog", "horse", "ship", "truck"]
SCROLLS = "return [...document.querySelectorAll('.matrix .scroll')].map(e => e.scrollWidth - e.clientWidth)"
LINES = """
return [...document.querySelectorAll('.matrix th, figcaption')].filter(e => e.textContent.trim()).map(e => {
  const range = document.createRange();
  range.selectNodeContents(e.querySelector('span') || e);
  return [e.textContent, range.getClientRects().length];
}).filter(([text, lines]) => lines > text.split(' ').length);
"""


@pytest.fixture
def classes(tmp_path):
    """A page with matrices of ten and of thirty classes, and captions as those of neighbors."""
    long = [f"sulphur-crested cockatoo {i}" if i % 3 else CLASSES[i % 10] for i in range(30)]
    labels = np.repeat(np.arange(30), 1000)
    found = SimpleNamespace(label="knn", title="knn")

    def matrix(names):
        here = labels[: 1000 * len(names)]
        return confusion._one(found, StoredPredictions(here, np.roll(here, 300)), names)

    pictures = [
        tag("figure", tag("img", src=PIXEL, class_="thumb", alt=name), tag("figcaption", name))
        for name in CLASSES
    ]
    row = tag("div", tag("div", pictures, class_="near"), class_="row")
    sections = [
        Section("ten", "Ten", lambda: matrix(CLASSES), ""),
        Section("thirty", "Thirty", lambda: matrix(long), ""),
        Section("row", "Row", lambda: tag("div", row, class_="gallery"), ""),
    ]
    return write_page(tmp_path / "classes.html", page(Head("classes", "Run", [], []), sections))


def test_matrices_fit_and_names_of_classes_stay_whole(driver, classes):
    show(driver, classes, 1280)
    assert driver.execute_script(SCROLLS) == [0, 0], "no box scrolls sideways"
    assert driver.execute_script(LINES) == [], "no word is broken"

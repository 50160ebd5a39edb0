"""What README says and the site shows stands once, in README."""

from __future__ import annotations

import re

import pytest

from tests.conftest import ROOT
from tests.docs.pages import hooks

README = (ROOT / "README.md").read_text(encoding="utf-8")
HOME = (ROOT / "docs" / "index.md").read_text(encoding="utf-8")
SMALL = """# tool

Words. ![map](docs/assets/map.svg)

## Start

```sh
## no heading
run
```

See [results](docs/results/foundation.md#table), [licence](LICENSE), [paper](https://example.org/a), [below](#next).

## Next

<img alt="map" src="docs/assets/map.svg">
"""


def shown(directive: str, uri: str = "index.md") -> str:
    text: str = hooks("readme_parts").insert(f"before\n\n<!-- readme: {directive} -->\n", uri, SMALL)
    return text.removeprefix("before\n\n").rstrip("\n")


def test_a_section_ends_at_the_next_heading_and_code_holds_none() -> None:
    assert shown("Start").startswith("```sh\n## no heading\nrun\n```\n\nSee ")
    assert shown("tool") == "Words. ![map](assets/map.svg)"
    assert "Next" not in shown("Start")


def test_links_hold_on_the_page() -> None:
    links = "[results](results/foundation.md#table), licence, [paper](https://example.org/a), [below](#next)."
    assert shown("Start").endswith(links)
    assert "[results](foundation.md#table)" in shown("Start", "results/index.md")
    assert shown("Next", "methods/index.md") == '<img alt="map" src="../assets/map.svg">'


def test_sections_that_are_missing_are_told_with_those_that_are_there() -> None:
    with pytest.raises(
        LookupError, match=r"no section 'Strat', which index\.md shows; it has tool, Start, Next"
    ):
        shown("Strat")


def test_the_home_page_shows_the_scores_of_readme_and_repeats_none() -> None:
    page = hooks("readme_parts").insert(HOME, "index.md", README)
    scores = re.findall(r"^\| [^|\n]*(?:k-NN|linear)[^|\n]*\|.*\d.*$", README, re.MULTILINE)
    assert len(scores) >= 2
    assert [row for row in scores if row not in page] == []
    assert re.findall(r"\d\.\d{3}", HOME) == []


def test_the_home_page_repeats_no_line_of_readme() -> None:
    lines = {line for line in README.splitlines() if len(line) > 40}
    assert lines & set(HOME.splitlines()) == set()

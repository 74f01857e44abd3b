"""The page of the benchmarks has the figures of the stored runs, and their pictures."""

import re

from benchmarks.cases import cases
from benchmarks.page import DOCS, PAGE, PART, PARTS, filled, stored_profile, stored_run
from benchmarks.races import races

PICTURE = re.compile(r"!\[(?P<alt>[^\]]*)\]\((?P<file>[^)]*)\)")


def test_the_page_has_the_stored_figures() -> None:
    """Each table is there, and nothing in one was typed by hand."""
    page = PAGE.read_text(encoding="utf-8")
    assert [match["name"] for match in PART.finditer(page)] == list(PARTS)
    assert filled(page, stored_run(), stored_profile()) == page


def test_the_stored_run_has_all() -> None:
    """Every case and race of the program, and trioctx in each."""
    run = stored_run()
    assert [case["name"] for case in run["cases"]] == list(cases())
    assert [race["name"] for race in run["races"]] == list(races())
    for case in run["cases"]:
        assert "trioctx" in case["sides"], case["name"]
        assert f"{case['what']} |" in PAGE.read_text(encoding="utf-8")


def test_the_page_shows_every_picture() -> None:
    """Each with words for those who do not see it."""
    shown = {}
    for match in PICTURE.finditer(PAGE.read_text(encoding="utf-8")):
        assert len(match["alt"]) > 20
        shown[match["file"]] = match["alt"]
    drawn = {f"plots/{file.name}" for file in (DOCS / "plots").glob("*.svg")}
    assert set(shown) == drawn
    assert {file.stem for file in (DOCS / "plots").glob("*.png")} == {
        file.stem for file in (DOCS / "plots").glob("*.svg")
    }

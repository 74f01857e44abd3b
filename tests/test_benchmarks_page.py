"""The page of the benchmarks has the figures of the stored runs."""

from benchmarks.page import PAGE, PART, PARTS, filled, stored


def test_the_page_has_the_stored_figures() -> None:
    """Each table is there, and nothing in one was typed by hand."""
    page = PAGE.read_text(encoding="utf-8")
    assert [match["name"] for match in PART.finditer(page)] == list(PARTS)
    assert filled(page, stored("benchmarks.json"), stored("profile.json")) == page


def test_the_page_tells_what_was_absent_or_missed() -> None:
    """Neither is left out."""
    server = {
        "label": "ours",
        "absent": None,
        "goal": None,
        "rate": 1000.0,
        "processor": 0.001,
        "ratio": 1.0,
        "interval": [1.0, 1.0],
        "processor_ratio": 1.0,
        "load_was_the_limit": False,
        "samples": ["a sample"],
    }
    figures = {"ratio": 0.7, "interval": [0.65, 0.75], "processor_ratio": 0.71}
    slow = {**server, **figures, "label": "theirs", "goal": 0.75, "load_was_the_limit": True}
    gone = {"label": "gone", "absent": "gone is not installed", "samples": []}
    race = {"name": "hello", "conditions": "as it was", "servers": [server, slow, gone]}
    text = "\n".join(PARTS["servers"]({"races": [race]}, {}))
    assert "Hello: as it was." in text
    assert "| ours | 1,000 | 1.0 ms |  |  |  |  |" in text
    assert "| × 0.70 | 0.65 to 0.75 | ≥ 0.75, **missed** | × 0.71 |" in text
    assert "| gone | absent: gone is not installed |" in text
    assert "The load was the limit for theirs," in text

"""The report in a real browser: it opens without a complaint, sorts, and fits a phone in both colour schemes."""

import chromium
import pytest
from run_directories import make_run, png

from results.__main__ import FOLDER
from results.report.committed import report_of_results
from results.report.run_directory import read_runs
from results.report.runs import report_of_runs
from results.rows import ROWS
from results.stored import current

pytestmark = pytest.mark.browser


@pytest.fixture(scope="module")
def program():
    path = chromium.found()
    if path is None:
        pytest.skip(f"no Chromium here (none of {', '.join(chromium.NAMES)}); on Debian: apt-get install chromium")
    return path


@pytest.fixture
def tab(program, tmp_path):
    with chromium.tab(program, tmp_path / "profile") as opened:
        yield opened


@pytest.fixture(params=["runs", "results"])
def page(request, tmp_path):
    path = tmp_path / "report.html"
    if request.param == "results":
        path.write_text(report_of_results(ROWS, current(ROWS), FOLDER))
        return path
    long = "a name without any space " * 3 + "x" * 120
    runs = [
        make_run(
            tmp_path / name,
            config={"note": long.replace(" ", "_"), "code_size": size},
            per_seed=(size * 1.0, size * 2.0, size * 2.5),
            metrics={
                f"model_{row}/measure_{column}": {"per_seed": [size * row + column], "mean": 0, "ci95": None, "n": 1}
                for row in range(12)
                for column in range(20)
            },
            health=health,
            figures={"samples": png(1200, 500), "latent_map": png(300, 900)},
        )
        for name, size, health in (("ten", 10, "ok"), ("nine", 9, "collapsed"), ("hundred" + "d" * 90, 100, "ok"))
    ]
    path.write_text(report_of_runs(*read_runs(runs), "<script>console.log('no')</script>"))
    return path


PAPER = 717  # pixels of CSS
FIRST_TABLE = "document.querySelector('table')"


def column(tab, number: int) -> list[str]:
    return tab.run(f"[...{FIRST_TABLE}.tBodies[0].rows].map(row => row.cells[{number}].textContent)")


def values(tab, number: int) -> list[float]:
    rows = f"[...{FIRST_TABLE}.tBodies[0].rows].map(row => row.cells[{number}].dataset.value)"
    return [float(value) for value in tab.run(rows) if value is not None]


def press(tab, number: int) -> str:
    """Presses the button of a column as a keyboard does; how the column is sorted then."""
    header = f"{FIRST_TABLE}.tHead.rows[0].cells[{number}]"
    tab.run(f"{header}.querySelector('button').focus()")
    for kind in ("rawKeyDown", "char", "keyUp"):
        enter = {"key": "Enter", "code": "Enter", "windowsVirtualKeyCode": 13, "text": "\r" if kind == "char" else ""}
        tab.ask("Input.dispatchKeyEvent", type=kind, **enter)
    return tab.run(f"{header}.getAttribute('aria-sort')")


def test_a_report_in_a_browser(tab, page):
    tab.width(1280)
    tab.open(page)

    # every picture is there, and says what it shows
    pictures = tab.run(
        "[...document.images].map(i => [i.complete && i.naturalWidth > 0, i.alt.length, i.width, i.height])"
    )
    assert len(pictures) >= 6
    assert all(loaded and text > 30 and width and height for loaded, text, width, height in pictures)
    labels = tab.run("[...document.querySelectorAll('svg')].map(s => (s.getAttribute('aria-label') || '').length)")
    assert all(length > 30 for length in labels)

    # sorts by numbers and by words, in both directions
    titles = tab.run(f"[...{FIRST_TABLE}.tHead.rows[0].cells].map(cell => cell.textContent)")
    time, health = titles.index("time"), titles.index("health")
    assert press(tab, time) == "ascending"
    assert values(tab, time) == sorted(values(tab, time))
    assert press(tab, time) == "descending"
    assert values(tab, time) == sorted(values(tab, time), reverse=True)
    assert press(tab, health) == "ascending"
    words = [word for word in column(tab, health) if word]
    assert words == sorted(words)
    sorted_columns = (
        f"[...{FIRST_TABLE}.tHead.rows[0].cells].filter(c => c.getAttribute('aria-sort') !== 'none').length"
    )
    assert tab.run(sorted_columns) == 1

    # fits a phone: many columns become lines, what else is wide scrolls in a box that a keyboard can reach
    for scheme, is_dark in (("light", False), ("dark", True)):
        tab.media(prefers_color_scheme=scheme)
        for width in (1280, 390):
            tab.width(width)
            tab.run("document.querySelectorAll('details').forEach(part => { part.open = true; })")
            assert tab.run("document.documentElement.scrollWidth") <= width, (scheme, width)
        cards = "[...document.querySelectorAll('.scroll:has(> .wide)')]"
        assert tab.run(f"{cards}.length > 0 && {cards}.every(box => box.scrollWidth <= box.clientWidth)")
        wide = "[...document.querySelectorAll('.scroll')].filter(box => box.scrollWidth > box.clientWidth)"
        assert tab.run(f"{wide}.length") > 0
        assert tab.run(f"{wide}.every(box => box.tabIndex === 0)")
        paper, ink = (sum(map(int, color.split(","))) / 3 for color in colors(tab))
        assert (paper < 60 and ink > 180) if is_dark else (paper > 230 and ink < 80)

    # on paper it is light whatever the screen is, and hides nothing
    tab.media(media="print", prefers_color_scheme="dark")
    assert sum(map(int, colors(tab)[0].split(","))) == 3 * 255
    assert tab.run("[...document.querySelectorAll('.scroll')].every(b => getComputedStyle(b).overflowX === 'visible')")
    # nothing is wider than A4 between a browser's margins: it would print the whole report smaller
    tab.width(PAPER)
    assert tab.run("document.documentElement.scrollWidth") <= PAPER
    assert tab.run("[...document.querySelectorAll('.wide thead')].every(h => getComputedStyle(h).display === 'none')")
    named = "[...document.querySelectorAll('.wide td')].map(c => getComputedStyle(c, '::before').content)"
    assert not {"none", '": "'} & set(tab.run(named))
    swatches = "[...document.querySelectorAll('.key')].map(k => getComputedStyle(k, '::before').printColorAdjust)"
    assert set(tab.run(swatches)) <= {"exact"}

    assert tab.complaints() == []
    assert {url for url in tab.requested() if not url.startswith("data:image/png;base64,")} == {page.as_uri()}


@pytest.mark.parametrize("page", ["results"], indirect=True)
@pytest.mark.parametrize("width", [1300, 1600])
def test_the_results_are_as_wide_as_a_common_screen(tab, page, width):
    tab.width(width)
    tab.open(page)
    box = "document.querySelector('.scroll')"
    assert tab.run(f"{box}.querySelector('caption').textContent") == "Results"
    assert tab.run(f"{box}.scrollWidth") <= tab.run(f"{box}.clientWidth")


def test_what_is_folded_is_printed_and_folded_again(tab, page):
    tab.open(page)
    tab.run("document.querySelector('details').open = true")
    folded = "[...document.querySelectorAll('details')].map(part => part.open)"
    before = tab.run(folded)
    assert len(before) > 1
    assert not any(before[1:])
    tab.run("dispatchEvent(new Event('beforeprint'))")
    assert all(tab.run(folded))
    tab.run("dispatchEvent(new Event('afterprint'))")
    assert tab.run(folded) == before


def colors(tab) -> list[str]:
    """Of the paper and of the ink: `255, 255, 255`."""
    style = "getComputedStyle(document.body)"
    return tab.run(f"[{style}.backgroundColor, {style}.color].map(text => text.match(/[\\d.]+/g).slice(0, 3).join())")


def test_the_policy_of_a_report_stops_a_script_and_a_request(tab, page):
    """What would have been injected, had escaping failed: the test above would see it."""
    content = page.read_text().replace(
        "</main>", "<script>console.log(1)</script><img src='http://127.0.0.1:9/x'></main>"
    )
    page.write_text(content)
    tab.open(page)
    told = [event["params"] for event in tab.complaints()]
    assert all("entry" in event for event in told)
    assert len([event for event in told if "Content Security Policy" in event["entry"]["text"]]) == 2

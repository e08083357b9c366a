"""The page in a real browser, offline: what it shows are the arrays, and hover and click change what they should."""

from __future__ import annotations

import json
import os
import shutil
from pathlib import Path

import pytest
import torch
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st

import throughtime as tt
from throughtime.anatomy import anatomy
from throughtime.anatomy.measures import in_steps
from throughtime.anatomy.page import write_page

CHROMIUM = shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("google-chrome")
FLAGS = [
    "--no-sandbox",
    "--disable-gpu",
    "--disable-background-networking",
    "--disable-component-update",
    "--no-first-run",
]
SYMBOLS = list('f(x): "<b>&\n\t' + "abcdefghijklmnopqrst")


def paths(T=30, B=1):
    torch.manual_seed(0)
    net = tt.ElmanNetwork(8, 12, 3)
    return anatomy(net, torch.randint(8, (B, T)), torch.randint(3, (B, T)))


@pytest.fixture(scope="module")
def browser():
    try:
        from playwright.sync_api import sync_playwright
    except ImportError:
        missing = "playwright is not installed"
    else:
        missing = "" if CHROMIUM else "no chromium on this machine"
    if missing:
        (pytest.fail if os.environ.get("CI") else pytest.skip)(f"the page is not tested: {missing}")
    with sync_playwright() as p:
        browser = p.chromium.launch(executable_path=CHROMIUM, args=FLAGS)
        yield browser
        browser.close()


class Opened:
    """A page in the browser, with what it complained about and what it asked the network for."""

    def __init__(self, browser, path: Path, width=1280, height=1400):
        self.complaints: list[str] = []
        self.requests: list[str] = []
        context = browser.new_context(viewport={"width": width, "height": height}, offline=True)
        self.page = context.new_page()
        self.page.on("console", lambda m: self.complaints.append(m.text))
        self.page.on("pageerror", lambda e: self.complaints.append(str(e)))
        self.page.on("request", lambda r: self.requests.append(r.url))
        self.page.goto(path.as_uri())
        self.page.wait_for_selector("body[data-ready=yes]", timeout=60_000)
        self.span = int(self.page.evaluate("T"))

    def cell(self, t: int, k: int) -> tuple[float, float]:
        """Where the middle of cell (t, k), counted from 1, is on the screen."""
        self.page.locator("#map").scroll_into_view_if_needed()
        box = self.page.locator("#map").bounding_box()
        left, top, side = self.page.evaluate("[LEFT, TOP, side]")
        size = side / self.span
        return box["x"] + left + (k - 0.5) * size, box["y"] + top + (t - 0.5) * size

    def hover(self, t: int, k: int) -> None:
        self.page.mouse.move(*self.cell(t, k))

    def click(self, t: int, k: int) -> None:
        self.page.mouse.click(*self.cell(t, k))

    def number(self, selector: str) -> float:
        """A number as the page shows it: 1.2·10⁻³, −3 %."""
        shown = self.page.locator(selector).inner_text().replace("−", "-").replace(" %", "").strip()
        mantissa, _, power = (
            shown.partition("10") if "10" in shown and any(c in shown for c in "⁰¹²³⁴⁵⁶⁷⁸⁹") else (shown, "", "")
        )
        exponent = power.translate(str.maketrans("⁰¹²³⁴⁵⁶⁷⁸⁹⁻", "0123456789-"))
        return float(mantissa.rstrip("·") or 1) * 10 ** int(exponent or 0)

    def choose(self, name: str, value: str) -> None:
        self.page.check(f"input[name={name}][value={value}]")

    def done(self) -> None:
        assert self.complaints == []
        assert [url for url in self.requests if not url.startswith(("file:", "data:", "blob:"))] == []
        self.page.context.close()


@pytest.fixture(scope="module")
def written(tmp_path_factory):
    a = paths()
    path = tmp_path_factory.mktemp("page") / "report.html"
    a.to_html(path, symbols=SYMBOLS, targets=["yes", "no", "<maybe>"] * 10, title="A <test> & more")
    return a, path


def test_hover_shows_the_numbers_of_the_arrays(browser, written):
    a, path = written
    opened = Opened(browser, path)
    for parameter in "WUb":
        opened.choose("parameter", parameter)
        paths = getattr(a, parameter)
        for t, k in ((30, 30), (30, 1), (17, 5), (9, 8)):
            opened.hover(t, k)
            assert f"t = {t} " in opened.page.locator("#tip").inner_text()
            assert f"k = {k} " in opened.page.locator("#tip").inner_text()
            assert opened.number("#tip .norm") == pytest.approx(float(paths.norms[t - 1, k - 1]), rel=1e-3)
            assert opened.number("#tip .share") == pytest.approx(100 * float(paths.shares[t - 1, k - 1]), rel=1e-3)
            jacobian = float(a.jacobian_norms[t - 1, k - 1])
            assert opened.number("#tip .jacobian") == pytest.approx(jacobian, rel=1e-2)
    opened.hover(3, 20)
    assert "no path" in opened.page.locator("#tip").inner_text()
    opened.done()


@pytest.mark.parametrize("width", [1280, 1400])
def test_the_derivation_of_a_late_loss_fits_its_column(browser, tmp_path, width):
    paths(T=120).to_html(tmp_path / "page.html")
    opened = Opened(browser, tmp_path / "page.html", width)
    for parameter in "WUb":
        opened.choose("parameter", parameter)
        for t in (100, 120):
            opened.page.evaluate(f"choose({t - 1})")
            for selector in (
                "#derivation .formula >> nth=0",
                "#derivation .formula >> nth=1",
                "#derivation .scroll",
                "html",
            ):
                wide, there = opened.page.locator(selector).evaluate("e => [e.scrollWidth, e.clientWidth]")
                assert 0 < wide <= there, selector
    opened.done()


def test_a_notebook_shows_the_page_in_place(browser, tmp_path):
    found = paths()
    (tmp_path / "notebook.html").write_text(f'<meta charset="utf-8">{found._repr_html_()}', encoding="utf-8")
    page = browser.new_page()
    page.goto((tmp_path / "notebook.html").as_uri())
    frame = page.frame_locator("iframe")
    frame.locator("body[data-ready=yes]").wait_for()
    assert frame.locator("#verdict").inner_text() == found.verdict
    page.close()
    assert paths(T=1001)._repr_html_() is None


@pytest.mark.parametrize(
    ("steps", "told"),
    [(1.4142, "1.41"), (2.0, "2.00"), (76.14, "76.1"), (99.96, "100"), (7613.0, "7,610"), (1e400, "∞")],
)
def test_steps_have_three_digits(steps, told):
    assert in_steps(steps) == told


def test_a_click_on_a_row_shows_its_paths(browser, written):
    a, path = written
    opened = Opened(browser, path)
    opened.click(7, 2)
    assert f"L7 = {float(a.losses[6]):.3g}" in opened.page.locator("#chosen").inner_text()
    assert "target yes" in opened.page.locator("#chosen").inner_text()
    assert opened.page.locator("#network path.path").count() == 7
    widths = {
        int(path.get_attribute("data-k")): float(path.get_attribute("stroke-width"))
        for path in opened.page.locator("#network path.path").all()
    }
    norms = a.norms[6, :7]
    assert max(widths, key=lambda k: widths[k]) == int(norms.argmax()) + 1
    rows = opened.page.locator("#derivation tbody tr").all()
    assert len(rows) == 7
    for k in (7, 3):
        cell = f"#derivation tr[data-k='{k}'] td:nth-child(5)"
        assert opened.number(cell) == pytest.approx(float(norms[k - 1]), rel=6e-3)
    assert "δ7,7 = σ′(a7)" in opened.page.locator("#derivation").inner_text()
    before = opened.page.locator("#chosen").inner_text()
    opened.page.locator("#text span").nth(11).click()
    assert opened.page.locator("#chosen").inner_text() != before
    assert "L12" in opened.page.locator("#chosen").inner_text()
    opened.page.locator("#map").press("ArrowDown")
    assert "L13" in opened.page.locator("#chosen").inner_text()
    opened.done()


def test_the_text_is_coloured_by_what_mattered(browser, written):
    a, path = written
    opened = Opened(browser, path)
    opened.choose("scale", "linear")
    opened.click(20, 2)
    spans = opened.page.locator("#text span")
    assert spans.count() == 30
    assert spans.nth(19).get_attribute("class") == "chosen dark" or "chosen" in spans.nth(19).get_attribute("class")
    assert spans.nth(25).evaluate("e => e.style.background") == ""
    darkest = opened.page.evaluate(
        "[...document.querySelectorAll('#text span')].map(s => s.style.background.match(/\\d+/g))"
        ".map(c => c ? c.reduce((x, y) => x + Number(y), 0) : 999)"
    )
    assert darkest.index(min(darkest)) == int(a.norms[19, :20].argmax())
    opened.done()


def test_scale_what_and_zoom_change_the_map(browser, written):
    _, path = written
    opened = Opened(browser, path)
    picture = lambda: opened.page.evaluate("document.getElementById('map').toDataURL()")  # noqa: E731
    seen = [picture()]
    for name, value in (
        ("scale", "linear"),
        ("what", "share"),
        ("what", "jacobian"),
        ("scale", "log"),
        ("what", "norm"),
    ):
        opened.choose(name, value)
        seen.append(picture())
    assert len(set(seen)) == 5  # the last is the first again
    assert seen[0] == seen[-1]
    opened.page.click("[data-zoom=in]")
    assert opened.page.evaluate("state.view.span") == 15
    x, y = opened.cell(15, 15)
    opened.page.mouse.move(x, y)
    opened.page.mouse.wheel(0, -100)
    opened.page.wait_for_function("state.view.span < 15")
    before = opened.page.evaluate("state.view.x")
    opened.page.mouse.down()
    opened.page.mouse.move(x + 40, y)
    opened.page.mouse.up()
    assert opened.page.evaluate("state.view.x") < before
    opened.page.click("[data-zoom=all]")
    assert opened.page.evaluate("state.view.span") == 30
    opened.done()


def test_the_curves_and_the_verdict(browser, written):
    a, path = written
    opened = Opened(browser, path)
    assert opened.page.locator("#verdict").inner_text() == a.verdict
    assert opened.page.locator("h1").inner_text() == "A <test> & more"
    assert opened.page.locator("#by-lag rect").count() > 20
    assert f"horizon {a.horizon()}" in opened.page.locator("#by-lag").text_content()
    box = opened.page.locator("#by-lag svg").bounding_box()
    opened.page.mouse.move(box["x"] + 60, box["y"] + 50)
    assert f"this lag: {100 * float(a.by_lag[0]):.4g} %" in opened.page.locator("#tip").inner_text()
    opened.done()


def test_a_narrow_screen_needs_no_sideways_scrolling(browser, written):
    _, path = written
    opened = Opened(browser, path, width=390, height=844)
    assert opened.page.evaluate("document.documentElement.scrollWidth") <= 390
    opened.click(12, 3)
    assert "L12" in opened.page.locator("#chosen").inner_text()
    opened.done()


def test_a_thousand_steps_fit_in_ten_megabytes(browser, tmp_path):
    a = paths(T=1000)
    path = tmp_path / "long.html"
    a.to_html(path)
    assert path.stat().st_size < 10_000_000
    opened = Opened(browser, path)
    for t in (900, 500, 100):
        opened.hover(t, t // 2)
        opened.click(t, t // 2)
        assert f"L{t}" in opened.page.locator("#chosen").inner_text()
    opened.page.click("[data-zoom=in]")
    assert opened.page.evaluate("state.view.span") == 500
    opened.done()


def test_stacks_and_batches_have_a_page(browser, tmp_path):
    rnn = tt.nn.RNN(3, 4, 2, bidirectional=True)
    readout = torch.nn.Linear(8, 3)
    x, y = torch.randn(2, 9, 3), torch.randint(3, (2, 9))
    for layer, direction in ((0, 0), (1, 1)):
        a = anatomy(rnn, x, y, [9, 6], layer=layer, direction=direction, readout=readout)
        path = tmp_path / f"{layer}{direction}.html"
        a.to_html(path, instance=1)
        opened = Opened(browser, path)
        opened.hover(3, 5)
        assert opened.number("#tip .norm") == pytest.approx(float(a.norms[1, 2, 4]), rel=1e-3)
        opened.click(3, 5)
        assert "L3" in opened.page.locator("#chosen").inner_text()
        opened.done()


OF_OBJECTS = ("constructor", "toString", "__proto__", "hasOwnProperty", "valueOf", "__defineGetter__")
HTML = "<script>alert(1)</script> </script> <!-- ]]> &amp; {{data}} {{title}} ${1} ` \\ \" ' $".split()
CHARACTERS = ["\n", " ", "\t", "", "\0", "\x1b[0m", "\u2028", "\N{GRINNING FACE}", "\ud800", "\udc00", "ß", "中"]
PIECES = st.sampled_from([*OF_OBJECTS, *HTML, *CHARACTERS, "x" * 10_000])
STRANGE = st.one_of(PIECES, st.lists(PIECES, max_size=3).map("".join), st.text(max_size=5))


@settings(
    max_examples=max(2, int(os.environ.get("THROUGHTIME_FUZZ", "0")) // 50),
    deadline=None,
    database=None,
    suppress_health_check=list(HealthCheck),
)
@given(
    symbols=st.lists(STRANGE, min_size=12, max_size=12),
    targets=st.lists(STRANGE, min_size=12, max_size=12),
    title=STRANGE,
)
@example(symbols=[*OF_OBJECTS] * 2, targets=["</script><b>"] * 12, title="{{data}}")
@example(symbols=["x" * 10_000] * 12, targets=["y" * 10_000] * 12, title="x" * 10_000)
def test_any_text_is_shown_and_none_is_obeyed(browser, tmp_path_factory, symbols, targets, title):
    path = tmp_path_factory.mktemp("page") / "page.html"
    write_page(paths(T=12), path, symbols=symbols, targets=targets, title=title)
    opened = Opened(browser, path)
    for t, k in ((12, 1), (5, 5)):
        opened.click(t, k)
        opened.hover(t, k)
        assert f"t = {t} " in opened.page.locator("#tip").inner_text()
        assert f"L{t} " in opened.page.locator("#chosen").inner_text()
    opened.page.click("[data-zoom=in]")
    assert opened.page.evaluate("data.symbols") == [json.loads(json.dumps(symbol)) for symbol in symbols]
    assert opened.page.evaluate("document.querySelectorAll('script, #text b, #chosen i').length") == 2
    shown = opened.page.locator("#text span")
    assert shown.count() == 12
    assert max(len(text) for text in shown.all_text_contents()) <= 41 * 2
    opened.done()


def test_bad_arguments(tmp_path):
    a = paths(T=5)
    with pytest.raises(ValueError, match="instance: expected 0 to 0, found 1"):
        write_page(a, tmp_path / "p.html", instance=1)
    with pytest.raises(ValueError, match="symbols: expected one for each of 5 steps, found 2"):
        write_page(a, tmp_path / "p.html", symbols=["a", "b"])
    with pytest.raises(FileNotFoundError):
        write_page(a, tmp_path / "missing" / "p.html")
    assert not list(tmp_path.iterdir())

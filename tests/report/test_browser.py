"""The report in a real browser: mouse, keys, touch, light and dark, a phone, and no request.

Leaves screenshots in build/screenshots. With SMEM_NEEDS_BROWSER=1 a missing browser is a failure.
"""

import os
import re
import shutil
from collections.abc import Iterator
from pathlib import Path

import pytest
from playwright.sync_api import Browser, Page, expect, sync_playwright

_CHROMIUM = shutil.which("chromium") or shutil.which("chromium-browser")
_FLAGS = (
    "--no-sandbox",
    "--disable-gpu",
    "--disable-quic",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
)
_SCREENSHOTS = Path(__file__).resolve().parents[2] / "build" / "screenshots"
_PHONE = {"width": 390, "height": 844}


@pytest.fixture(scope="module")
def browser() -> Iterator[Browser]:
    if _CHROMIUM is None:
        if os.environ.get("SMEM_NEEDS_BROWSER"):
            pytest.fail("SMEM_NEEDS_BROWSER is set, and no chromium is installed")
        pytest.skip("no chromium is installed; on Debian, `apt-get install chromium` does that")
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=_CHROMIUM, args=_FLAGS)
        yield browser
        browser.close()


@pytest.fixture
def open_page(browser: Browser, written: Path) -> Iterator:
    """Opens the report; afterwards nothing but it was asked for, and no error was said."""
    asked, said, contexts = [], [], []

    def open_page(**options) -> Page:
        context = browser.new_context(**options)
        contexts.append(context)
        page = context.new_page()
        page.on("request", lambda request: asked.append(request.url))
        page.on("console", lambda message: said.append((message.type, message.text)))
        page.on("pageerror", lambda error: said.append(("error", str(error))))
        context.route(re.compile("^(?!file:)"), lambda route: route.abort())
        page.goto(_address(written))
        return page

    yield open_page
    assert asked == [_address(written)] * len(contexts)
    assert [message for message in said if message[0] == "error"] == []
    for context in contexts:
        context.close()


def _address(written: Path) -> str:
    return (written / "report.html").as_uri()


def _token(page: Page, row: int, place: int):
    return page.locator(f".wording[data-row='{row}'] .token").nth(place)


def _open_all(page: Page) -> None:
    page.evaluate("for (const part of document.querySelectorAll('details')) part.open = true")


def _expect_panel(page: Page, slot_reads: dict, row: int, place: int) -> None:
    """The panel says of a token what the file says of it and its slots."""
    rows = slot_reads["rows"]
    text, share, reads, slots = rows[row]["tokens"][place]
    said = page.get_by_role("status")
    expect(said).to_contain_text(f"{text.strip() or '↵'} makes 8 reads; {reads} are of trained")
    expect(said).to_contain_text(f"{100 * share:.0f} % of its read weight")
    parts = page.locator("#read .slot")
    expect(parts).to_have_count(len(slots))
    for part, (number, weight) in zip(parts.all(), slots, strict=True):
        slot = slot_reads["slots"][str(number)]
        expect(part.locator("h3")).to_have_text(f"Slot {number}{100 * weight:.0f} %")
        names = part.locator("h4").all_text_contents()
        lines = dict(zip(names, part.locator(".line > div").all(), strict=True))
        expected: dict[str, list[str]] = {"This fact": [], "Other facts": []}
        for at in slot["tokens"]:
            if at != [row, place]:
                is_own = rows[at[0]]["fact"] == rows[row]["fact"]
                token = rows[at[0]]["tokens"][at[1]][0]
                expected["This fact" if is_own else "Other facts"].append(token.strip() or "↵")
        for name, tokens in expected.items():
            found = lines[name].locator(".chip").all_text_contents() if name in lines else []
            assert found == tokens, (number, name)
        left = slot["num_tokens"] - len(slot["tokens"])
        assert (f"and {left} more token" in part.inner_text()) == (left > 0)
        ordinary = lines["Ordinary text"]
        expect(ordinary).to_contain_text(f"{slot['documents']} of 120 documents")
        snippets = ordinary.locator(".snippet").all_text_contents()
        assert snippets == ["".join(snippet) for snippet in slot["snippets"]]


def test_answers_of_a_fact_open_by_click_and_by_enter(open_page):
    page = open_page()
    fact = page.locator("details.fact", has_text="4 of 4 right")
    answer = fact.get_by_role("cell", name="Ada & Grace").first
    expect(answer).to_be_hidden()
    fact.locator("summary").click()
    expect(answer).to_be_visible()
    fact.locator("summary").press("Enter")
    expect(answer).to_be_hidden()


def test_pointing_at_any_token_shows_what_the_file_says(open_page, slot_reads):
    page = open_page()
    _expect_panel(page, slot_reads, 0, 1)  # before any was pointed at
    _open_all(page)
    for row, wording in enumerate(slot_reads["rows"]):
        for place in range(len(wording["tokens"])):
            _token(page, row, place).hover()
            _expect_panel(page, slot_reads, row, place)


def test_tokens_that_read_the_same_slots_are_marked(open_page):
    page = open_page()
    _open_all(page)
    _token(page, 0, 1).hover()
    assert page.locator(".token.also").all_text_contents() == ["↵", " Ljunggren", "Bridge"]
    assert page.locator(".token.shown").all_text_contents() == [" <first>"]


def test_keys_reach_a_token_move_on_hold_and_let_go(open_page, slot_reads):
    page = open_page(viewport={"width": 700, "height": 500})
    for _ in range(20):
        page.keyboard.press("Tab")
        if page.locator(".token:focus").count():
            break
    expect(_token(page, 0, 0)).to_be_focused()
    assert page.locator(".token:focus").evaluate("e => getComputedStyle(e).outlineStyle") == "solid"
    for key, row, place in (
        ("ArrowRight", 0, 1),
        ("End", 0, 2),
        ("ArrowRight", 0, 2),
        ("ArrowDown", 1, 0),
        ("ArrowDown", 1, 0),  # the next fact is closed
        ("ArrowUp", 0, 0),
        ("ArrowRight", 0, 1),
    ):
        page.keyboard.press(key)
        expect(_token(page, row, place)).to_be_focused()
        _expect_panel(page, slot_reads, row, place)
        assert page.evaluate(_IS_SEEN)
    page.keyboard.press("Enter")
    expect(_token(page, 0, 1)).to_have_attribute("aria-pressed", "true")
    _token(page, 1, 0).hover()
    page.keyboard.press("ArrowRight")
    _expect_panel(page, slot_reads, 0, 1)
    page.keyboard.press("Escape")
    expect(_token(page, 0, 1)).to_have_attribute("aria-pressed", "false")
    page.keyboard.press("Home")
    _expect_panel(page, slot_reads, 0, 0)
    page.keyboard.press("Tab")  # leaves the wording for the next one
    expect(_token(page, 1, 0)).to_be_focused()


# Whether what has the focus is in the window, and nothing lies over it.
_IS_SEEN = """() => {
  const box = document.activeElement.getBoundingClientRect();
  const there = [box.left + box.width / 2, box.top + box.height / 2];
  return document.elementFromPoint(...there) === document.activeElement;
}"""


def test_a_tap_on_a_phone_shows_slots_and_nothing_is_wider_than_the_page(open_page, slot_reads):
    page = open_page(viewport=_PHONE, has_touch=True, is_mobile=True)
    _open_all(page)
    _token(page, 1, 0).tap()
    _expect_panel(page, slot_reads, 1, 0)
    assert page.evaluate("document.documentElement.scrollWidth") == _PHONE["width"]
    sizes = page.locator("svg text").evaluate_all(
        """all => all.map((element) => {
          const { a, b } = element.getScreenCTM();
          return parseFloat(getComputedStyle(element).fontSize) * Math.hypot(a, b);
        })"""
    )
    assert min(sizes) > 8  # pixels
    _keep(page, "phone")


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_text_stands_out_from_its_page(open_page, scheme):
    page = open_page(color_scheme=scheme)
    _open_all(page)
    _token(page, 0, 1).hover()
    background = _luminance(page.evaluate("getComputedStyle(document.body).backgroundColor"))
    assert background > 0.8 if scheme == "light" else background < 0.05
    for name in ("body", "p.quiet", "td.good", "td.bad", "#read .quiet", "svg text", "summary"):
        text, behind = map(_luminance, page.locator(name).first.evaluate(_COLOURS))
        ratio = (max(text, behind) + 0.05) / (min(text, behind) + 0.05)
        assert ratio >= 4.5, name
    _keep(page, scheme)


# The colour of an element's text and the one behind it.
_COLOURS = """(element) => {
  const page = (box) => getComputedStyle(box).backgroundColor;
  const { color, fill } = getComputedStyle(element);
  let box = element;
  while (page(box) === "rgba(0, 0, 0, 0)") box = box.parentElement;
  return [element.closest("svg") ? fill : color, page(box)];
}"""


def _luminance(colour: str) -> float:
    """Of 'rgb(...)', as the Web Content Accessibility Guidelines define it."""
    parts = [int(part) / 255 for part in re.findall(r"\d+", colour)[:3]]
    linear = [c / 12.92 if c <= 0.04045 else ((c + 0.055) / 1.055) ** 2.4 for c in parts]
    return 0.2126 * linear[0] + 0.7152 * linear[1] + 0.0722 * linear[2]


def test_without_scripts_the_page_can_still_be_read(open_page):
    page = open_page(java_script_enabled=False)
    expect(page.get_by_text("This needs JavaScript")).to_be_visible()
    expect(page.get_by_text("75%").first).to_be_visible()
    expect(_token(page, 0, 1)).to_be_visible()
    expect(page.locator("#panel")).to_be_hidden()


def _keep(page: Page, name: str) -> None:
    _SCREENSHOTS.mkdir(parents=True, exist_ok=True)
    page.screenshot(path=_SCREENSHOTS / f"{name}.png", full_page=True)

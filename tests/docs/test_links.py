"""Links of the documentation lead somewhere, and the index leads to every page."""

import re
from pathlib import Path

import pytest
from doc_commands import PAGES, ROOT


def links(page: str) -> list[str]:
    """Where the links and pictures of a page lead, those to the network left out."""
    text = (ROOT / page).read_text(encoding="utf-8")
    return [to for to in re.findall(r"\]\(([^)\s]+)\)", text) if "://" not in to]


def anchors(path: Path) -> set[str]:
    """The names of a page's headings, made as GitHub makes them."""
    headings = re.findall(r"^#+ (.*)$", path.read_text(encoding="utf-8"), re.MULTILINE)
    return {re.sub(r"[^\w\- ]", "", heading).lower().replace(" ", "-") for heading in headings}


@pytest.mark.parametrize("page", PAGES)
def test_links_lead_somewhere(page):
    for link in links(page):
        file, _, anchor = link.partition("#")
        target = (ROOT / page).parent / file if file else ROOT / page
        assert target.exists(), f"{page}: {link}"
        assert not anchor or anchor in anchors(target), f"{page}: {link}"


def test_a_heading_has_the_anchor_that_github_gives_it(tmp_path):
    (tmp_path / "page.md").write_text("# A title\n\n## `smem teach`, and more?\n")
    assert anchors(tmp_path / "page.md") == {"a-title", "smem-teach-and-more"}


def test_the_index_has_every_page():
    pages = {path.name for path in ROOT.glob("docs/*.md")} - {"README.md"}
    assert pages == {link for link in links("docs/README.md") if link in pages}
    assert "docs/README.md" in links("README.md")

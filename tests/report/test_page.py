"""The HTML report: whole, readable by a parser, and free of anything from elsewhere."""

import json
import re
from html.parser import HTMLParser
from xml.etree import ElementTree

import pytest

from smem_jax import report
from smem_jax.errors import InputError
from smem_jax.report import figures
from smem_jax.report.read import read_run

VOID = {"meta", "link", "br", "img"}


class Outline(HTMLParser):
    """Collects the text and fails on a tag that is closed out of order."""

    def __init__(self, text: str):
        super().__init__()
        self.open: list[str] = []
        self.tags: list[str] = []
        self.text = ""
        self.feed(text)

    def handle_starttag(self, tag, attrs):
        self.tags.append(tag)
        if tag not in VOID:
            self.open.append(tag)

    def handle_endtag(self, tag):
        assert self.open.pop() == tag

    def handle_data(self, data):
        self.text += data


def test_write_makes_a_well_formed_page(workdir):
    path = report.write(workdir)
    assert path == workdir / "report.html"
    outline = Outline(path.read_text())
    assert outline.open == []
    assert outline.tags.count("svg") == 3
    assert outline.tags.count("details") == 2 + 1
    assert (
        "It answers 75% of the questions about them that it never saw (0% before)." in outline.text
    )
    assert "the NLL of WikiText-2 rose by 0.0075 nats" in outline.text
    assert "4 of 4" in outline.text and "3 of 4" in outline.text
    assert list(workdir.glob("*.partial")) == []


def test_page_needs_nothing_from_elsewhere(workdir):
    text = report.write(workdir).read_text()
    assert "<script" not in text and "<link" not in text and "@import" not in text
    loaded = re.findall(r'(?:src|href)="([^"]*)"', text)
    assert [address for address in loaded if not address.startswith("#")] == []


def test_text_of_the_run_is_escaped(workdir):
    text = report.write(workdir).read_text()
    assert "<b>do not</b>" not in text and "&lt;b&gt;do not&lt;/b&gt;" in text
    assert "&lt;first&gt;" in text and "Ada &amp; Grace" in text
    assert "&lt;model&gt;" in text


def test_same_run_gives_the_same_page(workdir):
    assert report.write(workdir).read_bytes() == report.write(workdir).read_bytes()


def test_ids_are_unique_and_references_resolve(workdir):
    text = report.write(workdir).read_text()
    ids = re.findall(r'\bid="([^"]+)"', text)
    assert len(ids) == len(set(ids))
    assert set(re.findall(r'(?:url\(#|href="#)([^")]+)', text)) <= set(ids)


@pytest.mark.parametrize("name", ["exact_match", "elsewhere", "training"])
def test_figures_are_xml_in_the_colour_of_the_text(workdir, name):
    run = read_run(workdir)
    given = run.metrics if name == "training" else run.summary
    text = getattr(figures, name)(given)
    root = ElementTree.fromstring(text)
    assert root.tag.endswith("svg") and root.get("aria-label")
    assert "currentColor" in text and "#000000" not in text


def test_page_of_a_run_without_measurements(workdir, summary):
    kept = {k: v for k, v in summary.items() if not (isinstance(v, dict) and "before" in v)}
    (workdir / "summary.json").write_text(json.dumps(kept))
    (workdir / "metrics.jsonl").write_text('{"step": 0, "loss": 1.0}\n')
    outline = Outline(report.write(workdir).read_text())
    assert outline.tags.count("svg") == 1
    assert "Elsewhere" not in outline.text


@pytest.mark.parametrize("name", ["summary.json", "metrics.jsonl", "answers.jsonl"])
def test_a_missing_file_is_named(workdir, name):
    (workdir / name).unlink()
    with pytest.raises(InputError, match=re.escape(name)):
        report.write(workdir)
    assert not (workdir / "report.html").exists()


@pytest.mark.parametrize(
    ("name", "text", "message"),
    [
        ("summary.json", '{"num_facts": 2', r"summary\.json: not JSON"),
        ("summary.json", "[1]", r"summary\.json: expected a JSON object, got list"),
        ("summary.json", "{}", r"summary\.json: the field 'num_facts' is missing"),
        ("summary.json", '{"num_facts": "2"}', r"num_facts='2' must be of type int"),
        ("metrics.jsonl", '{"step": 1}\n{"step"', r"metrics\.jsonl:2: not JSON"),
        ("metrics.jsonl", "3", r"metrics\.jsonl:1: expected a JSON object, got int"),
        ("answers.jsonl", '{"fact": "a"}', r"answers\.jsonl:1: the field 'kind' is missing"),
    ],
)
def test_a_damaged_file_is_named_with_its_line(workdir, name, text, message):
    (workdir / name).write_text(text)
    with pytest.raises(InputError, match=message) as caught:
        report.write(workdir)
    assert "\n" not in str(caught.value)

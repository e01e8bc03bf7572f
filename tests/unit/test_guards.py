"""Guards of translations: what is none is told in words, and what is one is left alone."""

# ruff: noqa: RUF001 - sentences of many scripts

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pipeline.tasks.languages import INDIC, M2M100, iso
from pipeline.tasks.translation import guards
from pipeline.tasks.translation.guards import doubts
from pipeline.tasks.translation.kinship import are_alike
from pipeline.tasks.translation.scripts import script_of, scripts_for, weight
from tests.unit.test_detection import SENTENCES

EN = SENTENCES["en"]
TWO = f"{EN} That is why the theatre stayed empty, and the actors went home as well."
ZWEI = f"{SENTENCES['de']} Deshalb blieb das Theater leer, und auch die Schauspieler gingen nach Hause."
VIER = f"{ZWEI} {ZWEI}"
FOUR = f"{TWO} {TWO}"


def doubted(source, translation, into, source_lang="en"):
    return " | ".join(doubts(source, translation, source_lang=source_lang, target_lang=into))


@pytest.mark.parametrize("into", [code for code in SENTENCES if code != "en"])
def test_a_translation_is_left_alone(into):
    """Between any two languages."""
    for source_lang, source in SENTENCES.items():
        if source_lang != into:
            assert doubted(source, SENTENCES[into], into, source_lang) == ""


@pytest.mark.parametrize("into", [code for code in SENTENCES if code != "en"])
def test_another_language_is_told(into):
    """By its script or by the detector; those that look alike are one."""
    for code, text in SENTENCES.items():
        if not are_alike(code, into) and code != "en":
            said = doubted(EN, text, into)
            assert said.startswith(("it is not written in the script of", "it seems to be")), (into, code, said)


@pytest.mark.parametrize(
    ("into", "translation", "said"),
    [
        ("ru", "Die Lage ist besser als gestern.", "it is not written in the script of Russian"),
        ("zh", "Die Lage ist besser als gestern.", "it is not written in the script of Chinese"),
        ("hin_Deva", "Die Lage ist besser als gestern.", "it is not written in the script of Hindi"),
        ("de", "Положение лучше, чем вчера.", "it is not written in the script of German"),
        ("sr", "Situacija je bolja nego jučer.", ""),
        ("sr", "Ситуација је боља него јуче.", ""),
        ("ja", "状況改善傾向継続中。", ""),
        ("ja", "天气太糟糕了晚上没有人愿意出门", "it is not written in the script of Japanese"),
        ("xh", "Imeko ingcono kunayizolo emva kwemini.", ""),
    ],
)
def test_scripts_tell_without_the_detector(into, translation, said, monkeypatch):
    monkeypatch.setattr(guards, "detector_if_installed", lambda: None)
    assert doubted("The situation is better than yesterday.", translation, into) == said


def test_without_the_detector_languages_of_one_script_are_not_told(monkeypatch):
    assert doubted(EN, SENTENCES["fr"], "de") == "it seems to be French, not German"
    monkeypatch.setattr(guards, "detector_if_installed", lambda: None)
    assert doubted(EN, SENTENCES["fr"], "de") == ""


@pytest.mark.parametrize("into", ["de", "zu", "ru", "zh"])
def test_a_text_that_was_not_translated_is_told(into):
    """Whatever became of its capitals and of its last stop, and whatever language it should be in."""
    for translation in (EN, EN.upper(), EN.rstrip(".")):
        assert doubted(EN, translation, into) == "it is the text itself, not a translation"


def test_most_of_it_in_the_source_language_is_told_by_the_detector():
    rest = "Temps, the weather was so bad that nobody wanted to leave the house in the evening."
    assert doubted(EN, rest, "fr") == "it seems to be English, not French"


def test_the_emulators_answers_are_not_doubted_for_what_they_are():
    """They are the text itself behind a mark; told to, the emulator goes astray all the same."""
    for text in (EN, EN.title(), "Hi there"):
        assert doubted(text, f"[simulated] {text.upper()}", "ru") == ""
    assert doubted(EN, f"[simulated] {SENTENCES['fr']}", "de") == "it seems to be French, not German"


@pytest.mark.parametrize(
    "text",
    [
        "Hewlett Packard Enterprise Server Manager",
        "2026-11-23 12:30 +49 30 1234567",
        "git checkout --track [-q|--quiet] <branch>",
        "https://example.org/a/long/path/to/the/page/that/is/meant",
        "Dr. Anna Schmidt, Berlin",
        "OK",
    ],
)
def test_names_numbers_and_code_stay_as_they_are(text):
    assert doubted(text, text, "de") == doubted(text, text, "ru") == ""


def test_between_languages_alike_a_short_text_may_stay():
    """Danish and Norwegian share whole sentences."""
    assert doubted("Han kommer hjem i dag.", "Han kommer hjem i dag.", "no", "da") == ""
    text = "jeg kommer hjem i dag og han kommer hjem i morgen med alle de andre fra byen"
    assert doubted(text, text, "no", "da") == "it is the text itself, not a translation"


@pytest.mark.parametrize(
    ("translation", "said"),
    [
        (VIER[: len(VIER) // 2 - 9], "it ends in the middle of a sentence"),
        (VIER[: VIER.index(".", 40) + 1], "it has 1 of 4 sentences"),
        ("Nein", "it ends in the middle of a sentence"),
        ("Nein!", "it has 1 of 4 sentences"),
        (" ".join(SENTENCES[code] for code in ("de", "nl", "en", "fr", "it", "es", "pt", "pl", "tr")), "times as long"),
        (f"{ZWEI} " + "und auch die Schauspieler " * 12, "it repeats itself"),
    ],
)
def test_a_translation_of_another_length_is_told(translation, said):
    assert said in doubted(FOUR, translation, "de")


def test_fewer_sentences_are_told():
    source = "He came. He saw the place. He liked it very much there. Then he went home to his mother again."
    assert doubted(source, "Er kam und sah den Ort, der ihm da sehr gut gefiel, und ging dann.", "de") == (
        "it has 1 of 4 sentences"
    )


def test_dense_scripts_say_as_much_with_less():
    assert doubted(SENTENCES["zh"], SENTENCES["en"], "en", "zh") == doubted(EN, SENTENCES["zh"], "zh") == ""
    assert doubted(FOUR.rstrip("."), SENTENCES["zh"][:8], "zh") == "it is only 9% as long as is usual"
    assert weight(SENTENCES["zh"]) == pytest.approx(weight(EN), rel=0.4)


def test_a_loop_that_the_source_has_is_none():
    source = "no " * 20
    assert doubted(source, "nein " * 20, "de") == ""
    assert doubted(EN, "nein " * 20, "de") == "it repeats itself"
    assert "repeats itself" in doubted(EN, "बारिश " * 20, "hi")


def test_a_repetition_of_long_parts_is_told_by_how_it_compresses():
    part = "Das Wetter war gestern abend so schlecht, dass am Ende wirklich niemand mehr aus dem Haus gehen wollte; "
    assert "repeats itself" in doubted(" ".join(SENTENCES[code] for code in SENTENCES), part * 7, "de")


@given(
    st.text(max_size=300),
    st.text(max_size=300),
    st.sampled_from([*M2M100, *INDIC]),
    st.sampled_from([*M2M100, *INDIC]),
)
def test_whatever_comes_is_judged(source, translation, source_lang, target_lang):
    """Reasons are short sentences; nothing crashes."""
    for said in doubts(source, translation, source_lang=source_lang, target_lang=target_lang):
        assert said.startswith("it ")
        assert len(said) < 100


# -- scripts ----------------------------------------------------------------------------------------------------


def test_letters_have_scripts():
    letters = {
        "a": "Latn",
        "é": "Latn",
        "я": "Cyrl",
        "ñ": "Latn",
        "語": "Hani",
        "の": "Kana",
        "한": "Hang",
        "α": "Grek",
    }
    assert {letter: script_of(letter) for letter in letters} == letters
    assert {script_of(character) for character in "1!\u2028\U0001f600"} == {""}


def test_every_language_of_the_models_is_written_in_something():
    assert {code: scripts_for(code) for code in ("de", "ja", "sr", "hi")} == {
        "de": {"Latn"},
        "ja": {"Kana", "Hani"},
        "sr": {"Cyrl", "Latn"},
        "hi": {"Deva"},
    }
    for code in INDIC:
        assert code.partition("_")[2] in scripts_for(iso(code)), code


@pytest.mark.parametrize("code", SENTENCES)
def test_the_scripts_of_languages_are_those_of_their_sentences(code):
    assert {script_of(letter) for letter in SENTENCES[code] if letter.isalpha()} <= scripts_for(code)

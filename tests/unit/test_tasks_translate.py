"""`translate`: languages found before anything is spent, long texts in pieces, and put together as they were."""

from dataclasses import replace

import orjson
import pytest

from pipeline.catalog import resolve_model
from pipeline.errors import InvalidRequest, PlanError, RecordUnusable, UnreadableAnswer
from pipeline.records import NO_PAYLOAD, Answer, Request, Usage
from pipeline.rows import outline_of
from pipeline.schemas import check_input, input_fields
from pipeline.tasks import TaskContext
from pipeline.tasks.languages import INDIC, M2M100, NOT_TAKEN, UnknownLanguage, indic_code, m2m100_code
from pipeline.tasks.translate import Translate
from pipeline.tasks.translation import between
from pipeline.tasks.translation.detection import Detected
from pipeline.template import TextTemplate
from tests.support.cli import ROOT
from tests.support.fakes import record
from tests.support.translating import row_of, said_by

M2M = "@cf/meta/m2m100-1.2b"
IT2 = "@cf/ai4bharat/indictrans2-en-indic-1B"
EN_DE = {"source_lang": "en", "target_lang": "de"}
LONG = "# Title\n\n" + "A sentence of some words here. " * 40 + "\n\n  - 1,234 %\n  - item two\r\n\r\nThe end.\n"


def translate(model=M2M, batch_size=None, **params):
    info = resolve_model("translate", model)
    fields = input_fields(info.name, info.task)
    return Translate(
        TaskContext(model=info, params=params, text=TextTemplate.parse("text"), fields=fields, batch_size=batch_size)
    )


def answered(adapter, item, said=str.upper):
    """Send each piece alone; the model shouts."""
    values = []
    for piece in adapter.pieces(item):
        payload = adapter.payload(Request((piece,)))
        text = payload["text"]
        result = {"translations": [said(text[0])]} if isinstance(text, list) else {"translated_text": said(text)}
        (value,) = adapter.parse(Request((piece,)), Answer(result, Usage(), 1.0))
        values.append(adapter.placed(piece, value))
    return adapter.row(item, values)


def passed(adapter, item):
    """The row of a record of which nothing is sent."""
    assert adapter.pieces(item) == []
    outline = adapter.outline(item)
    assert (outline.size, outline.expected, outline.ceiling, outline.n_pieces) == (0, 0.0, 0.0, 0)
    assert outline.payload_key != NO_PAYLOAD
    row = adapter.row(item, [])
    assert row.pop("warnings") == []
    return row


# -- sending ----------------------------------------------------------------------------------------------------


def test_m2m100_gets_one_text_and_two_codes():
    adapter = translate(source_lang="English", target_lang="pt-BR")
    assert adapter.payload(Request(tuple(adapter.pieces(record(0, "Hello"))))) == {
        "text": "Hello",
        "source_lang": "en",
        "target_lang": "pt",
    }
    assert adapter.max_pieces == 1


def test_indictrans2_gets_a_list_and_one_code():
    """Several texts travel together as long as they have one target."""
    adapter = translate(IT2, target_lang="Hindi")
    pieces = [adapter.pieces(record(n, text))[0] for n, text in enumerate(["One.", "Two."])]
    payload = adapter.payload(Request(tuple(pieces)))
    assert payload == {"text": ["One.", "Two."], "target_language": "hin_Deva"}
    assert check_input(IT2, payload) == []
    assert adapter.max_pieces > 1
    assert translate(IT2, batch_size=3, target_lang="hi").max_pieces == 3
    assert translate(IT2, target_lang_column="to").max_pieces == 1


def test_a_record_names_its_own_languages():
    """A cell wins; an empty one takes the job's language."""
    adapter = translate(source_lang="en", source_lang_column="from", target_lang_column="to")
    row = answered(adapter, record(0, "Hallo", **{"from": "German", "to": "fil"}))
    assert row == {"translation": "HALLO", "source_lang": "de", "target_lang": "tl", "warnings": []}
    assert answered(adapter, record(0, "x", **{"from": None, "to": "zh-Hant"}))["source_lang"] == "en"
    keys = {adapter.pieces(record(0, "x", to=to))[0].payload_key for to in ("de", "fr")}
    assert len(keys) == 2


@pytest.mark.parametrize(
    ("fields", "said"),
    [
        ({}, "names no language"),
        ({"to": 5}, "holds no language"),
        ({"to": "Klingonese"}, "Klingonese"),
        ({"to": "te"}, "Telugu"),
        ({"to": "en"}, "already"),
    ],
)
def test_a_record_without_a_usable_language_is_not_sent(fields, said):
    with pytest.raises(RecordUnusable, match=said):
        translate(source_lang="en", target_lang_column="to").pieces(record(0, "Hello", **fields))


@pytest.mark.parametrize(
    ("model", "params", "key", "said"),
    [
        (M2M, {}, "source_lang", "which language the texts are in"),
        (M2M, {"source_lang": "en"}, "target_lang", "target_lang_column"),
        (M2M, {"source_lang": "en", "target_lang": "Germn"}, "target_lang", r"did you mean de \(German\)"),
        (M2M, {"source_lang": "en", "target_lang": "te"}, "target_lang", "indictrans2"),
        (M2M, {"source_lang": "en", "target_lang": False}, "target_lang", "code or name"),
        (M2M, {"source_lang": "en", "target_lang": "en-GB"}, "target_lang", "already"),
        (M2M, {"source_lang": "en", "target_lang_column": 3}, "target_lang_column", "name of a column"),
        (M2M, {"target_language": "hin_Deva"}, "target_language", "target_lang"),
        (M2M, {"detect_language": "yes", **EN_DE}, "detect_language", "true or false"),
        (M2M, {"source_lang": "auto", "target_lang": "de", "detect_language": False}, "source_lang", "detector"),
        (M2M, {"source_lang_if_unsure": "en", **EN_DE}, "source_lang_if_unsure", "auto only"),
        (
            M2M,
            {"source_lang": "auto", "source_lang_if_unsure": "xx", "target_lang": "de"},
            "source_lang_if_unsure",
            "xx",
        ),
        (M2M, {"source_lang": "auto"}, "target_lang", "translated into"),
        (M2M, {"source_lang": "auto", "source_lang_if_unsure": "de", "target_lang": "de"}, "target_lang", "already"),
        (IT2, {}, "target_lang", "which language"),
        (IT2, {"target_lang": "ks"}, "target_lang", "kas_Arab or kas_Deva"),
        (IT2, {"target_lang": "hi", "source_lang": "de"}, "source_lang", "English"),
        (IT2, {"target_lang": "en"}, "target_lang", "already"),
    ],
)
def test_parameters_that_make_no_sense_are_refused(model, params, key, said):
    with pytest.raises(PlanError, match=said) as caught:
        translate(model, **params)
    assert caught.value.key == f"params.{key}"


def test_the_languages_are_those_the_models_publish():
    schema = orjson.loads((ROOT / "pipeline/data/schemas.json").read_bytes())["models"][IT2]["input"]
    assert set(INDIC) == set(
        schema["definitions"][schema["$ref"].rsplit("/", 1)[-1]]["properties"]["target_language"]["enum"]
    )
    assert len(M2M100) == 100
    assert not set(M2M100) & set(NOT_TAKEN)
    assert [m2m100_code(name) for name in M2M100.values()] == list(M2M100)


@pytest.mark.parametrize(
    ("given", "code"),
    [
        ("zh-Hans", "zh"),
        ("zh-Hant-TW", "zh"),
        ("nb", "no"),
        ("fil", "tl"),
        ("EN_us", "en"),
        (" German ", "de"),
        ("Chinese (Simplified)", "zh"),
        ("Norwegian Bokmål", "no"),
        ("iw", "he"),
        ("sr-Latn", "sr"),
    ],
)
def test_other_spellings_are_understood(given, code):
    assert m2m100_code(given) == code


@pytest.mark.parametrize("given", [*NOT_TAKEN, *NOT_TAKEN.values(), "mt-MT", "", "x" * 500])
def test_what_the_service_refuses_is_refused_here(given):
    with pytest.raises(UnknownLanguage) as caught:
        m2m100_code(given)
    assert len(str(caught.value)) < 600


@pytest.mark.parametrize(
    ("given", "code"),
    [
        ("hi", "hin_Deva"),
        ("hin", "hin_Deva"),
        ("HIN_deva", "hin_Deva"),
        ("kok", "gom_Deva"),
        ("sd-Arab", "snd_Arab"),
        ("Kashmiri-Deva", "kas_Deva"),
        ("oriya", "ory_Orya"),
        ("Mundari", "unr_Deva"),
    ],
)
def test_indic_codes_are_completed(given, code):
    assert indic_code(given) == code
    assert all(indic_code(full) == full for full in INDIC)


# -- long texts -------------------------------------------------------------------------------------------------


def test_a_long_text_is_cut_and_put_together_as_it_was():
    """White space, blank lines, markers and lines without letters stand where they stood."""
    adapter = translate(**EN_DE)
    pieces = adapter.pieces(record(0, LONG))
    assert len(pieces) > 4
    assert all(piece.size <= 400 for piece in pieces)
    assert [(piece.index, piece.n_pieces) for piece in pieces] == [(n, len(pieces)) for n in range(len(pieces))]
    assert not any("1,234" in str(piece.content) for piece in pieces)
    assert answered(adapter, record(0, LONG))["translation"] == LONG.upper()
    assert adapter.outline(record(0, LONG)) == outline_of(pieces)


def test_line_breaks_inside_a_piece_are_not_sent():
    wrapped = "This paragraph is wrapped at a fixed width, so a sentence\ngoes on in the next line."
    adapter = translate(**EN_DE)
    (piece,) = adapter.pieces(record(0, wrapped))
    assert adapter.payload(Request((piece,)))["text"] == wrapped.replace("\n", " ")


@pytest.mark.parametrize("text", ["12:30\n\n14:45", "…", "- 1\n- 2 %\n", "🙂"])
def test_a_text_without_letters_is_its_own_translation(text):
    """There is nothing a model could say to it."""
    adapter = translate(**EN_DE)
    assert passed(adapter, record(0, text)) == {"translation": text, "source_lang": "en", "target_lang": "de"}


def test_texts_without_letters_are_told_apart():
    """Each is its own, and one into another language is another."""
    adapter = translate(source_lang="en", target_lang="de", target_lang_column="to")
    keys = {adapter.outline(record(0, text, to=to)).payload_key for text in ("1", "2") for to in ("de", "fr")}
    assert len(keys) == 4


def test_sentences_that_touch_are_put_apart():
    """Chinese has no space between sentences, most other languages have."""
    text = "这是一个句子。" * 40
    row = answered(translate(source_lang="zh", target_lang="en"), record(0, text), said=lambda _: "A sentence.")
    assert set(row["translation"].split(". ")) <= {"A sentence", "A sentence."}


def test_what_lies_between_the_pieces_tells_records_apart():
    """Two texts with the same words and other numbers between them are not one answer."""
    adapter = translate(**EN_DE)
    keys = {adapter.outline(record(0, f"Hello there\n\n{n}\n\nGoodbye")).payload_key for n in (1, 2)}
    assert len(keys) == 2


def test_files_with_one_text_in_two_formats_are_told_apart():
    """They share the answer, not the row: a tag of the model's stands in a text, and is escaped in HTML."""
    adapter = translate(**EN_DE)
    items = [replace(record(0, "Hello you"), source=source) for source in ("a.txt", "b.txt", "a.md", "a.html")]
    rows = [answered(adapter, item, said=lambda _: "Hallo <b>du</b>")["translation"] for item in items]
    assert rows == [*["Hallo <b>du</b>"] * 2, r"Hallo \<b\>du\</b\>", "Hallo &lt;b&gt;du&lt;/b&gt;"]
    keys = [adapter.outline(item).payload_key for item in items]
    assert keys[0] == keys[1]
    assert len(set(keys)) == 3
    assert [adapter.pieces(item)[0].record_key for item in items] == keys
    assert len({adapter.pieces(item)[0].payload_key for item in items}) == 1


def test_a_piece_that_is_too_large_is_halved_and_still_fits_in():
    """Parts stand where their whole stood."""
    adapter = translate(**EN_DE)
    item = record(0, "First sentence is here, and it is long. Second one is there, as long as that.")
    (whole,) = adapter.pieces(item)
    parts = adapter.halved(whole)
    assert [part.part for part in parts] == [(n,) for n in range(len(parts))]
    assert len(parts) >= 2
    values = [
        adapter.placed(
            part,
            adapter.parse(Request((part,)), Answer({"translated_text": part.content.text.upper()}, Usage(), 1.0))[0],
        )
        for part in parts
    ]
    assert adapter.row(item, values)["translation"] == item.fields["text"].upper()
    assert sum(part.ceiling for part in parts) > whole.ceiling * 0.9
    assert not adapter.halved(adapter.pieces(record(0, "Short."))[0])


def test_the_ceiling_bounds_both_sides():
    """Bytes bound the input; the output is bounded by as much, never below what a decoder gone astray writes."""
    adapter = translate(**EN_DE)
    price = resolve_model("translate", M2M).input_per_m_tokens / 1e6
    (short,) = adapter.pieces(record(0, "Hi."))
    assert short.ceiling >= (3 + 256) * price
    (full,) = adapter.pieces(record(0, "word " * 79 + "word"))
    assert full.ceiling >= (399 + 399) * price
    assert adapter.cost(Request((full,))).ceiling == full.ceiling
    assert 0 < full.expected < full.ceiling / 2
    assert adapter.price(Usage(input_tokens=100, output_tokens=50)) == pytest.approx(150 * price)
    assert adapter.price(Usage()) is None


# -- languages that texts show ----------------------------------------------------------------------------------------

GERMAN = "Das Wetter war so schlecht, dass abends niemand mehr aus dem Haus gehen wollte."
ENGLISH = "The weather was so bad that nobody wanted to leave the house in the evening."
FRENCH = "Il faisait si mauvais temps que personne ne voulait sortir de la maison le soir."
BASQUE = "Eguraldia hain txarra zen, ezen inork ez baitzuen arratsaldean etxetik irten nahi izan."


def sent_as(adapter, item):
    """The languages of the requests for a record."""
    payloads = [adapter.payload(Request((piece,))) for piece in adapter.pieces(item)]
    assert payloads
    return {(payload["source_lang"], payload["target_lang"]) for payload in payloads}


@pytest.mark.parametrize("text", [GERMAN, f"# Titel\n\n- {GERMAN}\n" * 40])
def test_a_text_in_the_target_language_is_passed_through(text):
    """As it is, whatever language the job says its texts are in."""
    row = passed(translate(**EN_DE, detect_language=True), record(0, text))
    assert row == {"translation": text, "source_lang": "de", "target_lang": "de"}
    assert sent_as(translate(**EN_DE), record(0, text)) == {("en", "de")}


@pytest.mark.parametrize("text", [ENGLISH, FRENCH, "Guten Tag", f"{GERMAN} {ENGLISH}"])
def test_a_text_that_is_not_surely_in_the_target_language_is_sent(text):
    """As the job says it is."""
    assert sent_as(translate(**EN_DE, detect_language=True), record(0, text)) == {("en", "de")}


def test_auto_takes_the_language_that_each_text_shows():
    adapter = translate(source_lang="auto", target_lang="de")
    assert [sent_as(adapter, record(0, text)) for text in (ENGLISH, FRENCH)] == [{("en", "de")}, {("fr", "de")}]
    assert answered(adapter, record(0, FRENCH))["source_lang"] == "fr"
    assert passed(adapter, record(0, GERMAN))["source_lang"] == "de"
    assert passed(adapter, record(0, "12:30"))["source_lang"] is None
    keys = {
        translate(source_lang=lang, target_lang="de").outline(record(0, ENGLISH)).payload_key for lang in ("en", "auto")
    }
    assert len(keys) == 1


def test_a_text_that_does_not_show_its_language_takes_the_one_for_such():
    adapter = translate(source_lang="auto", source_lang_if_unsure="English", target_lang="de")
    assert sent_as(adapter, record(0, "Guten Tag")) == {("en", "de")}
    with pytest.raises(RecordUnusable, match=r"too short, mixed or doubtful.*source_lang_if_unsure"):
        translate(source_lang="auto", target_lang="de").pieces(record(0, "Guten Tag"))


def test_a_column_knows_better_than_the_detector():
    """But for texts that are in the target language already, and it may say that too."""
    adapter = translate(source_lang="auto", source_lang_column="from", target_lang="de")
    assert sent_as(adapter, record(0, ENGLISH, **{"from": "Dutch"})) == {("nl", "de")}
    assert sent_as(adapter, record(0, ENGLISH, **{"from": ""})) == {("en", "de")}
    assert passed(adapter, record(0, GERMAN, **{"from": "Dutch"}))["source_lang"] == "de"
    assert passed(adapter, record(0, "Hallo", **{"from": "de"}))["source_lang"] == "de"


def test_a_language_the_model_does_not_take_is_told():
    with pytest.raises(RecordUnusable, match=r"seems to be Basque: .*not a language of m2m100"):
        translate(source_lang="auto", target_lang="de").pieces(record(0, BASQUE))
    with pytest.raises(RecordUnusable, match=r"seems to be German: .*English"):
        translate(IT2, source_lang="auto", target_lang="hi").pieces(record(0, GERMAN))
    adapter = translate(IT2, source_lang="auto", target_lang="hi")
    (piece,) = adapter.pieces(record(0, ENGLISH))
    assert adapter.payload(Request((piece,)))["target_language"] == "hin_Deva"
    hindi = "मौसम इतना खराब था कि शाम को कोई भी घर से बाहर नहीं निकलना चाहता था।"
    assert passed(adapter, record(0, hindi)) == {
        "translation": hindi,
        "source_lang": "hin_Deva",
        "target_lang": "hin_Deva",
    }


def test_a_text_is_shown_to_the_detector_once_on_its_way(monkeypatch):
    """Planning, cutting, sending and the row ask for the same."""
    seen = []
    monkeypatch.setattr(between, "_MOST_TOLD", 3)
    monkeypatch.setattr(between, "detector", lambda: lambda text: seen.append(text) or Detected("en", 1.0))
    adapter = translate(source_lang="auto", target_lang="de")
    for _ in range(2):
        adapter.outline(record(0, ENGLISH))
        answered(adapter, record(0, ENGLISH))
    assert seen == [ENGLISH]
    for text in ("a b", "c d", "e f", ENGLISH):
        adapter.pieces(record(0, text))
    assert len(seen) == 5, "it forgets what it has seen when that is a lot"


# -- answers ----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "result",
    [
        None,
        [],
        "x",
        5,
        {},
        {"translated_text": None},
        {"translated_text": ""},
        {"translated_text": " \n"},
        {"translated_text": ["x"]},
        {"translations": ["x"]},
        {"response": "x"},
    ],
)
def test_anything_but_a_translation_is_unreadable(result):
    adapter = translate(**EN_DE)
    with pytest.raises(UnreadableAnswer):
        adapter.parse(Request(tuple(adapter.pieces(record(0, "Hello")))), Answer(result, Usage(), 1.0))


@pytest.mark.parametrize("given", [None, "x", [], ["x"], ["x", None], ["x", " "], ["x", "y", "z"], {"0": "x"}])
def test_as_many_translations_come_back_as_were_sent(given):
    adapter = translate(IT2, target_lang="hi")
    pieces = tuple(adapter.pieces(record(n, "Hello"))[0] for n in range(2))
    with pytest.raises(UnreadableAnswer):
        adapter.parse(Request(pieces), Answer({"translations": given}, Usage(), 1.0))


# -- doubts ---------------------------------------------------------------------------------------------------------

TEXT = f"{ENGLISH} That is why the theatre stayed empty, and the actors went home as well.\n\nThe end of it: 12:30."
IN_GERMAN = {
    ENGLISH: GERMAN,
    "That is why the theatre stayed empty, and the actors went home as well.": (
        "Deshalb blieb das Theater leer, und auch die Schauspieler gingen nach Hause."
    ),
    "The end of it: 12:30.": "Das Ende davon: 12:30.",
}


def goes_astray(*wrong):
    """A model that translates sentence by sentence, but some texts into French, and the whole of what is long."""

    def said(text):
        if text in wrong or text not in IN_GERMAN:
            return FRENCH if len(text) < 100 else f"{FRENCH} {FRENCH.replace('mauvais', 'beau')}"
        return IN_GERMAN[text]

    return said_by(said)


def test_a_doubtful_answer_stands_with_a_warning():
    """It is asked for once; the line and the reason are told."""
    row, street = row_of(translate(**EN_DE), TEXT, goes_astray())
    assert row["translation"].startswith(FRENCH)
    assert row["translation"].endswith("\n\nDas Ende davon: 12:30.")
    (warning,) = row["warnings"]
    assert warning.startswith('line 1: it seems to be French, not German; kept all the same: "The weather was')
    assert len(street.sent) == 2


def test_it_is_asked_for_again_in_parts_where_the_job_wants_it():
    """And what is in doubt no more has no warning."""
    row, street = row_of(translate(**EN_DE, retry_doubtful=True), TEXT, goes_astray())
    assert row["translation"] == " ".join(list(IN_GERMAN.values())[:2]) + "\n\nDas Ende davon: 12:30."
    assert row["warnings"] == []
    assert len(street.sent) == 4
    assert row["neurons"] == pytest.approx(0.4)


def test_of_both_answers_the_one_with_less_in_doubt_is_kept():
    """Half of it, or more, and the first one stays; each is asked for once."""
    first, second, _ = IN_GERMAN
    better, _ = row_of(translate(**EN_DE, retry_doubtful=True), TEXT, goes_astray(second))
    assert better["translation"].startswith(f"{GERMAN} {FRENCH}")
    assert [warning[:47] for warning in better["warnings"]] == ["line 1: it seems to be French, not German; kept"]
    worse, street = row_of(translate(**EN_DE, retry_doubtful=True), TEXT, goes_astray(first))
    assert worse["translation"].startswith(f"{FRENCH} Il faisait si beau temps")
    assert len(worse["warnings"]) == 1
    assert len(street.sent) == 4


def test_what_came_back_as_it_was_is_doubted_and_asked_for_again():
    row, _ = row_of(translate(**EN_DE), TEXT, said_by(str))
    assert len(row["warnings"]) == 1
    assert "it is the text itself, not a translation; left as in the source" in row["warnings"][0]
    whole = TEXT.partition("\n")[0]
    fixed, _ = row_of(translate(**EN_DE, retry_doubtful=True), TEXT, said_by(lambda text: IN_GERMAN.get(text, text)))
    assert whole not in fixed["translation"]
    assert fixed["warnings"] == []


def test_marks_stand_in_the_parts_too():
    """A doubt is no damage: what travels as marks stays where it is."""
    text = f"{ENGLISH} Open {{name}} and tell us what happened to the theatre in the evening of that day."
    said = said_by(lambda text: FRENCH if ENGLISH in text and "[X1X]" not in text else text.upper())
    row, street = row_of(translate(**EN_DE, retry_doubtful=True), text, said)
    assert "{name}" in row["translation"]
    assert [payload["text"].count("[X1X]") for _, payload in street.sent] == [1, 0, 1]


def test_a_part_that_cannot_be_had_leaves_the_first_answer():
    def said(_, payload):
        if payload["text"] in IN_GERMAN and payload["text"].startswith("The weather"):
            raise InvalidRequest(400, 5006, "no")
        return goes_astray()(_, payload)

    row, _ = row_of(translate(**EN_DE, retry_doubtful=True), TEXT, said)
    assert row["translation"].startswith(f"{FRENCH} Il faisait si beau temps")
    assert len(row["warnings"]) == 1

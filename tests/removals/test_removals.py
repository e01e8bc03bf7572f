"""No mechanism without a test: each is taken away in a copy of the project, and the tests named for it must fail there.

The catalogue is data (`tests/removals/catalogue`). That it fits the program is checked with every `make test`; that the
tests bite is tried by `make torture`, or alone by `pytest -m torture tests/removals`.
"""

import re
import shutil

import pytest

from tests.removals.catalogue import REMOVALS
from tests.removals.removal import BROKEN, ROOT, SUBJECTS, apply, copy_project, run_tests

TESTS = sorted({test for removal in REMOVALS for test in removal.tests})
ORIGIN = "tests/removals/test_origin.py"


@pytest.fixture
def copy(tmp_path):
    """The project once more; gone with the test, for there are many."""
    folder = tmp_path / "copy"
    folder.mkdir()
    yield copy_project(folder)
    shutil.rmtree(folder)


def test_each_removal_has_a_name_of_its_own():
    names = [removal.name for removal in REMOVALS]
    assert len(set(names)) == len(names)
    for removal in REMOVALS:
        assert removal.tests, removal.name
        assert removal.before != removal.after, removal.name


@pytest.mark.parametrize("removal", REMOVALS, ids=lambda removal: removal.name)
def test_what_is_removed_is_there(removal):
    assert (ROOT / removal.path).read_text(encoding="utf-8").count(removal.before) == 1


def test_the_tests_that_are_named_exist():
    """By file and name; that their parameters do is shown by the control below."""
    for test in TESTS:
        path, name = test.partition("[")[0].split("::")
        defined = re.findall(r"^(?:async )?def (\w+)", (ROOT / path).read_text(encoding="utf-8"), re.MULTILINE)
        assert name in defined, test


def test_every_promise_has_a_removal():
    """Each number of the page that names the tests, and each subject. The page tells how many removals there are."""
    page, all_of_them = (
        (ROOT / name).read_text(encoding="utf-8") for name in ("docs/reliability.md", "ARCHITECTURE.md")
    )
    broken = {removal.promise for removal in REMOVALS}
    assert broken >= SUBJECTS | numbers_in(page) > SUBJECTS
    assert broken <= SUBJECTS | numbers_in(all_of_them)
    assert f"names {len(REMOVALS)} mechanisms" in page


def numbers_in(page):
    """Of the promises in a table."""
    return set(re.findall(r"^\| (P\d+) \|", page, re.MULTILINE))


@pytest.mark.torture
@pytest.mark.timeout(900)
def test_the_copy_without_a_removal_passes(copy):
    """The control: what fails below fails for the removal. And it is the copy that every program was made of."""
    ran = run_tests(copy, ORIGIN, *TESTS, longest_s=800)
    assert ran.code == 0, ran.said[-4000:]
    assert " skipped" not in ran.said, ran.said[-4000:]


@pytest.mark.torture
@pytest.mark.timeout(300)
@pytest.mark.parametrize("removal", REMOVALS, ids=lambda removal: removal.name)
def test_without_it_the_tests_fail(copy, removal):
    apply(removal, copy)
    ran = run_tests(copy, "--timeout", "60", *removal.tests)
    assert ran.code == 1, ran.said[-4000:]
    assert not ran.errors, ran.said[-4000:]
    for test in removal.tests:
        assert ran.has_failed(test), f"{test} does not notice\n{ran.said[-4000:]}"
    assert not BROKEN.search(ran.said), ran.said[-4000:]

"""What others wrote is shown, and steers nothing."""

import pytest

from pipeline.cli.progress import Display
from pipeline.cli.terminal import shown
from pipeline.control import Snapshot
from pipeline.events import Counters


@pytest.mark.parametrize(
    ("text", "safe"),
    [
        ("plain", "plain"),
        ("two\nlines", "two\nlines"),
        ("grüße 日本 🙂\u3000\u00a0", "grüße 日本 🙂\u3000\u00a0"),
        ("\x1b[2J\x1b]0;owned\x07", "\\x1b[2J\\x1b]0;owned\\x07"),
        ("\x9b31m\x7f\r\t\0", "\\x9b31m\\x7f\\r\\t\\x00"),
        ("\u202egpj.exe\u2066", "\\u202egpj.exe\\u2066"),
        ("\u2028\ufeff\ud800\U000e0041", "\\u2028\\ufeff\\ud800\\U000e0041"),
    ],
)
def test_what_steers_a_terminal_is_escaped(text, safe):
    """Control, format and direction signs, line separators and halves of characters; nothing else."""
    assert shown(text) == safe


def test_a_line_is_one_line(capsys):
    """An id with a line break cannot pretend to be a line of ours."""
    Display("job", quiet=True).line("failed: a\n12:00:00 completed\x1b[1A")
    assert capsys.readouterr().err.endswith("failed: a 12:00:00 completed\\x1b[1A\n")


def test_what_is_in_flight_is_as_of_now():
    """The counters are live: a word about what is in flight is true when it is said, and not half a second before."""
    display, counters = Display("job", quiet=True), Counters()
    assert display.in_flight == 0
    display.show(Snapshot("sending", 10, 4, 0, counters, None, 0.0))
    counters.in_flight = 3
    assert display.in_flight == 3


@pytest.mark.parametrize("simulated", [True, False])
def test_simulated_neurons_are_marked_while_a_run_goes_on(capsys, monkeypatch, simulated):
    """Nobody takes a rehearsal's figures for money spent."""
    monkeypatch.setattr("pipeline.cli.progress.LOG_FIRST_S", 0.0)
    snapshot = Snapshot("sending", 10, 4, 0, Counters(), None, 0.0)
    Display("job", simulated=simulated).show(snapshot)
    assert ("job (simulated): " in capsys.readouterr().err) is simulated

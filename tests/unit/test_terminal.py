"""What others wrote is shown, and steers nothing."""

import pytest

from pipeline.cli.progress import Display
from pipeline.cli.terminal import shown


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

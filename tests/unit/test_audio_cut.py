"""Where a recording is cut: everything is covered, nothing is too long, and nobody is cut off who pauses."""

from itertools import pairwise

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from pipeline.audio import Rules, Span, cut, listen, quietest
from pipeline.audio.cut import EARLIEST
from pipeline.audio.listen import FRAME_S, STEP_S, levels_of, quiet_of
from pipeline.errors import RecordUnusable
from tests.support.sounds import RATE, SAMPLES, talk

STRETCHES = st.lists(st.tuples(st.booleans(), st.integers(1, 1500)), max_size=25)
RULES = st.builds(
    Rules,
    longest_s=st.floats(5.0, 60.0),
    overlap_s=st.floats(0.0, 0.8),
    skip_silence=st.booleans(),
    silence_s=st.just(2.0),
)


def flags_of(stretches):
    return np.repeat(
        np.array([flag for flag, _ in stretches], dtype=bool), np.array([n for _, n in stretches], dtype=int)
    )


def level_of(speech, seed=1):
    return (np.where(speech, -20.0, -70.0) + np.random.default_rng(seed).normal(0, 2, len(speech))).astype(np.float32)


def silences(speech, least_s):
    edges = np.flatnonzero(np.diff(np.concatenate(([False], ~speech, [False])).astype(int)))
    return [(a, b) for a, b in zip(edges[::2], edges[1::2], strict=True) if (b - a) * FRAME_S >= least_s - 1e-9]


@given(STRETCHES, RULES, st.floats(0.0, 0.019))
@settings(max_examples=400, deadline=None)
def test_what_holds_for_every_recording(stretches, rules, short):
    speech = flags_of(stretches)
    seconds = max(0.0, len(speech) * FRAME_S - short)
    spans = cut(speech, level_of(speech), frame_s=FRAME_S, seconds=seconds, rules=rules)
    assert spans
    frames = np.zeros(len(speech), dtype=int)
    for before, after in zip([None, *spans], spans, strict=False):
        assert 0.0 <= after.start <= after.end <= max(seconds, 1.0)
        assert after.end - after.start <= rules.longest_s + 1e-6
        assert before is None or after.start > before.start
        first, last = round(after.start / FRAME_S), int(np.ceil(after.end / FRAME_S - 1e-6))
        frames[first:last] += 1
        assert after.speech == pytest.approx(speech[first:last].sum() * FRAME_S, abs=0.021)
    if seconds:
        assert frames[speech].all() if rules.skip_silence else frames.all()
    allowed = silences(speech, 0.2)
    most = int(rules.longest_s / FRAME_S + 1e-9)
    for before, after in pairwise(spans):
        start = round(before.start / FRAME_S)
        low, high = start + max(1, int(most * EARLIEST)), start + most
        has_pause = any(max(a, low) < min(b, high) for a, b in allowed)
        if after.start < before.end - 1e-9:
            assert not has_pause, "they overlap although somebody paused"
            assert before.end - after.start <= rules.overlap_s + 2 * FRAME_S
        elif after.start == pytest.approx(before.end) and rules.overlap_s > 0.1:
            at = round(after.start / FRAME_S)
            assert any(a <= at <= b for a, b in allowed), "cut in the middle of a word"


def test_the_cut_is_in_the_middle_of_the_longest_pause():
    speech = flags_of([(True, 700), (False, 20), (True, 300), (False, 60), (True, 200), (False, 12), (True, 500)])
    first, second = cut(speech, level_of(speech), frame_s=FRAME_S, seconds=len(speech) * FRAME_S, rules=Rules())
    assert first.end == second.start == pytest.approx((700 + 20 + 300 + 30) * FRAME_S)


def test_of_equal_pauses_the_much_quieter_one_else_the_later_one():
    speech = flags_of([(True, 1000), (False, 50), (True, 20), (False, 50), (True, 900)])
    level = level_of(speech)
    for quiet, expected in ((-95.0, 1025), (-45.0, 1095)):
        level[1000:1050], level[1070:1120] = quiet, -40.0
        spans = cut(speech, level, frame_s=FRAME_S, seconds=len(speech) * FRAME_S, rules=Rules())
        assert spans[0].end == pytest.approx(expected * FRAME_S)


def test_the_silence_at_the_end_is_no_piece_of_its_own():
    """A model makes up words where it hears nothing else; where nobody pauses, that is still the better cut."""
    stretches = [(True, 600), (False, 15), (True, 835), (False, 200)]
    speech = flags_of(stretches)
    spans = cut(speech, level_of(speech), frame_s=FRAME_S, seconds=33.0, rules=Rules())
    assert [(span.start, span.end) for span in spans] == [(0.0, pytest.approx(12.14)), (pytest.approx(12.14), 33.0)]
    breathless = flags_of([(True, 1450), (False, 200)])
    spans = cut(breathless, level_of(breathless), frame_s=FRAME_S, seconds=33.0, rules=Rules())
    assert [span.speech for span in spans] == [pytest.approx(29.0), 0.0]


def test_without_a_pause_both_pieces_have_the_second_around_the_cut():
    speech = np.ones(2500, dtype=bool)
    level = np.full(2500, -20.0, dtype=np.float32)
    level[1200:1210] = -35.0
    first, second = cut(speech, level, frame_s=FRAME_S, seconds=50.0, rules=Rules())
    assert first.end - second.start == pytest.approx(1.0)
    assert (first.end + second.start) / 2 == pytest.approx(1205 * FRAME_S, abs=0.1)


def test_the_closure_of_a_consonant_is_no_pause():
    """A word is not cut at its "t"."""
    speech = flags_of([(True, 1100), (False, 9), (True, 1200)])
    first, second = cut(speech, level_of(speech), frame_s=FRAME_S, seconds=len(speech) * FRAME_S, rules=Rules())
    assert first.end - second.start == pytest.approx(1.0)


def test_silence_that_is_left_out():
    """Only what is longer than two seconds, but for a margin on both sides."""
    speech = flags_of([(False, 400), (True, 300), (False, 90), (True, 300), (False, 1000), (True, 100)])
    spans = cut(
        speech, level_of(speech), frame_s=FRAME_S, seconds=len(speech) * FRAME_S, rules=Rules(skip_silence=True)
    )
    assert [(round(s.start, 2), round(s.end, 2)) for s in spans] == [(7.84, 21.96), (41.64, 43.8)]


def test_where_nobody_speaks_a_second_is_sent():
    """A row needs an answer."""
    speech = np.zeros(500, dtype=bool)
    rules = Rules(skip_silence=True)
    assert cut(speech, level_of(speech), frame_s=FRAME_S, seconds=10.0, rules=rules) == [Span(0.0, 1.0, 0.0)]


@given(st.binary(min_size=10, max_size=400), st.floats(0, 20), st.floats(1, 20))
def test_the_quietest_moment_is_near_the_middle(levels, start, length):
    at = quietest(levels, STEP_S, start, start + length)
    assert start + length / 3 - STEP_S <= at <= start + 2 * length / 3 + STEP_S


def test_the_quietest_moment_is_the_quietest():
    levels = bytearray([80] * 100)
    levels[44] = 10
    assert quietest(bytes(levels), STEP_S, 0.0, 10.0) == pytest.approx(4.45)


# -- what is heard --------------------------------------------------------------------------------------------------


def heard(tmp_path, samples):
    path = tmp_path / "a.wav"
    SAMPLES.write_wav(path, samples)
    return listen(path, told=len(samples) / RATE)


@pytest.mark.parametrize("gain", [1.0, 0.1, 0.02])
def test_speech_is_found_where_it_is(tmp_path, gain):
    """To 50 ms, loud and soft."""
    made = talk(60.0, seed=5)
    _, frames = heard(tmp_path, (made.samples * gain).astype(np.int16))
    truth = np.zeros(len(frames.speech), dtype=bool)
    for start, end in made.phrases:
        truth[round(start / FRAME_S) : round(end / FRAME_S)] = True
    inside = frames.speech[truth].mean()
    near = np.convolve(truth, np.ones(5), mode="same") > 0
    assert inside > 0.7  # words are 50 to 90 ms apart
    assert frames.speech[~near].mean() < 0.01


def test_a_recording_without_a_pause_is_speech_from_end_to_end(tmp_path):
    made = talk(30.0, seed=6, manner=SAMPLES.BREATHLESS)
    _, frames = heard(tmp_path, made.samples[RATE:-RATE])
    assert frames.speech.mean() > 0.7


def test_noise_and_silence_are_no_speech(tmp_path):
    for samples in (np.zeros(5 * RATE, np.int16), np.random.default_rng(1).normal(0, 30, 5 * RATE).astype(np.int16)):
        _, frames = heard(tmp_path, samples)
        assert frames.speech.mean() < 0.1


def test_levels_are_kept_by_tenths_of_a_second(tmp_path):
    samples = np.zeros(2 * RATE + 77, np.int16)
    samples[RATE : RATE + RATE // 10] = 16_384
    track, frames = heard(tmp_path, samples)
    assert len(track.levels) == 21
    assert list(track.levels[9:12]) == [0, 94, 0]
    assert len(frames.level) == len(frames.speech) == 101


def test_the_level_of_full_scale():
    assert levels_of(np.full(320, 32767, np.int16))[0] == pytest.approx(0.0, abs=0.01)
    assert levels_of(np.zeros(320, np.int16))[0] == -100.0
    assert quiet_of(np.empty(0, np.float32)) == -100.0


def test_the_quiet_of_a_recording():
    """Of one without a pause it lies well below its words."""
    assert quiet_of(np.full(100, -20.0, np.float32)) == -45.0
    assert quiet_of(np.repeat(np.array([-70.0, -20.0], np.float32), 50)) == -64.0
    assert quiet_of(np.full(100, -100.0, np.float32)) == -90.0


def test_a_run_that_ends_does_not_wait_for_the_whole_file(tmp_path):
    from pipeline.audio.listen import Stopped

    made = talk(20.0, seed=7)
    path = tmp_path / "a.wav"
    SAMPLES.write_wav(path, made.samples)
    asked = []
    with pytest.raises(Stopped):
        listen(path, told=20.0, is_stopped=lambda: asked.append(1) or len(asked) > 3)
    assert len(asked) == 4


def test_a_file_of_no_samples(tmp_path):
    path = tmp_path / "a.wav"
    SAMPLES.write_wav(path, np.empty(0, np.int16))
    with pytest.raises(RecordUnusable):
        listen(path, told=0.0)

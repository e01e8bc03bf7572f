"""Any container becomes one timeline, and a window of it is the same as that part of the whole."""

import random
from fractions import Fraction

import numpy as np
import pytest

from pipeline.audio import duration_of, encode, listen
from pipeline.audio.decode import RATE, Recording, window
from pipeline.audio.extra import need_extra
from pipeline.errors import PlanError, RecordUnusable
from tests.support.sounds import CONTAINERS, lag, put_sound, talk, write_as

LENGTH = 14.0
MADE = talk(LENGTH, seed=11)
PNG = b"\x89PNG\r\n\x1a\n"
PRIMED = {"aac"}  # a bare stream says nothing of the samples its encoder put in front


def whole(path):
    with Recording(path) as recording:
        return np.concatenate(list(recording.blocks()))


@pytest.fixture(scope="module")
def files(tmp_path_factory):
    folder = tmp_path_factory.mktemp("sounds")
    return {kind: write_as(folder, kind, MADE.samples) for kind in CONTAINERS}


@pytest.fixture(scope="module")
def known(files):
    """What listening to each file and decoding all of it gives."""
    return {kind: (path, listen(path, told=LENGTH)[0], whole(path)) for kind, path in files.items()}


@pytest.mark.parametrize("kind", CONTAINERS)
def test_the_length_of_a_recording(known, kind):
    """By its header and decoded: right to 20 ms, for a bare AAC stream to the length of its priming."""
    allowed = 0.05 if kind in PRIMED else 0.0201
    path, track, _ = known[kind]
    assert track.seconds == pytest.approx(LENGTH, abs=allowed)
    assert duration_of(path) == pytest.approx(LENGTH, abs=0.03 if kind == "mka" else allowed)
    assert track.problems == ()


@pytest.mark.parametrize("kind", CONTAINERS)
def test_what_is_decoded_is_where_it_was(known, kind):
    assert abs(lag(MADE.samples, known[kind][2][: len(MADE.samples)])) <= (0.03 if kind in PRIMED else 0.001) * RATE


@pytest.mark.parametrize("kind", CONTAINERS)
@pytest.mark.parametrize(("start", "end"), [(0.0, 3.0), (0.3, 1.0), (7.53, 10.2), (11.0, LENGTH)])
def test_a_window_is_that_part_of_the_whole(known, kind, start, end):
    """To 2 ms; also where the container cannot be sought by time."""
    _, track, all_of_it = known[kind]
    found = track.window(start, end)
    expected = all_of_it[round(start * RATE) : round(end * RATE)]
    assert len(found) == round((end - start) * RATE)
    assert abs(lag(expected, found[: len(expected)])) <= 0.002 * RATE
    assert np.corrcoef(expected, np.roll(found[: len(expected)], -lag(expected, found[: len(expected)])))[0, 1] > 0.98


@pytest.mark.parametrize("kind", ["wav", "mp3", "m4a", "ogg"])
def test_a_header_that_promises_too_little_moves_nothing(files, kind):
    """What was heard is what there is: a piece behind the promised end is the sound of its place."""
    track, _ = listen(files[kind], told=1.0)
    assert track.seconds == pytest.approx(LENGTH, abs=0.03)
    found, expected = track.window(11.0, 13.0), whole(files[kind])[11 * RATE : 13 * RATE]
    assert abs(lag(expected, found)) <= 0.002 * RATE
    assert np.corrcoef(expected, found)[0, 1] > 0.98


def with_sizes(content, size):
    """A WAV file whose two length fields say something else."""
    return content[:4] + size + content[8:40] + size + content[44:]


@pytest.mark.parametrize("size", [b"\xff\xff\xff\xff", b"\x00\xf0\xff\x7f", bytes(4)])
def test_a_wav_whose_length_was_never_filled_in(tmp_path, size):
    """Recorded into a pipe: the header holds a placeholder, not a promise."""
    path = tmp_path / "piped.wav"
    path.write_bytes(with_sizes(encode(MADE.samples, "wav"), size))
    told = duration_of(path)
    assert told == pytest.approx(LENGTH)
    assert listen(path, told=told)[0].problems == ()


def test_a_compressed_wav_is_as_long_as_it_is(tmp_path):
    """Telephone systems write such: what a block holds is not what mutagen counts."""
    import av

    path = tmp_path / "call.wav"
    with av.open(str(path), "w") as out:
        stream = out.add_stream("adpcm_ms", rate=8_000, layout="mono")
        put_sound(out, stream, MADE.samples[::2].copy(), 8_000)
    assert duration_of(path) == pytest.approx(LENGTH, abs=0.5)


def test_a_wav_that_breaks_off_keeps_its_promise(files, tmp_path):
    path = tmp_path / "half.wav"
    path.write_bytes(files["wav"].read_bytes()[:200_000])
    assert duration_of(path) == pytest.approx(LENGTH)


def test_a_window_is_read_from_near_its_place(tmp_path, monkeypatch):
    """Not from the beginning: the last seconds of a long file cost what the first cost."""
    long = np.tile(MADE.samples, 4)
    counted = []
    runs = Recording.runs

    def counting(self):
        for at, samples in runs(self):
            counted.append(len(samples))
            yield at, samples

    monkeypatch.setattr(Recording, "runs", counting)
    for kind in ("wav", "mp3", "ogg", "flac"):
        path = write_as(tmp_path, kind, long)
        track, _ = listen(path, told=4 * LENGTH)
        counted.clear()
        track.window(50.0, 52.0)
        assert sum(counted) < 12 * RATE, kind


def test_a_seek_that_ends_up_too_late_is_made_good(files, monkeypatch):
    """Some files have seek tables that are wrong."""
    seek = Recording.seek
    monkeypatch.setattr(Recording, "seek", lambda self, seconds: seek(self, seconds + 3.0))
    found = window(files["flac"], 5.0, 7.0, origin=0.0)
    assert np.array_equal(found, MADE.samples[5 * RATE : 7 * RATE])


def test_no_sample_is_lost_in_the_filter(known):
    """What the resampler still holds at the end is part of the recording."""
    assert len(known["44100.wav"][2]) == round(LENGTH * RATE)


def test_what_lies_behind_the_end_is_silence(files):
    found = window(files["wav"], LENGTH - 0.5, LENGTH + 1.0, origin=0.0)
    assert not found[round(0.5 * RATE) :].any()
    assert found[: round(0.5 * RATE)].any()


def write_stamped(path, parts):
    """Write stretches of five seconds, given as (time stamp, second of the sound), as they are."""
    import av

    with av.open(str(path), "w") as out:
        stream = out.add_stream("pcm_s16le", rate=RATE, layout="mono")
        for start, first in parts:
            for at in range(0, 5 * RATE, 4000):
                samples = MADE.samples[first * RATE + at : first * RATE + at + 4000]
                packet = av.Packet(samples.tobytes())
                packet.stream, packet.time_base = stream, Fraction(1, RATE)
                packet.pts = packet.dts = round(start * RATE) + at
                out.mux(packet)
    return path


def test_a_gap_between_time_stamps_is_silence(tmp_path):
    """A recording that was paused keeps its clock."""
    path = write_stamped(tmp_path / "paused.mka", [(0.0, 0), (12.0, 5)])
    samples = whole(path)
    assert len(samples) / RATE == pytest.approx(17.0, abs=0.01)
    assert not samples[round(5.01 * RATE) : round(11.99 * RATE)].any()
    assert np.array_equal(samples[12 * RATE + 100 : 17 * RATE - 200], MADE.samples[5 * RATE + 100 : 10 * RATE - 200])
    assert np.array_equal(window(path, 12.5, 13.0, origin=0.0), samples[round(12.5 * RATE) : 13 * RATE])


def test_a_video_gives_its_sound_at_the_time_of_its_pictures(tmp_path):
    """Subtitles count from the first picture, also where the sound begins later."""
    import av

    path = tmp_path / "film.mp4"
    with av.open(str(path), "w") as out:
        pictures = out.add_stream("mpeg4", rate=10)
        pictures.width = pictures.height = 64
        pictures.pix_fmt = "yuv420p"
        sound = out.add_stream("aac", rate=RATE, layout="mono")
        for _ in range(60):
            out.mux(pictures.encode(av.VideoFrame.from_ndarray(np.zeros((64, 64, 3), np.uint8), format="rgb24")))
        out.mux(pictures.encode(None))
        put_sound(out, sound, MADE.samples[: 5 * RATE], RATE, start_s=1.0)
    samples = whole(path)
    assert not samples[: round(0.9 * RATE)].any()
    assert abs(lag(MADE.samples[: 4 * RATE], samples[RATE : 5 * RATE])) <= 0.02 * RATE


@pytest.mark.parametrize(
    ("name", "content", "said"),
    [
        ("a.mp3", b"", "cannot be read as a recording"),
        ("a.wav", b"RIFF" + bytes(40), "cannot be read as a recording"),
        ("a.ogg", b"this is a text, not a sound", "cannot be read as a recording"),
        ("a.flac", bytes(5000), "holds no sound that can be decoded"),
    ],
)
def test_a_file_that_is_no_recording(tmp_path, name, content, said):
    """It says so, with its name."""
    path = tmp_path / name
    path.write_bytes(content)
    for look in (duration_of, lambda path: listen(path, told=1.0)):
        with pytest.raises(RecordUnusable, match=said) as caught:
            look(path)
        assert name in str(caught.value)


def test_pictures_without_sound(tmp_path):
    import av

    path = tmp_path / "silent.mp4"
    with av.open(str(path), "w") as out:
        pictures = out.add_stream("mpeg4", rate=10)
        pictures.width = pictures.height = 64
        pictures.pix_fmt = "yuv420p"
        out.mux(pictures.encode(av.VideoFrame.from_ndarray(np.zeros((64, 64, 3), np.uint8), format="rgb24")))
        out.mux(pictures.encode(None))
    with pytest.raises(RecordUnusable, match="holds no sound"):
        duration_of(path)


@pytest.mark.parametrize("kind", ["wav", "mp3", "ogg", "flac"])
def test_a_file_that_breaks_off_is_heard_as_far_as_it_goes(files, tmp_path, kind):
    """And it is told how much is missing."""
    path = tmp_path / f"half.{kind}"
    content = files[kind].read_bytes()
    path.write_bytes(content[: len(content) // 2])
    track, _ = listen(path, told=LENGTH)
    assert 0.2 * LENGTH < track.seconds < 0.8 * LENGTH
    (problem,) = [each for each in track.problems if "breaks off" in each]
    assert f"{LENGTH} s" in problem


def test_damage_in_the_middle_is_counted(files, tmp_path):
    """What cannot be decoded is left out and told, and the rest keeps its times."""
    path = tmp_path / "scratched.mp3"
    content = bytearray(files["mp3"].read_bytes())
    middle = len(content) // 2
    content[middle : middle + 2000] = bytes(2000)
    path.write_bytes(content)
    track, _ = listen(path, told=LENGTH)
    assert track.seconds == pytest.approx(LENGTH, abs=0.3)


@pytest.mark.parametrize("kind", CONTAINERS)
def test_a_damaged_file_is_heard_or_refused_and_nothing_worse(files, tmp_path, kind):
    """Bytes overwritten, removed and put in between, above all in the header."""
    chance = random.Random(kind)
    path = tmp_path / f"damaged.{kind}"
    for _ in range(12):
        content = bytearray(files[kind].read_bytes()[:60_000])
        for _ in range(chance.choice([1, 4, 30])):
            at = chance.randrange(chance.choice([64, 1024, len(content)]))
            how = chance.randrange(3)
            content[at : at + how] = bytes(chance.randrange(256) for _ in range(chance.choice([how, 1, 40])))
        path.write_bytes(content)
        try:
            told = duration_of(path)
            track, frames = listen(path, told=told)
            assert len(track.window(0.0, 0.5)) == RATE // 2
        except RecordUnusable as unusable:
            assert "damaged" in str(unusable)  # noqa: PT017 - most are heard all the same
            continue
        assert told > 0
        assert len(frames.speech) * 0.02 < 1.02 * told + 20.0


def test_a_time_stamp_far_behind_the_end_is_damage(tmp_path):
    """Half an hour of silence would be sent, and paid."""
    path = write_stamped(tmp_path / "leap.mka", [(0.0, 0), (2_000.0, 5)])
    assert listen(path, told=10.0)[0].seconds == pytest.approx(10.0, abs=0.01)
    assert listen(path, told=2_005.0)[0].seconds == pytest.approx(2_005.0, abs=0.01)


def test_pictures_in_the_tags_of_an_mp3_change_nothing(files, tmp_path):
    """Neither its length nor its times."""
    from mutagen.id3 import APIC, ID3

    path = tmp_path / "cover.mp3"
    path.write_bytes(files["mp3"].read_bytes())
    tags = ID3()
    tags.add(APIC(mime="image/png", type=3, data=PNG + bytes(200_000)))
    tags.save(path)
    assert duration_of(path) == pytest.approx(LENGTH, abs=0.01)
    track, _ = listen(path, told=LENGTH)
    assert track.seconds == pytest.approx(LENGTH, abs=0.01)
    assert np.array_equal(whole(path), whole(files["mp3"]))
    assert abs(lag(whole(path)[10 * RATE : 12 * RATE], track.window(10.0, 12.0))) <= 0.002 * RATE


def test_files_put_one_behind_the_other(files, tmp_path, monkeypatch):
    """An MP3 may change its sample rate on the way."""
    monkeypatch.setitem(CONTAINERS, "low.mp3", ("libmp3lame", None, 22_050))
    other = write_as(tmp_path, "low.mp3", MADE.samples)
    path = tmp_path / "both.mp3"
    path.write_bytes(files["mp3"].read_bytes() + other.read_bytes())
    assert listen(path, told=2 * LENGTH)[0].seconds > 1.9 * LENGTH


def test_two_channels_are_mixed(tmp_path):
    import wave

    path = tmp_path / "stereo.wav"
    left = MADE.samples[: 5 * RATE]
    with wave.open(str(path), "wb") as file:
        file.setnchannels(2)
        file.setsampwidth(2)
        file.setframerate(RATE)
        file.writeframes(np.stack([left, np.zeros_like(left)], axis=1).tobytes())
    assert duration_of(path) == pytest.approx(5.0)
    assert np.abs(whole(path).astype(int) - left / 2).max() <= 2


@pytest.mark.parametrize("kind", ["wav", "flac"])
def test_a_piece_as_a_file_holds_the_same_samples(tmp_path, kind):
    samples = MADE.samples[: 7 * RATE + 123]
    path = tmp_path / f"piece.{kind}"
    path.write_bytes(encode(samples, kind))
    assert np.array_equal(whole(path), samples)
    assert path.stat().st_size <= (32_000 * 7.01 + 44 if kind == "wav" else 32_000 * 5)


def test_half_a_minute_of_wav_stays_below_a_megabyte():
    assert len(encode(np.zeros(30 * RATE, np.int16), "wav")) == 960_044


def test_without_the_extra_it_is_told_how_to_get_it(monkeypatch):
    monkeypatch.setattr("pipeline.audio.extra.find_spec", lambda _: None)
    with pytest.raises(PlanError, match=r'pip install "workers-ai-batch\[audio\]"'):
        need_extra()

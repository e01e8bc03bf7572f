"""`transcribe`: what is sent of a recording, in which stages, and what a row says."""

import base64
import io
import json
import wave

import numpy as np
import pytest

from pipeline.catalog import resolve_model
from pipeline.errors import PlanError, RecordUnusable, UnreadableAnswer
from pipeline.records import Answer, Raw, Record, Request, Usage, record_key
from pipeline.rows import outline_of
from pipeline.schemas import check_input, input_fields
from pipeline.tasks import TASKS, TaskContext
from pipeline.template import TextTemplate
from tests.support.sounds import RATE, SAMPLES, talk, write_as

TURBO = "@cf/openai/whisper-large-v3-turbo"
WHISPER = "@cf/openai/whisper"
NOVA = "@cf/deepgram/nova-3"
LOOP = "thank you very much " * 8


def transcribe(model=TURBO, *, subtitles=(), **params):
    info = resolve_model("transcribe", model)
    fields = input_fields(info.name, info.task) or frozenset()
    return TASKS["transcribe"].adapter(
        TaskContext(
            model=info, params=params, text=TextTemplate.parse("path"), fields=fields, subtitles=tuple(subtitles)
        )
    )


def recorded(path, *, name="r0"):
    return Record(ordinal=0, id=name, source=str(path), row=0, fields={"path": str(path)})


@pytest.fixture(scope="module")
def interview(tmp_path_factory):
    path = tmp_path_factory.mktemp("sounds") / "interview.wav"
    SAMPLES.write_wav(path, talk(95.0, seed=1).samples)
    return recorded(path)


def turbo(text, *, language="en", probability=0.97, start=0.5, end=2.0, **figures):
    segment = {"start": start, "end": end, "text": text, "no_speech_prob": 0.01, "avg_logprob": -0.2, **figures}
    info = {"language": language, "language_probability": probability}
    return {"text": text, "segments": [segment] if text else [], "transcription_info": info}


def answered(adapter, pieces, results):
    """(piece, value) pairs; `results` are answers, or one for all."""
    results = results if isinstance(results, list) else [results] * len(pieces)
    return [
        (piece, adapter.placed(piece, written_down(adapter.parse(Request((piece,)), Answer(result, Usage(), 1.0))[0])))
        for piece, result in zip(pieces, results, strict=True)
    ]


def written_down(value):
    """What the memory of pieces gives back."""
    return json.loads(json.dumps(value))


def always(answer):
    return lambda _: answer


def whole_row(adapter, record, say):
    """Take a record through all its stages; `say` makes an answer of a clip. Returns the row and all clips sent."""
    pieces, clips = adapter.pieces(record), []
    while True:
        clips += [piece.content for piece in pieces]
        pairs = answered(adapter, pieces, [say(piece.content) for piece in pieces])
        pieces = adapter.follow_up(record, pairs)
        if not pieces:
            return adapter.row(record, [value for _, value in pairs]), clips
        assert [(piece.index, piece.n_pieces) for piece in pieces] == [(n, len(pieces)) for n in range(len(pieces))]
        assert {piece.stage for piece in pieces} == {pairs[0][0].stage + 1}


# -- what is sent ---------------------------------------------------------------------------------------------------


def samples_of(payload):
    with wave.open(io.BytesIO(base64.b64decode(payload["audio"]))) as file:
        return np.frombuffer(file.readframes(file.getnframes()), "<i2")


def test_pieces_are_sound_of_their_place(interview):
    """A piece is the file's own samples; it carries none until it is sent."""
    adapter = transcribe(language="en", beam_size=3)
    pieces = adapter.pieces(interview)
    assert len(pieces) == 4
    assert all(len(str(piece.content)) < 500 for piece in pieces)
    for piece in pieces:
        payload = adapter.payload(Request((piece,)))
        assert check_input(TURBO, payload) == []
        assert {key: payload[key] for key in payload if key != "audio"} == {"language": "en", "beam_size": 3}
        first, last = round(piece.content.start * RATE), round(piece.content.end * RATE)
        assert np.array_equal(samples_of(payload), talk(95.0, seed=1).samples[first:last])


@pytest.mark.parametrize("model", [WHISPER, NOVA])
def test_the_other_models_get_the_file_itself(interview, model):
    adapter = transcribe(model)
    payload = adapter.payload(Request((adapter.pieces(interview)[0],)))
    assert isinstance(payload, Raw)
    assert (payload.mime, payload.content[:4]) == ("audio/wav", b"RIFF")
    assert adapter.sample(interview) == Raw(payload.content[:0] + adapter.sample(interview).content, "audio/wav")


@pytest.mark.parametrize(("kind", "head"), [("wav", b"RIFF"), ("flac", b"fLaC")])
def test_the_form_of_the_sound_can_be_chosen(interview, kind, head):
    adapter = transcribe(WHISPER, audio_format=kind)
    assert adapter.payload(Request((adapter.pieces(interview)[0],))).content[:4] == head


def test_what_would_be_more_than_a_megabyte_is_flac(interview):
    adapter = transcribe(WHISPER, piece_seconds=60)
    payload = adapter.payload(Request((adapter.pieces(interview)[0],)))
    assert (payload.mime, payload.content[:4]) == ("audio/flac", b"fLaC")


def test_a_plan_reads_headers_only(interview, monkeypatch):
    """An outline decodes nothing, and still bounds what will be sent; so does the sample that is checked."""
    from pipeline.audio import decode

    adapter = transcribe(language="en")
    with monkeypatch.context() as patch:
        patch.setattr(decode.Recording, "runs", None)
        outline, sample = adapter.outline(interview), adapter.sample(interview)
    assert check_input(TURBO, sample) == []
    pieces = adapter.pieces(interview)
    assert outline.payload_key == record_key(pieces) == outline_of(pieces).payload_key
    assert outline_of(pieces).ceiling <= outline.ceiling
    assert outline.expected == pytest.approx(95.0 / 60 * 46.63)
    assert sum(piece.expected for piece in pieces) == pytest.approx(outline.expected, rel=0.01)


@pytest.mark.parametrize("params", [{}, {"piece_seconds": 5}, {"skip_silence": True}, {"piece_seconds": 60}])
@pytest.mark.parametrize("manner", ["CALM", "SPARSE", "BREATHLESS"])
def test_the_bound_of_a_plan_holds(tmp_path, params, manner):
    """Whatever the pauses are like, every piece rounded up to a second."""
    path = tmp_path / "a.wav"
    SAMPLES.write_wav(path, talk(70.0, seed=8, manner=getattr(SAMPLES, manner)).samples)
    adapter = transcribe(language="per-piece", **params)
    pieces = adapter.pieces(recorded(path))
    assert sum(piece.ceiling for piece in pieces) <= adapter.outline(recorded(path)).ceiling
    assert all(piece.ceiling >= piece.content.seconds / 60 * 46.63 for piece in pieces)


def test_the_same_sound_under_another_name_is_the_same_record(interview, tmp_path):
    copy = tmp_path / "copy.wav"
    copy.write_bytes((tmp_path / interview.source).read_bytes())
    adapter = transcribe()
    assert adapter.outline(recorded(copy)).payload_key == adapter.outline(interview).payload_key
    assert transcribe(piece_seconds=10).outline(interview).payload_key != adapter.outline(interview).payload_key


def test_a_file_that_changes_after_it_was_cut_is_not_sent(tmp_path):
    path = tmp_path / "a.wav"
    SAMPLES.write_wav(path, talk(5.0, seed=1).samples)
    adapter = transcribe()
    (piece,) = adapter.pieces(recorded(path))
    SAMPLES.write_wav(path, talk(6.0, seed=1).samples)
    with pytest.raises(RecordUnusable, match=r"a\.wav has changed"):
        adapter.payload(Request((piece,)))
    path.unlink()
    with pytest.raises(RecordUnusable, match=r"a\.wav cannot be read"):
        adapter.payload(Request((piece,)))


@pytest.mark.parametrize("look", ["outline", "pieces"])
def test_a_file_that_goes_while_it_is_looked_at(interview, monkeypatch, look):
    """It is one record that cannot be sent, not the end of the run."""

    def gone(*_, **__):
        raise FileNotFoundError(2, "No such file or directory")

    for name in ("duration_of", "listen"):
        monkeypatch.setattr(f"pipeline.tasks.transcribe.{name}", gone)
    with pytest.raises(RecordUnusable, match=r"interview\.wav cannot be read: No such file"):
        getattr(transcribe(), look)(interview)


@pytest.mark.parametrize("content", [None, b"", b"not a sound", bytes(3000)])
def test_what_is_no_recording_is_refused_before_it_is_sent(tmp_path, content):
    path = tmp_path / "a.mp3"
    if content is not None:
        path.write_bytes(content)
    for look in (transcribe().outline, transcribe().pieces, transcribe().sample):
        with pytest.raises(RecordUnusable, match=r"a\.mp3"):
            look(recorded(path))


def test_a_run_that_ends_does_not_wait_for_a_long_file(tmp_path, monkeypatch):
    path = tmp_path / "a.wav"
    SAMPLES.write_wav(path, talk(30.0, seed=1).samples)
    adapter = transcribe()
    monkeypatch.setattr(adapter._is_over, "clear", adapter._is_over.set)
    with pytest.raises(RecordUnusable, match="the run is ending"):
        adapter.pieces(recorded(path))
    assert adapter.hurry() is None


def test_a_piece_that_is_too_large_is_halved_where_it_is_quiet(interview):
    """In stages, down to a second; the halves share a little, and the first one keeps what waits for the answer."""
    adapter = transcribe()
    (piece,) = adapter.pieces(interview)
    first, second = adapter.halved(piece)
    assert (first.part, second.part, first.index) == ((0,), (1,), 0)
    assert first.content.start == piece.content.start
    assert second.content.end == piece.content.end
    assert 0 < first.content.end - second.content.start <= 1.0
    assert first.content.rest == piece.content.rest != ()
    assert second.content.rest == ()
    middle = (first.content.end + second.content.start) / 2
    words = talk(95.0, seed=1).words
    assert not any(start + 0.03 < middle < end - 0.03 for start, end in words)
    while parts := adapter.halved(first):
        assert len(parts[0].part) == len(first.part) + 1
        first = parts[0]
    assert first.content.seconds < 2.0


# -- stages ---------------------------------------------------------------------------------------------------------


def test_the_first_speech_settles_the_language(interview):
    """It is sent alone; the others are told what it was, and its answer is kept."""
    adapter = transcribe()
    row, clips = whole_row(adapter, interview, lambda clip: turbo(f"at {clip.start:.0f}", language="de"))
    assert [clip.language for clip in clips] == [None, "de", "de", "de"]
    assert row["text"].split() == [
        word for clip in sorted(clips, key=lambda c: c.start) for word in ("at", f"{clip.start:.0f}")
    ]
    assert row["language"] == "de"
    assert row["sent_seconds"] == pytest.approx(95.0, abs=0.01)
    assert row["duration_seconds"] == pytest.approx(95.0)


@pytest.mark.parametrize(
    ("params", "said", "expected"),
    [
        ({"language": "fr"}, {}, ["fr"] * 4),
        ({"language": "per-piece"}, {"language": "de"}, [None] * 4),
        ({}, {"probability": 0.3}, [None] * 4),
        ({}, {"language": None}, [None] * 4),
        ({}, {"language": "Klingon"}, [None] * 4),
    ],
)
def test_what_pieces_are_told_of_the_language(interview, params, said, expected):
    """A language that the model is not sure of, or cannot be told, is not held against the rest."""
    _, clips = whole_row(transcribe(**params), interview, always(turbo("Hi", **said)))
    assert [clip.language for clip in clips] == expected


def test_a_doubtful_answer_is_asked_for_once_more_with_other_options(interview):
    adapter = transcribe(language="en")
    asked = {}

    def say(clip):
        asked.setdefault(clip.start, []).append(clip.is_second)
        return turbo(LOOP if 0 < clip.start < 40 and not clip.is_second else f"at {clip.start:.0f}")

    row, clips = whole_row(adapter, interview, say)
    (second,) = [clip for clip in clips if clip.is_second]
    assert asked[second.start] == [False, True]
    assert len(clips) == 5
    assert "thank" not in row["text"]
    assert f"at {second.start:.0f}" in row["text"]
    assert row["warnings"] == []
    assert row["sent_seconds"] == pytest.approx(95.0 + second.seconds, abs=0.01)
    assert [segment["start"] for segment in row["segments"]] == sorted(segment["start"] for segment in row["segments"])


def test_answers_survive_all_stages(interview):
    """The language first, then the rest, then second tries: each answer is in the row, each second is counted."""
    row, clips = whole_row(
        transcribe(),
        interview,
        lambda clip: turbo(LOOP if clip.language and not clip.is_second else f"at {clip.start:.0f}"),
    )
    assert [clip.is_second for clip in clips] == [False] * 4 + [True] * 3
    assert row["text"].count("at ") == 4
    assert row["sent_seconds"] == pytest.approx(sum(clip.seconds for clip in clips), abs=0.01)


def test_a_doubtful_answer_settles_no_language(interview):
    _, clips = whole_row(
        transcribe(), interview, lambda clip: turbo("Hi" if clip.is_second or clip.start else LOOP, language="cy")
    )
    assert [clip.language for clip in clips] == [None] * 5
    assert [clip.is_second for clip in clips] == [False, True, False, False, False]


def test_the_second_try_has_other_options(interview):
    adapter = transcribe(language="en", vad_filter=False)
    pieces = adapter.pieces(interview)
    (again,) = adapter.follow_up(interview, answered(adapter, pieces[:1], turbo(LOOP)))
    payload = adapter.payload(Request((again,)))
    assert payload["vad_filter"] is True
    assert payload["condition_on_previous_text"] is False
    assert check_input(TURBO, payload) == []


def test_a_model_without_options_gets_the_halves(interview):
    adapter = transcribe(WHISPER)
    pieces = adapter.pieces(interview)
    first, second = adapter.follow_up(interview, answered(adapter, pieces[:1], {"text": LOOP}))
    assert first.content.start == pieces[0].content.start
    assert second.content.end == pieces[0].content.end


def test_what_stays_doubtful_is_dropped_and_quoted(interview):
    row, _ = whole_row(transcribe(), interview, always(turbo(LOOP)))
    assert (row["text"], row["segments"], row["words"]) == ("", [], [])
    assert len(row["warnings"]) == 4
    assert "dropped after a second try, it repeats itself: 'thank you very much" in row["warnings"][0]


def test_without_the_guard_it_is_kept_with_a_warning(interview):
    row, clips = whole_row(transcribe(hallucination_guard=False, language="en"), interview, always(turbo(LOOP)))
    assert len(clips) == 4
    assert row["text"].startswith("thank you very much")
    assert "perhaps made up" in row["warnings"][0]


def test_words_where_nobody_speaks_are_doubted(tmp_path):
    path = tmp_path / "a.wav"
    SAMPLES.write_wav(path, np.zeros(10 * RATE, np.int16))
    row, clips = whole_row(transcribe(), recorded(path), always(turbo("Thanks for watching!")))
    assert [clip.is_second for clip in clips] == [False, True]
    assert row["text"] == ""
    assert "nobody speaks there: 'Thanks for watching!'" in row["warnings"][0]


def test_a_file_that_breaks_off_is_told_in_the_row(tmp_path):
    path = write_as(tmp_path, "mp3", talk(14.0, seed=3).samples)
    path.write_bytes(path.read_bytes()[:60_000])
    row, _ = whole_row(transcribe(), recorded(path), always(turbo("Hi")))
    assert "breaks off after" in row["warnings"][0]


def test_silence_is_not_sent_where_that_is_asked(tmp_path):
    made = talk(120.0, seed=2, manner=SAMPLES.SPARSE)
    path = tmp_path / "a.wav"
    SAMPLES.write_wav(path, made.samples)
    row, clips = whole_row(transcribe(skip_silence=True), recorded(path), always(turbo("Hi")))
    assert row["sent_seconds"] <= 1.05 * sum(end - start for start, end in made.phrases)
    assert row["sent_seconds"] == pytest.approx(sum(clip.seconds for clip in clips), abs=0.01)
    assert row["duration_seconds"] == pytest.approx(120.0)


# -- what was said before -------------------------------------------------------------------------------------------


def at_start(clip):
    return turbo(f"at {clip.start:.0f}")


def prompt_sent(adapter, clip):
    """The prompt of the payload, or None."""
    return adapter._body(b"", "wav", clip).get("initial_prompt")


@pytest.mark.parametrize("params", [{}, {"language": "en"}, {"language": "per-piece"}])
def test_each_piece_is_told_what_was_said_before(interview, params):
    """They follow one another, as long as they are as many; without the option nobody is told anything."""
    adapter = transcribe(carry_text=True, **params)
    row, clips = whole_row(adapter, interview, at_start)
    starts = [f"at {clip.start:.0f}" for clip in clips]
    assert [prompt_sent(adapter, clip) for clip in clips] == [None, *(" ".join(starts[:n]) for n in (1, 2, 3))]
    told = {"en": ["en"] * 4, "per-piece": [None] * 4}.get(params.get("language"), [None, "en", "en", "en"])
    assert [clip.language for clip in clips] == told
    assert check_input(TURBO, adapter._body(b"", "wav", clips[-1])) == []
    assert row["text"] == " ".join(starts)
    assert row["sent_seconds"] == pytest.approx(95.0, abs=0.01)
    plain, others = whole_row(transcribe(**params), interview, at_start)
    assert plain == row
    assert {prompt_sent(adapter, clip) for clip in others} == {None}


def test_the_plan_is_the_same_where_text_is_carried(interview):
    assert transcribe(carry_text=True).outline(interview) == transcribe().outline(interview)


def test_what_is_told_is_part_of_what_a_piece_is_recognised_by(interview):
    """And an answer alone is written down, not those before it: a long recording would be written over and over."""
    adapter = transcribe(carry_text=True)
    pieces, keys = adapter.pieces(interview), {}
    for text in ("one", "other"):
        more = adapter.follow_up(interview, answered(adapter, pieces, turbo(text)))
        keys[text] = more[0].payload_key
        value = adapter.parse(Request((more[0],)), Answer(turbo("next"), Usage(), 1.0))[0]
        assert [heard["text"] for heard in value["heard"]] == ["next"]
        assert [heard["text"] for heard in adapter.placed(more[0], value)["heard"]] == [text, "next"]
    assert keys["one"] != keys["other"]
    same = transcribe(carry_text=True)
    assert same.follow_up(interview, answered(same, pieces, turbo("one")))[0].payload_key == keys["one"]


def test_the_users_own_prompt_stands_in_front(interview):
    adapter = transcribe(carry_text=True, initial_prompt="Names: Ada.")
    _, clips = whole_row(adapter, interview, at_start)
    assert [prompt_sent(adapter, clip) for clip in clips[:2]] == ["Names: Ada.", "Names: Ada. at 0"]


@pytest.mark.parametrize("guards", [True, False])
def test_a_doubtful_text_is_not_carried(interview, guards):
    """The next piece waits for the second try; what stays doubtful ends what is carried, with the guard or without."""
    adapter = transcribe(carry_text=True, language="en", hallucination_guard=guards)
    _, clips = whole_row(adapter, interview, lambda clip: turbo(LOOP) if 20 < clip.start < 40 else at_start(clip))
    prompts = [(round(clip.start), clip.is_second, clip.prompt) for clip in clips]
    second, third, fourth = sorted({at for at, _, _ in prompts})[1:]
    tried = [(second, False, "at 0"), *([(second, True, "")] if guards else [])]
    assert prompts == [(0, False, ""), *tried, (third, False, ""), (fourth, False, f"at {third}")]


def test_a_second_try_that_is_clean_is_carried_and_settles_the_language(interview):
    adapter = transcribe(carry_text=True)
    row, clips = whole_row(
        adapter, interview, lambda clip: turbo("Hello." if clip.is_second or clip.prompt else LOOP, language="de")
    )
    assert [clip.is_second for clip in clips] == [False, True, False, False, False]
    assert [clip.language for clip in clips] == [None, None, "de", "de", "de"]
    assert clips[2].prompt == "Hello."
    assert row["text"] == " ".join(["Hello."] * 4)


def test_the_halves_of_a_piece_are_waited_for(interview):
    adapter = transcribe(carry_text=True, language="en")
    halves = adapter.halved(adapter.pieces(interview)[0])
    (after,) = adapter.follow_up(interview, answered(adapter, halves, [turbo("one"), turbo("two")]))
    assert after.content.prompt == "one two"
    assert len(after.content.rest) == 2


@pytest.mark.parametrize("model", [WHISPER, NOVA])
def test_a_model_that_cannot_be_told_is_refused(model):
    with pytest.raises(PlanError, match="takes no initial_prompt") as caught:
        transcribe(model, carry_text=True)
    assert caught.value.key == "params.carry_text"


def test_a_made_up_text_settles_no_language(tmp_path):
    """Nor where it is kept."""
    path = tmp_path / "a.wav"
    SAMPLES.write_wav(path, np.zeros(40 * RATE, np.int16))
    adapter = transcribe(hallucination_guard=False)
    _, clips = whole_row(adapter, recorded(path), always(turbo("Thanks for watching!", language="cy")))
    assert [clip.language for clip in clips] == [None, None]


# -- the row --------------------------------------------------------------------------------------------------------


def test_subtitles_are_files_beside_the_row(interview):
    adapter = transcribe(language="en", subtitles=("srt", "vtt"))
    pairs = answered(adapter, adapter.pieces(interview), [turbo(f"Number {n}.") for n in range(4)])
    values = [value for _, value in pairs]
    row, files = adapter.row(interview, values), adapter.files(interview, values)
    assert row["subtitles"] == ["media/r0.srt", "media/r0.vtt"] == [f"media/{file.name}" for file in files]
    assert files[0].content.startswith(b"1\n00:00:00,500 --> 00:00:02,000\nNumber 0.\n\n2\n")
    assert files[1].content.decode() == row["vtt"]
    assert set(row) == {column.name for column in adapter.columns}
    assert transcribe().files(interview, values) == ()


def test_a_model_that_answers_over_websockets_only_is_refused():
    flux = resolve_model("transcribe", "@cf/deepgram/flux", allow_unpriced=True)
    with pytest.raises(PlanError, match="WebSocket") as caught:
        TASKS["transcribe"].adapter(
            TaskContext(model=flux, params={}, text=TextTemplate.parse("path"), fields=frozenset())
        )
    assert caught.value.key == "model"


@pytest.mark.parametrize(
    ("model", "params", "key"),
    [
        (TURBO, {"language": "english"}, "params.language"),
        (TURBO, {"language": 5}, "params.language"),
        (WHISPER, {"language": "en"}, "params.language"),
        (WHISPER, {"vad_filter": True}, "params.vad_filter"),
        (NOVA, {"diarize": True}, "params.diarize"),
        (TURBO, {"piece_seconds": 61}, "params.piece_seconds"),
        (TURBO, {"piece_seconds": True}, "params.piece_seconds"),
        (TURBO, {"overlap_seconds": 9}, "params.overlap_seconds"),
        (TURBO, {"skip_silence": "yes"}, "params.skip_silence"),
        (TURBO, {"hallucination_guard": 1}, "params.hallucination_guard"),
        (TURBO, {"carry_text": "yes"}, "params.carry_text"),
        (TURBO, {"audio_format": "mp3"}, "params.audio_format"),
        (TURBO, {"task": "summarize"}, "params.task"),
    ],
)
def test_what_makes_no_sense_is_refused_with_its_key(model, params, key):
    with pytest.raises(PlanError) as caught:
        transcribe(model, **params)
    assert caught.value.key == key


@pytest.mark.parametrize(
    "result",
    [
        None,
        "text",
        [],
        {},
        {"text": None},
        {"text": 5},
        {"text": "a", "segments": "b"},
        {"text": "a", "segments": [1]},
        {"text": "a", "segments": [{"start": "0", "end": 1, "text": "a"}]},
        {"text": "a", "segments": [{"start": float("nan"), "end": 1, "text": "a"}]},
        {"text": "a", "segments": [{"start": 0, "end": 10**400, "text": "a"}]},
        {"text": "a", "segments": [{"start": True, "end": 1, "text": "a"}]},
        {"text": "a", "words": [{"word": "a"}]},
        {"text": "a", "words": [{}] * 20_001},
        {"text": "a", "transcription_info": []},
        {"text": "a", "transcription_info": {"language": 5}},
        {"text": "a", "segments": [{"start": 0, "end": 1, "text": "a", "avg_logprob": "low"}]},
        {"results": None},
        {"results": {"channels": []}},
        {"results": {"channels": [{"alternatives": []}]}},
        {"results": {"channels": [{"alternatives": [{"transcript": None}]}]}},
        {"results": {"channels": [{"alternatives": [{"transcript": "a", "words": [{"word": "a", "start": 0}]}]}]}},
    ],
    ids=lambda result: repr(result)[:60],
)
def test_an_answer_that_is_no_transcript(interview, result):
    adapter = transcribe()
    with pytest.raises(UnreadableAnswer):
        adapter.parse(Request((adapter.pieces(interview)[0],)), Answer(result, Usage(), 1.0))

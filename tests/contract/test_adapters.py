"""What every task keeps, for each of its living models and every set of parameters its case names.

Driven by the cases beside this file alone: a task is in the suite once it is in the registry and has a case.
"""

import importlib
import json
import pkgutil
import re
import time
from dataclasses import dataclass
from functools import cache
from io import BytesIO
from itertools import islice
from pathlib import Path
from tempfile import TemporaryDirectory
from types import SimpleNamespace

import pytest
from hypothesis import HealthCheck, Phase, given, settings
from hypothesis import strategies as st
from PIL import Image

from pipeline.catalog import Catalog, resolve_model
from pipeline.dialects.multipart import encode_form
from pipeline.errors import (
    ApiError,
    InvalidRequest,
    ModelTimedOut,
    PlanError,
    RecordUnusable,
    RequestTimedOut,
    RequestTooLarge,
    ServerFault,
    UnreadableAnswer,
)
from pipeline.records import NO_PAYLOAD, Answer, Failure, Form, Raw, Record, Request, Row, Usage
from pipeline.routes import ParamsRefused, param_problems
from pipeline.rows import outline_of
from pipeline.schemas import check_input, input_fields
from pipeline.tasks import TASKS, TaskContext, transcribe
from pipeline.tasks.base import nothing_sent
from pipeline.tasks.files import media_name
from pipeline.template import TextTemplate
from tests.contract import cases
from tests.support.drawing import bomb, picture
from tests.support.hostile import ANYTHING, MATRICES, MEDIA, SCALARS, VALUES, huge, spoiled, spoilings
from tests.support.street import Street, requests_of, stored

CASES = {
    module.CASE.task: module.CASE
    for module in (
        importlib.import_module(f"{cases.__name__}.{found.name}") for found in pkgutil.iter_modules(cases.__path__)
    )
    if hasattr(module, "CASE")
}
TASK = pytest.mark.parametrize("task", list(TASKS))
QUIET = [HealthCheck.too_slow, HealthCheck.data_too_large, HealthCheck.large_base_example]
A_HAIR = 1 + 1e-9
MOST_STAGES = 8
STRIDES = {
    "transcribe": 11
}  # each answer costs the cutting of a recording: every eleventh, never the same part in turn
NARROW = {"@cf/meta/llama-guard-3-8b", "@cf/deepgram/flux"}  # take none of the parameters of the cases, or nothing
MOST_HALVINGS = 16
SLOWEST_S = 3.0
"""Of processor time for one answer; each takes a tenth of it."""


def tried(examples):
    return settings(max_examples=examples, deadline=None, suppress_health_check=QUIET)


def living(task):
    """Every model that a job can use, those without a published price where the case wants them."""
    for known in Catalog.load().models(task):
        try:
            yield resolve_model(task, known.name, allow_unpriced=CASES[task].unpriced)
        except PlanError:
            continue


@dataclass(frozen=True)
class Trial:
    """A model under one set of parameters."""

    task: str
    model: object
    params: dict

    def __repr__(self):
        return f"{self.task} {self.model.name} {self.params}"

    @property
    def case(self):
        return CASES[self.task]

    @property
    def is_taken(self):
        return self.case.takes(self.model, self.params)

    def adapter(self):
        """A new one, for some learn from answers; parameters are checked as a job's are."""
        kind = TASKS[self.task]
        if problems := param_problems(SimpleNamespace(params=self.params), kind, self.model):
            raise ParamsRefused(problems)
        fields = input_fields(self.model.name, self.model.task) or frozenset()
        text = TextTemplate.parse(self.case.text)
        return kind.adapter(TaskContext(model=self.model, params=self.params, text=text, fields=fields))

    def answers(self, request, payload):
        return self.case.answers(request, payload, self.model)

    def documented(self, number):
        """Always the same of the documented answers."""

        def answer(request, payload):
            found = self.answers(request, payload)
            return found[number % len(found)]

        return answer

    def charge(self, request, payload):
        return self.case.charge(self.model, self.params, request, payload)


MODELS = [(task, model) for task in TASKS if task in CASES for model in living(task)]
MODEL = pytest.mark.parametrize(("task", "model"), MODELS, ids=[f"{task} {model.name}" for task, model in MODELS])


def trials(task, model=None):
    """All that can be run, of one model or of all."""
    models = [known for name, known in MODELS if name == task and (model is None or known is model)]
    every = [Trial(task, known, params) for known in models for params in CASES[task].params]
    return [trial for trial in every if trial.is_taken]


@pytest.fixture(scope="module")
def folder():
    with TemporaryDirectory() as name:
        yield Path(name)


@pytest.fixture(scope="module", autouse=True)
def decoded_once():
    """Recordings that stay as they are sound the same each time: each is heard once, each window is cut out once."""

    def remembered(work):
        results = {}

        def recall(path, *args, **more):
            stat = path.stat()
            told = tuple((name, more[name]) for name in ("told", "origin") if name in more)
            key = (path, stat.st_size, stat.st_mtime_ns, *args, *told)
            if key not in results:
                results[key] = work(path, *args, **more)
            return results[key]

        return recall

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(transcribe, "listen", remembered(transcribe.listen))
        tracks = importlib.import_module("pipeline.audio.listen")  # the package has a function of this name
        patch.setattr(tracks, "window", remembered(tracks.window))
        yield


@pytest.fixture(scope="module")
def fields(folder):
    """Strategies of a record's fields, by task; each has its files in a folder of its own."""
    made = {}
    for task, case in CASES.items():
        (folder / task).mkdir()
        made[task] = case.records(folder / task)
    return made


@pytest.fixture(scope="module")
def ordinary(fields):
    """Some records of a task, the same each time, small ones first."""

    @cache
    def of(task):
        found = []

        @settings(
            max_examples=10,
            deadline=None,
            derandomize=True,
            database=None,
            phases=[Phase.generate],
            suppress_health_check=QUIET,
        )
        @given(fields[task])
        def collect(drawn):
            found.append(drawn)

        collect()
        found.sort(key=lambda drawn: len(repr(drawn)))
        return [record(number, drawn) for number, drawn in enumerate(found)]

    return of


def record(number, drawn, name=None):
    return Record(ordinal=number, id=name or f"r{number}", source="items", row=number, fields=drawn)


def drawn_records(data, fields, most=3):
    return [
        record(number, drawn) for number, drawn in enumerate(data.draw(st.lists(fields, min_size=1, max_size=most)))
    ]


def drawn_case(data, task, fields, most=3):
    trial = data.draw(st.sampled_from(trials(task)))
    return trial, trial.adapter(), drawn_records(data, fields[task], most)


# -- what there is --------------------------------------------------------------------------------------------------


def test_every_task_has_a_case_and_every_case_a_task():
    """The suite is about all of them, and about something."""
    assert set(CASES) == set(TASKS)
    assert {task for task, _ in MODELS} == set(TASKS)
    assert len(MODELS) >= 100
    assert all(trials(task, model) for task, model in MODELS if model.name not in NARROW)
    assert all(any(trial.params == params for trial in trials(task)) for task in TASKS for params in CASES[task].params)


@MODEL
def test_output_columns_are_stable(task, model):
    """Programs read them: a name or a type that changes is a break."""
    for trial in trials(task, model)[:1]:
        assert [(column.name, column.kind) for column in trial.adapter().columns] == CASES[task].columns


@MODEL
def test_what_a_model_does_not_take_is_found_before_it_is_sent(task, model, ordinary):
    """By the check of the parameters, by the task itself, or by the check of the first payloads."""
    for params in CASES[task].params:
        trial = Trial(task, model, params)
        if trial.is_taken:
            continue
        try:
            adapter = trial.adapter()
        except PlanError:
            continue
        (request, *_) = requests_of(adapter, adapter.pieces(ordinary(task)[0]))
        assert check_input(model.name, adapter.payload(request), model.task) != [], trial


# -- what is sent ---------------------------------------------------------------------------------------------------


def check_payload(trial, payload):
    """It is what the model publishes that it takes, and can be put on the wire."""
    media = TASKS[trial.task].media
    published = input_fields(trial.model.name, trial.model.task)
    if isinstance(payload, Raw):
        assert payload.content
        check_mime(media, payload.mime, payload.content)
    elif isinstance(payload, Form):
        assert payload.parts
        assert published is None or {part.name for part in payload.parts} <= published
        for part in payload.parts:
            assert part.content
            assert (part.filename is None) == (part.mime is None)
            assert part.mime is None or re.fullmatch(r"[a-z]+/[a-z0-9.+-]+", part.mime)
        names = [part.filename for part in payload.parts if part.filename is not None]
        assert len(set(names)) == len(names)
        body, kind = encode_form(payload)
        assert all(part.content in body for part in payload.parts)
        assert kind.startswith("multipart/form-data; boundary=")
    else:
        assert published is not None
        assert payload.keys() <= published
        assert check_input(trial.model.name, payload, trial.model.task) == []
        assert json.loads(json.dumps(payload, allow_nan=False)) == payload


def check_mime(media, mime, content):
    if media == "images":
        with Image.open(BytesIO(content)) as image:
            assert mime == f"image/{image.format.lower()}"
    else:
        assert mime.partition("/")[0] in {"audio", "video", "application"}


def check_costs(trial, adapter, request, payload):
    """P3 stands on it: for any record, on any model, the charge is never above what was reserved."""
    cost = adapter.cost(request)
    assert trial.charge(request, payload) <= cost.ceiling * A_HAIR
    assert cost.ceiling <= sum(piece.ceiling for piece in request.pieces) * A_HAIR
    for piece in request.pieces:
        assert piece.size > 0
        assert 0 <= piece.expected <= piece.ceiling * A_HAIR
    if cost.max_output > 3:
        capped = Request(request.pieces, output_cap=3)
        assert adapter.cost(capped).max_output == 3
        assert adapter.cost(capped).input == cost.input
        assert 3 in adapter.payload(capped).values()


@MODEL
def test_what_is_sent_fits_the_schema_and_its_cost_the_ceiling_on_every_model(task, model, ordinary):
    """None is left to chance: the same records for all, alone and together."""
    for trial in trials(task, model):
        adapter = trial.adapter()
        pieces = [piece for one in ordinary(task)[:3] for piece in adapter.pieces(one)]
        for request in [Request((pieces[0],)), *requests_of(adapter, pieces)[:5]]:
            payload = adapter.payload(request)
            check_payload(trial, payload)
            check_costs(trial, adapter, request, payload)


@TASK
@tried(20)
@given(data=st.data())
def test_what_is_sent_fits_the_schema_and_its_cost_the_ceiling(task, fields, data):
    """Whatever the record."""
    trial, adapter, records = drawn_case(data, task, fields)
    for request in requests_of(adapter, [piece for one in records for piece in adapter.pieces(one)])[:20]:
        payload = adapter.payload(request)
        check_payload(trial, payload)
        check_costs(trial, adapter, request, payload)


def is_outline(outline, pieces):
    """The sums over the pieces; a bound on them where records are recognised before they are cut."""
    if not pieces:
        return outline == nothing_sent(outline.payload_key) and outline.payload_key != NO_PAYLOAD
    if pieces[0].record_key:
        sums = outline_of(pieces)
        return outline.payload_key == sums.payload_key and outline.ceiling * A_HAIR >= sums.ceiling
    return outline == outline_of(pieces)


@TASK
@tried(20)
@given(data=st.data())
def test_the_outline_of_a_record_is_that_of_its_pieces(task, fields, data):
    """What is planned is what is sent: the same sums, the same digest; and again the same for the same record."""
    trial, adapter, (one, *_) = drawn_case(data, task, fields, most=1)
    pieces = adapter.pieces(one)
    assert outline_of(pieces) == outline_of(trial.adapter().pieces(one))
    assert is_outline(adapter.outline(one), pieces)
    assert [piece.index for piece in pieces] == list(range(len(pieces)))
    assert {(piece.n_pieces, piece.part, piece.stage) for piece in pieces} == {(len(pieces), (), 0)}


@MODEL
def test_counted_units_have_a_price_and_uncounted_ones_none(task, model):
    """The table is used where the service counts, and nothing is made up where it does not."""
    for trial in trials(task, model)[:1]:
        adapter = trial.adapter()
        assert adapter.price(Usage()) is None
        counted = adapter.price(Usage(input_tokens=1000, output_tokens=0))
        if model.input_per_m_tokens is not None and not model.assumed_price:
            assert counted == pytest.approx(model.input_per_m_tokens / 1000)
        else:
            assert counted is None


# -- records that cannot be sent ------------------------------------------------------------------------------------


def hostile_cells(folder):
    """What a column may hold that should hold a text or the path of a file."""
    made = {
        "empty.png": b"",
        "text.png": b"I am no picture",
        "cut.png": picture()[:50],
        "bomb.png": bomb(),
        "sound.mp3": b"\xff\xfb\x90\x00" * 40,
        "no suffix": b"\0\1\2",
        "wide\n\"name'; é.html": b"<p>",
    }
    home = folder / "hostile"
    home.mkdir(exist_ok=True)
    for name, content in made.items():
        (home / name).write_bytes(content)
    (home / "folder.png").mkdir(exist_ok=True)
    paths = [str(home / name) for name in (*made, "folder.png", "missing.png", "missing/missing.png")]
    odd = [
        *SCALARS,
        b"bytes",
        (1, 2),
        {1: 2},
        ["a", None],
        [1],
        [{}],
        [{"text": 5}],
        [{"text": "\ud800"}],
        ["a" * 300_000],
    ]
    turns = [
        {"role": "user"},
        {"role": "user", "content": "\ud800"},
        {"role": [], "content": "a"},
        {"role": "user", "content": [1]},
    ]
    names = [".", "..", "/", "/dev/null", "~", "a/" * 3_000, "n" * 300, "a\0b", "-", "C:\\x", "http://x/y.png"]
    return [*paths, *names, *odd, *([turn] for turn in turns), "x" * 1_000_000]


def outcome(work, one):
    try:
        return work(one)
    except RecordUnusable as unusable:
        return str(unusable) or pytest.fail("no reason is given")


@MODEL
def test_what_cannot_be_sent_is_refused_before_it_is(task, model, folder, ordinary):
    """A failure row with a reason, nothing spent on it; or pieces that can be sent."""
    plain = dict(ordinary(task)[0].fields)
    is_first = model is next(known for name, known in MODELS if name == task)
    cells = hostile_cells(folder)
    broken = [{}, {"other": "x"}, *({key: plain[key] for key in plain if key != gone} for gone in plain)]
    broken += [
        {**plain, name: cell}
        for name in plain
        for cell in (cells if is_first else [*cells[:10], None, "", " \n", 5, "\ud800"])
    ]
    for trial in trials(task, model):
        adapter = trial.adapter()
        for number, drawn in enumerate(broken):
            one = record(number, drawn)
            pieces, outline = outcome(adapter.pieces, one), outcome(adapter.outline, one)
            assert outline == pieces if isinstance(pieces, str) else is_outline(outline, pieces), (trial, drawn)
            if isinstance(pieces, str):
                continue
            assert isinstance(adapter.sent(one), str)
            for request in requests_of(adapter, pieces)[:2]:
                if not isinstance(payload := outcome(adapter.payload, request), str):
                    check_payload(trial, payload)
        blank = [] if trial.params else [dict.fromkeys(plain, ""), dict.fromkeys(plain, " \n\t")]
        for drawn in ({}, {"other": "x"}, dict.fromkeys(plain), *blank):
            with pytest.raises(RecordUnusable):
                adapter.pieces(record(0, drawn))


# -- what is answered -----------------------------------------------------------------------------------------------


def check_ended(adapter, street):
    """Each row can be stored, with its files; each failure has a reason; it took a bounded number of stages."""
    assert len(stored(adapter, street.ended)) >= 1
    assert all(piece.stage <= MOST_STAGES for request, _ in street.sent for piece in request.pieces)
    for end in street.ended:
        if isinstance(end, Failure):
            assert end.message
            continue
        names = [file.name for file in end.files]
        assert all(is_safe(name) for name in names)
        assert all(file.content for file in end.files)
        assert names == ([str(end.values["path"]).removeprefix("media/")] if "path" in end.values else [])


@MODEL
def test_every_documented_answer_becomes_a_row(task, model, ordinary):
    """With exactly the declared columns, as the store takes them; one value a piece on the way."""
    for trial in trials(task, model):
        one = ordinary(task)[0]
        request = requests_of(trial.adapter(), trial.adapter().pieces(one))[0]
        payload = trial.adapter().payload(request)
        for number, result in enumerate(trial.answers(request, payload)):
            adapter = trial.adapter()
            usage = Usage(input_tokens=3, output_tokens=1)
            assert len(adapter.parse(request, Answer(result, usage, 1.0))) == len(request.pieces)
            adapter = trial.adapter()
            street = Street(adapter, trial.documented(number), usage)
            (row,) = street.run([one])
            assert isinstance(row, Row), (trial, number, row)
            assert {column.name for column in adapter.columns} <= row.values.keys()
            check_ended(adapter, street)


@TASK
@tried(12)
@given(data=st.data(), number=st.integers(0, 5))
def test_documented_answers_become_rows_for_all_records(task, fields, data, number):
    """Several records together, many pieces, every stage: a row each, and no charge above its ceiling."""
    trial, adapter, records = drawn_case(data, task, fields)
    street = Street(adapter, trial.documented(number), Usage(input_tokens=3, output_tokens=1))
    assert all(isinstance(end, Row) for end in street.run(records))
    check_ended(adapter, street)
    for request, payload in street.sent:
        check_payload(trial, payload)
        check_costs(trial, adapter, request, payload)


def always(result):
    """The same answer to every request."""
    return lambda _request, _payload: result


USAGES = st.sampled_from(
    [Usage(), Usage(input_tokens=3, output_tokens=1), Usage(input_tokens=0, output_tokens=10_000_000)]
)


def hostile(data, trial):
    """An answer of any kind to each request: documented, spoiled, or none at all."""
    has_vectors = any(column.kind == "vector" for column in trial.adapter().columns)
    matrices = st.sampled_from(MATRICES).flatmap(lambda found: st.sampled_from([{"data": found}, {"response": found}]))

    def answer(request, payload):
        known = st.sampled_from(trial.answers(request, payload))
        wrong = [known.flatmap(spoiled), known.flatmap(spoiled), ANYTHING, *([matrices] if has_vectors else [])]
        return data.draw(st.one_of(*wrong, known), label="answer")

    return answer


def shapes(task, longest):
    """A model for each kind of model and set of parameters: the one that cuts long records into most pieces."""
    found = {}
    for trial in trials(task):
        n_pieces = len(trial.adapter().pieces(longest))
        found.setdefault((trial.model.task, json.dumps(trial.params)), []).append((n_pieces, trial))
    return [max(group, key=lambda pair: pair[0])[1] for group in found.values()]


def crowds(trial, records):
    """Records as they may travel: alone, several in a request, one in several pieces."""
    adapter = trial.adapter()
    cut = [one for one in records if len(adapter.pieces(one)) > 1]
    return [records[:1], *([records[:2]] if adapter.max_pieces > 1 else []), *([cut[:1]] if cut else [])]


@TASK
def test_an_answer_with_one_wrong_part_is_unreadable_or_makes_a_row(task, ordinary):
    """Each part of each documented answer, missing, doubled, cut, or something else altogether."""
    for trial in shapes(task, ordinary(task)[-1]):
        for records in crowds(trial, ordinary(task)):
            pieces = [piece for one in records for piece in trial.adapter().pieces(one)]
            request, *_ = requests_of(trial.adapter(), pieces)
            for known in trial.answers(request, trial.adapter().payload(request)):
                for result in islice(spoilings(known), 0, None, STRIDES.get(task, 1)):
                    adapter = trial.adapter()
                    street = Street(adapter, always(result), most=200)
                    assert all(isinstance(end, Row) or end.code == UnreadableAnswer.code for end in street.run(records))
                    check_ended(adapter, street)


@TASK
@tried(30)
@given(data=st.data(), usage=USAGES)
def test_hostile_answers_are_unreadable_or_make_rows_and_nothing_worse(task, ordinary, data, usage):
    """They never end the run, never fill a row half, and what they make necessary comes to an end."""
    trial = data.draw(st.sampled_from(trials(task)))
    adapter = trial.adapter()
    street = Street(adapter, hostile(data, trial), usage, most=200)
    for end in street.run(ordinary(task)[:2]):
        assert isinstance(end, Row) or end.code == UnreadableAnswer.code
    check_ended(adapter, street)
    for request, payload in street.sent:
        check_payload(trial, payload)
        check_costs(trial, adapter, request, payload)


BAD = [*VALUES[::4], *MEDIA[::5], {"response": None}, {"data": [[]]}, {"choices": [{}]}]


@MODEL
def test_bad_answers_for_ever_come_to_an_end(task, model, ordinary):
    """Each model, the same bad answer to whatever follows: no more than a few requests, then a row or a failure."""
    for trial in trials(task, model):
        for bad in BAD:
            adapter = trial.adapter()
            street = Street(adapter, always(bad), most=20)
            (end,) = street.run(ordinary(task)[:1])
            if bad in trial.answers(*street.sent[0]):
                continue
            assert isinstance(end, Failure), (trial, bad)
            assert end.code == UnreadableAnswer.code
            check_ended(adapter, street)


def refusals():
    """What the service may say to every request of a record."""
    return [
        RequestTooLarge(413, 3006, "too large"),
        RequestTooLarge(400, 5021, "over the context window"),
        ModelTimedOut(408, 3046, "timed out"),
        RequestTimedOut("no answer"),
        ServerFault(500, 3043, "internal"),
        InvalidRequest(400, 5006, "bad input"),
        ApiError(400, 5024, "JSON mode could not be met"),
        UnreadableAnswer("no"),
    ]


@TASK
@tried(20)
@given(data=st.data())
def test_refusals_for_ever_come_to_an_end(task, fields, data):
    """Halves of halves, other wordings, earlier answers: in the end a row or a failure that names the refusal."""
    trial, adapter, records = drawn_case(data, task, fields, most=2)
    refusal = data.draw(st.sampled_from(refusals()))
    is_first_answered = data.draw(st.booleans())
    documented = trial.documented(data.draw(st.integers(0, 5)))

    def answer(request, payload):
        if is_first_answered and not request.pieces[0].stage:
            return documented(request, payload)
        raise refusal

    street = Street(adapter, answer, Usage(input_tokens=3, output_tokens=1), most=4_000)
    for end in street.run(records):
        assert isinstance(end, Row) or end.code == refusal.code
    assert all(len(piece.part) <= MOST_HALVINGS for request, _ in street.sent for piece in request.pieces)
    check_ended(adapter, street)


@TASK
def test_huge_answers_are_read_quickly(task, ordinary):
    """As a whole, and in the place of every part of a documented answer."""
    trial = trials(task)[-1]
    request = requests_of(trial.adapter(), trial.adapter().pieces(ordinary(task)[0]))[0]
    known = trial.answers(request, trial.adapter().payload(request))
    shells = [shell for result in known if isinstance(result, dict) for key in result for shell in [(result, key)]]
    for name, value in huge().items():
        for result in [value, *({**result, key: value} for result, key in shells)]:
            adapter = trial.adapter()
            begun = time.process_time()
            street = Street(adapter, always(result), most=20)
            (end,) = street.run(ordinary(task)[:1])
            assert isinstance(end, Row) or end.code == UnreadableAnswer.code, (name, end)
            assert time.process_time() - begun < SLOWEST_S, name


# -- what is kept beside rows ---------------------------------------------------------------------------------------

RESERVED = re.compile(r"(con|prn|aux|nul|com\d|lpt\d)(\.|$)", re.IGNORECASE)
ODD_IDS = [
    *("../../etc/passwd", "a/b\\c", "CON", "con", "nul.txt", "com1", ".", "..", "-rf", ".hidden", "A", "a", "é"),
    *("e\u0301", "\0", "a b", "a" * 300, "A" * 300, "x" * 79 + "é", "data/in.jsonl#12", " ", "~", "aux", "LPT1.x"),
]
IDS = st.text(min_size=1, max_size=200) | st.sampled_from(ODD_IDS)


def is_safe(name):
    """On any file system, and as an argument of any command."""
    return bool(re.fullmatch(r"[A-Za-z0-9_][A-Za-z0-9._-]{0,126}", name)) and not RESERVED.match(name)


def test_odd_ids_name_files_that_are_safe():
    """Each another one."""
    names = [media_name(name, ".png") for name in ODD_IDS]
    assert [name for name in names if not is_safe(name)] == []
    assert len({name.lower() for name in names}) == len(ODD_IDS)


@given(
    st.lists(IDS | st.just("\ud800"), min_size=2, max_size=6, unique=True),
    st.sampled_from([".png", ".mp3", ".jpg", ".raw"]),
)
@settings(max_examples=200, deadline=None)
def test_names_of_files_are_safe_and_tell_ids_apart(ids, suffix):
    """Where file systems do not tell capitals apart, too."""
    names = [media_name(one, suffix) for one in ids]
    assert names == [media_name(one, suffix) for one in ids]
    assert all(is_safe(name) and name.endswith(suffix) for name in names)
    assert len({name.lower() for name in names}) == len(ids)


@TASK
@tried(10)
@given(data=st.data(), name=IDS)
def test_a_row_names_the_file_that_is_kept_for_it(task, ordinary, data, name):
    """Whatever the record's id; again the same for the same id, whatever the record says."""
    trial = data.draw(st.sampled_from(trials(task)))
    first, second = (record(0, one.fields, name) for one in ordinary(task)[:2])
    ends = []
    for one in (first, second):
        street = Street(trial.adapter(), trial.documented(0))
        ends += street.run([one])
        check_ended(trial.adapter(), street)
    assert [file.name for file in ends[0].files] == [file.name for file in ends[1].files]

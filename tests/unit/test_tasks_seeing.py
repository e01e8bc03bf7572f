"""Tasks that look at pictures: what is sent, what it costs, and what an answer has to be."""

import base64
from io import BytesIO

import pytest
from PIL import Image

from pipeline.errors import AnswerCutShort, PlanError, RecordUnusable, UnreadableAnswer
from pipeline.records import Raw, Request
from pipeline.schemas import check_input, check_params
from pipeline.tasks import TASKS
from tests.support.adapters import adapter_of, answer_of, record_of, request_of, row_of
from tests.support.drawing import bomb, picture, size_of
from tests.support.seeing import gallery

MOON = "@cf/moondream/moondream3.1-9B-A2B"
LLAVA = "@cf/llava-hf/llava-1.5-7b-hf"
SEEING = ("classify-image", "detect-objects", "caption")
LABELS = [{"label": "cat", "score": 0.2}, {"label": "dog", "score": 0.7}]
BOX = {"xmin": 1, "ymin": 2.5, "xmax": 3, "ymax": 4}


@pytest.fixture
def photos(tmp_path):
    return {name: record_of({"path": path}, source=path) for name, path in gallery(tmp_path).items()}


def seeing(task, model=None, **params):
    return adapter_of(task, model, unpriced=True, **params)


def sent(adapter, record):
    return adapter.payload(request_of(adapter, record))


# -- pictures ---------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("task", SEEING[:2])
def test_the_picture_is_the_body_with_the_type_of_its_content(task, photos):
    """A list of numbers would be four times as large; the name says nothing."""
    adapter = seeing(task)
    assert adapter.is_heavy
    assert sent(adapter, photos["drawing.png"]) == Raw(picture(32, 32), "image/png")
    assert sent(adapter, photos["named-wrong.gif"]) == Raw(picture(20, 50, "WEBP"), "image/webp")


@pytest.mark.parametrize("task", SEEING)
def test_a_table_may_name_pictures_beside_it(task, tmp_path, photos):
    """By a column of its own; equal files have one key, others another."""
    adapter = adapter_of(task, text="photo", unpriced=True)
    table = str(tmp_path / "photos.csv")
    keys = {
        name: adapter.outline(record_of({"photo": name}, source=table)).payload_key
        for name in ("photo.jpg", "drawing.png")
    }
    assert len(set(keys.values())) == 2
    assert keys["photo.jpg"] == seeing(task).outline(record_of({"text": str(tmp_path / "photo.jpg")})).payload_key
    assert keys["photo.jpg"] == seeing(task).outline(photos["photo.jpg"]).payload_key


@pytest.mark.parametrize("task", SEEING)
def test_what_is_no_picture_is_found_before_anything_is_spent(task, tmp_path):
    files = {"a.png": b"GIF89a", "b.jpg": b"", "c.gif": b"%PDF-1.7", "d.png": bomb(), "e.png": bomb(9000, 9000)}
    for name, content in files.items():
        (tmp_path / name).write_bytes(content)
    adapter = seeing(task)
    for name in [*files, "missing.png", "."]:
        path = str(tmp_path / name)
        with pytest.raises(RecordUnusable) as caught:
            adapter.outline(record_of({"path": path}, source=path))
        assert path in str(caught.value)


@pytest.mark.parametrize(
    ("task", "model", "most"), [("classify-image", None, "5 MB"), ("caption", MOON, "5 MB"), ("caption", LLAVA, "1 MB")]
)
def test_a_large_picture_is_refused_with_a_hint_that_helps(task, model, most, tmp_path):
    """`max_pixels` makes it smaller before it is sent."""
    path = tmp_path / "large.bmp"
    path.write_bytes(picture(400, 300) + bytes(5_000_000))
    record = record_of({"path": str(path)})
    with pytest.raises(RecordUnusable, match=f"at most {most} are sent.*max_pixels"):
        seeing(task, model).outline(record)
    adapter = seeing(task, model, max_pixels=40_000)
    payload = sent(adapter, record)
    if isinstance(payload, Raw):
        width, height = size_of(payload.content)
        assert 39_000 < width * height <= 40_000
    if model == LLAVA:
        with pytest.raises(RecordUnusable, match=r"still has .* lower params.max_pixels"):
            sent(seeing(task, model, max_pixels=500_000), record)


def test_a_smaller_picture_keeps_its_kind_and_its_metadata(tmp_path):
    """EXIF says how a photograph is to be turned."""
    path = tmp_path / "turned.jpg"
    exif = Image.Exif()
    exif[0x0112] = 6
    path.write_bytes(picture(400, 200, "JPEG", exif=exif))
    payload = sent(seeing("classify-image", max_pixels=5000), record_of({"path": str(path)}))
    assert payload.mime == "image/jpeg"
    with Image.open(BytesIO(payload.content)) as small:
        assert small.getexif()[0x0112] == 6
        assert small.size == (100, 50)
    (tmp_path / "p.gif").write_bytes(picture(400, 200, "GIF"))
    payload = sent(seeing("classify-image", max_pixels=5000), record_of({"path": str(tmp_path / "p.gif")}))
    assert (payload.mime, size_of(payload.content)) == ("image/png", (100, 50))


def test_a_picture_that_changed_meanwhile_is_not_sent(tmp_path, photos):
    """What is planned is what is sent."""
    adapter = seeing("classify-image")
    request = request_of(adapter, photos["drawing.png"])
    (tmp_path / "drawing.png").write_bytes(picture(33, 33))
    with pytest.raises(RecordUnusable, match="has changed"):
        adapter.payload(request)


# -- labels and objects -----------------------------------------------------------------------------------------


def test_labels_become_a_row(photos):
    """The likeliest first, whatever their order."""
    row, files = row_of(seeing("classify-image"), photos["drawing.png"], LABELS)
    assert row == {"label": "dog", "score": 0.7, "scores": [LABELS[1], LABELS[0]]}
    assert files == []


def test_objects_become_a_row(photos):
    """With their boxes; none is an answer, too."""
    adapter = seeing("detect-objects")
    row, _ = row_of(adapter, photos["drawing.png"], [{"label": "cat", "score": 1, "box": BOX}])
    assert row == {"objects": [{"label": "cat", "score": 1.0, **BOX}], "n_objects": 1}
    assert row_of(adapter, photos["drawing.png"], [])[0] == {"objects": [], "n_objects": 0}


@pytest.mark.parametrize("task", SEEING[:2])
@pytest.mark.parametrize(
    "result",
    [
        None,
        {},
        "x",
        [None],
        [[]],
        [{"score": 1.0, "box": BOX}],
        [{"label": "", "score": 1.0, "box": BOX}],
        [{"label": 5, "score": 1.0, "box": BOX}],
        [{"label": "x" * 1001, "score": 1.0, "box": BOX}],
        [{"label": "x", "score": "1", "box": BOX}],
        [{"label": "x", "score": True, "box": BOX}],
        [{"label": "x", "score": float("nan"), "box": BOX}],
        [{"label": "x", "score": 10**400, "box": BOX}],
        [{"label": "x", "score": 1.0, "box": BOX}] * 10_001,
        b"x",
    ],
    ids=lambda result: repr(result)[:40],
)
def test_findings_of_another_form_are_unreadable(task, result, photos):
    adapter = seeing(task)
    with pytest.raises(UnreadableAnswer):
        adapter.parse(request_of(adapter, photos["drawing.png"]), answer_of(result))


@pytest.mark.parametrize("box", [None, [], {}, {**BOX, "xmax": None}, {**BOX, "ymin": float("inf")}])
def test_an_object_needs_a_box(box, photos):
    adapter = seeing("detect-objects")
    with pytest.raises(UnreadableAnswer):
        adapter.parse(request_of(adapter, photos["drawing.png"]), answer_of([{"label": "x", "score": 1.0, "box": box}]))


def test_a_picture_has_one_price(photos):
    """0.228 neurons; the ceiling is the charge. What has no price needs one."""
    (piece,) = seeing("classify-image").pieces(photos["photo.jpg"])
    assert piece.ceiling == piece.expected == pytest.approx(0.228055)
    assert seeing("classify-image").price(answer_of([], header_neurons=0.23).usage) == pytest.approx(0.228055)
    assert seeing("classify-image").price(answer_of([]).usage) is None
    assert seeing("detect-objects").price(answer_of([], header_neurons=0.23).usage) is None
    with pytest.raises(PlanError, match="no published price"):
        adapter_of("detect-objects")
    known = adapter_of("detect-objects", model_info={"prices": {"per_m_images": 1e6}})
    assert known.outline(photos["photo.jpg"]).ceiling == 1.0


@pytest.mark.parametrize("task", SEEING[:2])
def test_a_body_that_is_the_picture_has_no_room_for_parameters(task):
    kind = TASKS[task]
    model = adapter_of(task, unpriced=True)._context.model
    problems = check_params(model.name, model.task, {"top_k": 3}, kind.owned, extra=kind.extra, carriers=kind.carriers)
    if not problems:
        with pytest.raises(PlanError, match="takes no parameters"):
            seeing(task, top_k=3)


# -- captions ---------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("params", "wish"),
    [
        ({}, {"task": "caption", "max_tokens": 512}),
        ({"caption_length": "long", "max_tokens": 9}, {"task": "caption", "caption_length": "long", "max_tokens": 9}),
        (
            {"question": "A cat?"},
            {"task": "query", "question": "A cat?", "reasoning": False, "max_tokens": 512},
        ),
        (
            {"prompt": "A cat?", "reasoning": True, "temperature": 0.5},
            {"task": "query", "question": "A cat?", "reasoning": True, "temperature": 0.5, "max_tokens": 512},
        ),
    ],
)
def test_moondream_is_told_what_to_do_and_not_to_stream(params, wish, photos):
    """It streams, and reasons about questions, unless it is told not to."""
    payload = sent(seeing("caption", **params), photos["named-wrong.gif"])
    head, _, text = payload.pop("image").partition(",")
    assert head == "data:image/webp;base64"
    assert base64.b64decode(text) == picture(20, 50, "WEBP")
    assert payload == {**wish, "stream": False}
    assert check_input(MOON, {**payload, "image": "x"}, "image-to-text") == []


def test_llava_is_sent_numbers(photos):
    payload = sent(seeing("caption", LLAVA, max_tokens=40), photos["drawing.png"])
    assert payload == {"image": list(picture(32, 32)), "prompt": "Describe this picture.", "max_tokens": 40}
    assert check_input(LLAVA, payload, "image-to-text") == []
    assert sent(seeing("caption", LLAVA, question="A cat?"), photos["drawing.png"])["prompt"] == "A cat?"


@pytest.mark.parametrize(
    ("model", "params", "result"),
    [
        (MOON, {}, {"caption": " A cat. ", "finish_reason": "stop", "metrics": {}}),
        (MOON, {"question": "?"}, {"answer": "A cat.", "finish_reason": "stop", "reasoning": {"text": "hm"}}),
        (LLAVA, {}, {"description": " A cat."}),
    ],
)
def test_every_documented_answer_becomes_a_row(model, params, result, photos):
    row, _ = row_of(seeing("caption", model, **params), photos["drawing.png"], result)
    finish = None if model == LLAVA else "stop"
    assert row == {"caption": "A cat.", "finish_reason": finish, "prompt_tokens": None, "completion_tokens": None}


@pytest.mark.parametrize(
    "result",
    [None, [], "x", {}, {"caption": None}, {"caption": "  "}, {"caption": 5}, {"answer": "x"}, {"caption": {}}, b"x"],
    ids=repr,
)
def test_an_answer_without_text_is_unreadable(result, photos):
    adapter = seeing("caption")
    with pytest.raises(UnreadableAnswer):
        adapter.parse(request_of(adapter, photos["drawing.png"]), answer_of(result))


def test_a_caption_costs_its_tokens_and_is_bounded_by_max_tokens(photos):
    """The last mile may cap it; what was cut by that is asked again."""
    adapter = seeing("caption", max_tokens=100, question="A cat?")
    request = request_of(adapter, photos["drawing.png"])
    cost = adapter.cost(request)
    assert cost.ceiling == pytest.approx(request.pieces[0].ceiling)
    assert cost.ceiling >= (729 + 64 + 6) * 0.027273 + 100 * 0.090909
    assert request.pieces[0].expected < request.pieces[0].ceiling
    capped = Request(request.pieces, output_cap=10)
    assert adapter.payload(capped)["max_tokens"] == adapter.cost(capped).max_output == 10
    answer = answer_of({"answer": "cut", "finish_reason": "x"}, input_tokens=740, output_tokens=10)
    assert adapter.price(answer.usage) == pytest.approx(740 * 0.027273 + 10 * 0.090909)
    with pytest.raises(AnswerCutShort):
        adapter.parse(capped, answer)
    assert adapter.parse(request, answer)[0]["finish_reason"] == "x"
    full = answer_of({"answer": "cut", "finish_reason": "x"}, output_tokens=100)
    assert adapter.parse(request, full)[0]["finish_reason"] == "length"


def test_llava_cannot_be_capped(photos):
    """It does not say whether it was cut, and has no price of its own."""
    adapter = seeing("caption", LLAVA)
    request = request_of(adapter, photos["drawing.png"])
    assert adapter.cost(request).max_output == 0
    assert adapter.price(answer_of({}, input_tokens=1, output_tokens=1).usage) is None


@pytest.mark.parametrize(
    ("params", "key"),
    [
        ({"max_tokens": 28_673}, "params.max_tokens"),
        ({"max_tokens": 0}, "params.max_tokens"),
        ({"temperature": 2.5}, "params.temperature"),
        ({"top_p": -1}, "params.top_p"),
        ({"question": "x", "prompt": "y"}, "params.prompt"),
        ({"question": 5}, "params.question"),
        ({"prompt": " "}, "params.prompt"),
        ({"question": "x", "caption_length": "short"}, "params.caption_length"),
        ({"reasoning": True}, "params.reasoning"),
        ({"max_pixels": True}, "params.max_pixels"),
    ],
)
def test_parameters_out_of_range_are_refused(params, key):
    with pytest.raises(PlanError) as caught:
        seeing("caption", **params)
    assert caught.value.key == key

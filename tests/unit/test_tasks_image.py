"""`image`: what each model is sent, what a picture costs, and which answers are pictures."""

import base64

import pytest

from pipeline.errors import PlanError, RecordUnusable, UnreadableAnswer
from pipeline.records import Form
from pipeline.schemas import check_input, check_params
from pipeline.tasks import TASKS
from tests.support.adapters import adapter_of, answer_of, record_of, request_of, row_of
from tests.support.drawing import bomb, picture, size_of

SCHNELL = "@cf/black-forest-labs/flux-1-schnell"
LUCID = "@cf/leonardo/lucid-origin"
PHOENIX = "@cf/leonardo/phoenix-1.0"
DEV = "@cf/black-forest-labs/flux-2-dev"
KLEIN4 = "@cf/black-forest-labs/flux-2-klein-4b"
KLEIN9 = "@cf/black-forest-labs/flux-2-klein-9b"
SDXL = "@cf/stabilityai/stable-diffusion-xl-base-1.0"
OWL = record_of({"prompt": "an owl"})


def payload(model, record=OWL, **params):
    adapter = adapter_of("image", model, unpriced=True, **params)
    return adapter.payload(request_of(adapter, record))


def fields_of(form):
    assert isinstance(form, Form)
    return {part.name: part.content.decode() for part in form.parts if part.filename is None}


@pytest.mark.parametrize(
    ("model", "params", "sent"),
    [
        (SCHNELL, {}, {"prompt": "an owl", "steps": 4}),
        (SCHNELL, {"steps": 8}, {"prompt": "an owl", "steps": 8}),
        (LUCID, {}, {"prompt": "an owl", "width": 1120, "height": 1120, "num_steps": 15}),
        (LUCID, {"steps": 3, "seed": 7}, {"prompt": "an owl", "width": 1120, "height": 1120, "steps": 3, "seed": 7}),
        (PHOENIX, {"width": 512}, {"prompt": "an owl", "width": 512, "height": 1024, "num_steps": 25}),
        (SDXL, {}, {"prompt": "an owl"}),
        (SDXL, {"negative_prompt": "blur"}, {"prompt": "an owl", "negative_prompt": "blur"}),
    ],
)
def test_json_models_are_sent_their_own_fields(model, params, sent):
    """Size and steps always where the charge hangs on them; nothing the model does not know."""
    assert payload(model, **params) == sent
    assert check_input(model, sent, "text-to-image") == []


@pytest.mark.parametrize(
    ("model", "params", "sent"),
    [
        (DEV, {}, {"prompt": "an owl", "width": "1024", "height": "1024", "steps": "25"}),
        (DEV, {"steps": 50, "width": 512}, {"prompt": "an owl", "width": "512", "height": "1024", "steps": "50"}),
        (KLEIN4, {}, {"prompt": "an owl", "width": "1024", "height": "1024"}),
        (KLEIN9, {"height": 768}, {"prompt": "an owl", "width": "1024", "height": "768"}),
    ],
)
def test_flux_2_is_sent_a_form(model, params, sent):
    """JSON would be answered 400: required properties are 'multipart'."""
    assert fields_of(payload(model, **params)) == sent


def test_pictures_to_begin_with_go_along(tmp_path):
    """As files of the form, or as base64; what is planned tells two pictures apart."""
    (tmp_path / "a.txt").write_bytes(picture(600, 100, "JPEG"))  # judged by content, not by name
    (tmp_path / "b.png").write_bytes(picture(10, 10))
    source = str(tmp_path / "table.jsonl")
    record = record_of({"prompt": "an owl", "one": "a.txt", "two": "b.png"}, source=source)
    form = payload(DEV, record, input_image_columns=["one", "two"])
    files = [part for part in form.parts if part.filename is not None]
    assert [(part.name, part.mime) for part in files] == [
        ("input_image_0", "image/jpeg"),
        ("input_image_1", "image/png"),
    ]
    assert files[1].content == picture(10, 10)
    sent = payload(SDXL, record, input_image_columns=["two"], strength=0.5)
    assert base64.b64decode(sent["image_b64"]) == picture(10, 10)
    adapter = adapter_of("image", DEV, input_image_columns=["one"])
    other = record_of({"prompt": "an owl", "one": "b.png"}, source=source)
    assert adapter.is_heavy
    assert adapter.outline(record).payload_key != adapter.outline(other).payload_key
    assert adapter.outline(record).ceiling == pytest.approx(25 * (37.5 * 4 + 18.75 * 2))  # 600 x 100: two tiles


def test_pictures_to_begin_with_are_made_smaller_where_the_job_says_so(tmp_path):
    """`max_pixels` bounds width times height, the file's kind stays."""
    (tmp_path / "a.jpg").write_bytes(picture(800, 400, "JPEG"))
    record = record_of({"prompt": "x", "photo": str(tmp_path / "a.jpg")})
    form = payload(KLEIN4, record, input_image_columns=["photo"], max_pixels=20_000)
    (file,) = [part for part in form.parts if part.filename is not None]
    width, height = size_of(file.content)
    assert width * height <= 20_000
    assert width == pytest.approx(2 * height, abs=2)
    assert file.mime == "image/jpeg"


@pytest.mark.parametrize(
    ("model", "params", "neurons"),
    [
        (SCHNELL, {}, 172.80),  # metered, 2026-08-13 and 2026-10-02
        (SCHNELL, {"steps": 8}, 4 * (4.8 + 9.6 * 8)),
        (LUCID, {}, 3904.69),  # metered, 2026-07-22
        (PHOENIX, {}, 3120.0),  # metered, 2026-07-22
        (PHOENIX, {"width": 512, "height": 512, "num_steps": 1}, 540.0),
        (DEV, {"steps": 50}, 7500.0),  # metered, 2026-07-22
        (KLEIN4, {"width": 1920, "height": 1088}, 207.59),  # metered, autumn 2026
        (KLEIN9, {}, 1363.64),
        (KLEIN9, {"width": 1920, "height": 1088}, 1545.46),  # metered about 1541
        (KLEIN9, {"width": 256, "height": 256}, 1363.64),
    ],
)
def test_the_ceiling_is_the_charge(model, params, neurons):
    """Measured figures come out of the formula."""
    adapter = adapter_of("image", model, **params)
    request = request_of(adapter, OWL)
    assert adapter.cost(request).ceiling == pytest.approx(neurons, abs=0.005)
    assert request.pieces[0].expected <= request.pieces[0].ceiling
    assert adapter.price(answer_of({}).usage) is None


@pytest.mark.parametrize(
    ("model", "params", "key"),
    [
        (SCHNELL, {"steps": 9}, "params.steps"),
        (SCHNELL, {"steps": 0}, "params.steps"),
        (SCHNELL, {"steps": 2.5}, "params.steps"),
        (SCHNELL, {"input_image_columns": ["a"]}, "params.input_image_columns"),
        (LUCID, {"num_steps": 41}, "params.num_steps"),
        (LUCID, {"num_steps": 4, "steps": 4}, "params.steps"),
        (LUCID, {"width": 2501}, "params.width"),
        (LUCID, {"guidance": 10.5}, "params.guidance"),
        (PHOENIX, {"guidance": 1}, "params.guidance"),
        (SDXL, {"height": 128}, "params.height"),
        (SDXL, {"strength": 1.5}, "params.strength"),
        (SDXL, {"num_steps": 21}, "params.num_steps"),
        (SDXL, {"input_image_columns": ["a", "b"]}, "params.input_image_columns"),
        (DEV, {"steps": 51}, "params.steps"),
        (DEV, {"input_image_columns": ["a"] * 5}, "params.input_image_columns"),
        (DEV, {"input_image_columns": "a"}, "params.input_image_columns"),
        (DEV, {"max_pixels": 3}, "params.max_pixels"),
    ],
)
def test_parameters_out_of_range_are_refused_before_anything_is_spent(model, params, key):
    """With the key that is at fault."""
    with pytest.raises(PlanError) as caught:
        adapter_of("image", model, unpriced=True, **params)
    assert caught.value.key == key


@pytest.mark.parametrize(
    ("model", "name"),
    [(SCHNELL, "width"), (SCHNELL, "seed"), (KLEIN4, "steps"), (LUCID, "negative_prompt"), (DEV, "multipart")],
)
def test_fields_a_model_does_not_take_are_refused(model, name):
    """An extra seed was tolerated for months and then failed whole runs."""
    kind = TASKS["image"]
    problems = check_params(model, "text-to-image", {name: 1}, kind.owned, extra=kind.extra, carriers=kind.carriers)
    assert problems
    assert problems[0].startswith(f"params.{name}: ")


def test_what_cannot_be_drawn_is_found_before_it_is_sent(tmp_path):
    """No prompt, one that is too long, a picture that is missing, none, too large in bytes or pixels."""
    schnell = adapter_of("image", SCHNELL)
    for prompt, words in ((None, "null"), ("  ", "empty"), ("x" * 2049, "2,049 characters")):
        with pytest.raises(RecordUnusable, match=words):
            schnell.pieces(record_of({"prompt": prompt}))
    schnell.pieces(record_of({"prompt": "x" * 2048}))
    files = {"none.png": b"not a picture", "cut.png": picture()[:20], "big.png": b"x" * 5_000_001, "bomb.png": bomb()}
    for name, content in files.items():
        (tmp_path / name).write_bytes(content)
    begin = adapter_of("image", DEV, input_image_columns=["photo"])
    cases = {
        "none.png": "not a picture in PNG",
        "cut.png": "not a picture",
        "big.png": "5.0 MB.*max_pixels",
        "bomb.png": "million pixels",
        "missing.png": "there is no file",
        "": "names no picture",
    }
    for name, words in cases.items():
        with pytest.raises(RecordUnusable, match=words):
            begin.outline(record_of({"prompt": "x", "photo": str(tmp_path / name) if name else None}))


def test_a_damaged_picture_is_not_sent(tmp_path):
    """Its head is fine, so the plan takes it; the damage is found when it is read."""
    broken = bytearray(picture(60, 60))
    broken[60] ^= 0xFF
    (tmp_path / "a.png").write_bytes(broken)
    adapter = adapter_of("image", DEV, input_image_columns=["photo"])
    request = request_of(adapter, record_of({"prompt": "x", "photo": str(tmp_path / "a.png")}))
    with pytest.raises(RecordUnusable, match="damaged"):
        adapter.payload(request)


@pytest.mark.parametrize(
    ("kind", "mime", "suffix"),
    [("PNG", "image/png", ".png"), ("JPEG", "image/jpeg", ".jpg"), ("WEBP", "image/webp", ".webp")],
)
@pytest.mark.parametrize("shape", ["base64", "data uri", "body"])
def test_every_documented_answer_becomes_a_file_named_for_what_it_is(kind, mime, suffix, shape):
    """Whatever media type the service claims."""
    content = picture(64, 48, kind)
    text = base64.b64encode(content).decode()
    result = {"base64": {"image": text}, "data uri": {"image": f"data:image/png;base64,{text}"}, "body": content}[shape]
    row, files = row_of(adapter_of("image"), record_of({"prompt": "x"}, name="Owl/1"), result, mime="image/png")
    assert (row["width"], row["height"], row["mime"]) == (64, 48, mime)
    assert row["path"] == f"media/{files[0].name}"
    assert row["path"].endswith(suffix)
    assert files[0].content == content


@pytest.mark.parametrize(
    "result",
    [
        None,
        [],
        "x",
        {},
        {"image": None},
        {"image": ""},
        {"image": 5},
        {"image": "no base64!"},
        {"image": base64.b64encode(b"<html>").decode()},
        {"image": [picture().hex()]},
        b"",
        b"<html>",
        picture()[:-20],
        picture(kind="JPEG")[:-200],
        picture(600, 600, "JPEG")[:-900],
        picture(200, 200, "WEBP")[:-20],
        bomb(),
        bomb(60_000, 60_000),
    ],
    ids=lambda result: repr(result)[:30],
)
def test_what_is_no_whole_picture_is_unreadable(result):
    """Truncated files and decompression bombs among it."""
    adapter = adapter_of("image")
    with pytest.raises(UnreadableAnswer):
        adapter.parse(request_of(adapter, OWL), answer_of(result, "image/png"))


@pytest.mark.parametrize(("size", "is_kept"), [((4_096, 4_096), True), ((4_100, 4_096), False)])
def test_a_picture_of_more_pixels_than_any_model_draws_is_not_decoded(size, is_kept):
    """A few hundred bytes of WebP could fill a gigabyte."""
    content = picture(*size, kind="GIF")
    adapter = adapter_of("image")
    request = request_of(adapter, record_of({"prompt": "a house"}))
    if is_kept:
        assert adapter.parse(request, answer_of(content, "image/gif"))
    else:
        with pytest.raises(UnreadableAnswer, match="more than 17 million pixels"):
            adapter.parse(request, answer_of(content, "image/gif"))

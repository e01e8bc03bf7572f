"""`to-markdown`: several documents a request, each answered or failed on its own."""

import json
from pathlib import Path

import pytest

from pipeline.errors import PlanError, RecordUnusable, UnreadableAnswer
from pipeline.records import Request
from pipeline.tasks.to_markdown import Unconverted
from tests.support.adapters import adapter_of, answer_of, record_of, request_of, row_of


@pytest.fixture
def papers(tmp_path):
    """Records of documents, two of which have one name."""
    (tmp_path / "more").mkdir()
    made = {"a.html": b"<p>a</p>", "b (1).pdf": b"%PDF-1.4", "c.xyz": b"?", "more/a.html": b"<p>b</p>", "p.png": b"x"}
    for name, content in made.items():
        (tmp_path / name).write_bytes(content)
    return {name: record_of({"path": str(tmp_path / name)}, name=name, source=str(tmp_path / name)) for name in made}


def done(name, text="# Hi", **more):
    return {"id": "1", "name": name, "mimeType": "text/html", "format": "markdown", "tokens": 2, "data": text, **more}


def failed(name, error="broken"):
    return {"id": "1", "name": name, "mimeType": "application/pdf", "format": "error", "error": error}


def rows_of(adapter, request, result):
    """The row of each document, or why it has none."""
    values = adapter.parse(request, answer_of(result))
    found = []
    for piece, value in zip(request.pieces, values, strict=True):
        try:
            found.append(adapter.row(piece.record, [value]))
        except UnreadableAnswer as error:
            found.append(str(error))
    return found


def test_documents_travel_together_each_under_a_name_of_its_own(papers):
    adapter = adapter_of("to-markdown", conversion_options={"pdf": {"metadata": False}})
    form = adapter.payload(request_of(adapter, *papers.values()))
    *files, options = form.parts
    assert [(part.name, part.filename, part.mime) for part in files] == [
        ("files", "a.html", "text/html"),
        ("files", "b-1-.pdf", "application/pdf"),
        ("files", "c.xyz", "application/octet-stream"),
        ("files", "3-a.html", "text/html"),
        ("files", "p.png", "image/png"),
    ]
    assert files[3].content == b"<p>b</p>"
    assert (options.name, json.loads(options.content)) == ("conversionOptions", {"pdf": {"metadata": False}})
    assert adapter.max_pieces == 10


def test_a_name_that_a_number_would_make_is_still_another(tmp_path):
    """`2-a.txt` is there already."""
    paths = [tmp_path / name for name in ("a.txt", "2-a.txt", "x/a.txt", "x/2-a.txt")]
    for path in paths:
        path.parent.mkdir(exist_ok=True)
        path.write_text(str(path))
    adapter = adapter_of("to-markdown")
    names = [
        part.filename
        for part in adapter.payload(request_of(adapter, *(record_of({"path": str(path)}) for path in paths))).parts
    ]
    assert len(set(names)) == 4


def test_results_are_matched_by_name_and_fail_one_by_one(papers):
    """In any order; one that is missing or there twice fails, the others do not."""
    adapter = adapter_of("to-markdown")
    request = request_of(adapter, *list(papers.values())[:4])
    result = [done("3-a.html", "b"), failed("b-1-.pdf"), done("c.xyz"), done("c.xyz"), done("a.html", "a"), done("z")]
    first, second, third, fourth = rows_of(adapter, request, result)
    assert first == {"markdown": "a", "tokens": 2, "mime": "text/html"}
    assert "could not convert this document: broken" in second
    assert "one result for this document" in third
    assert fourth["markdown"] == "b"


@pytest.mark.parametrize(
    ("result", "row"),
    [
        ([done("a.html")], {"markdown": "# Hi", "tokens": 2, "mime": "text/html"}),
        (done("another name"), {"markdown": "# Hi", "tokens": 2, "mime": "text/html"}),
        ([done("a.html", "plain", format="text")], {"markdown": "plain", "tokens": 2, "mime": "text/html"}),
        ([done("a.html", "")], {"markdown": "", "tokens": 2, "mime": "text/html"}),
        ([done("a.html", tokens=-1, mimeType=5)], {"markdown": "# Hi", "tokens": None, "mime": None}),
        ([done("a.html", tokens=10**30)], {"markdown": "# Hi", "tokens": None, "mime": "text/html"}),
    ],
)
def test_every_documented_answer_becomes_a_row(result, row, papers):
    """A single document needs no name."""
    assert row_of(adapter_of("to-markdown"), papers["a.html"], result)[0] == row


@pytest.mark.parametrize(
    "item", [failed("a.html"), failed("a.html", None), done("a.html", None), {"name": "a.html"}, {}]
)
def test_a_document_without_text_fails(item, papers):
    adapter = adapter_of("to-markdown")
    request = request_of(adapter, papers["a.html"])
    (value,) = adapter.parse(request, answer_of([item]))
    assert isinstance(value, Unconverted)
    with pytest.raises(UnreadableAnswer, match="could not convert"):
        adapter.row(papers["a.html"], [value])


@pytest.mark.parametrize("result", [None, "x", [], [None], ["a.html"], [[]], [done("x"), done("y")], b"x"], ids=repr)
def test_another_form_is_unreadable(result, papers):
    """As a whole: nothing in it belongs to a document."""
    adapter = adapter_of("to-markdown")
    with pytest.raises(UnreadableAnswer):
        adapter.parse(request_of(adapter, *list(papers.values())[:2]), answer_of(result))


def test_only_pictures_have_a_price(papers):
    """They are shown to a model; the rest is free."""
    adapter = adapter_of("to-markdown")
    assert adapter.outline(papers["a.html"]).ceiling == 0.0
    picture = adapter.outline(papers["p.png"])
    assert 0 < picture.expected < picture.ceiling
    pieces = [adapter.pieces(papers[name])[0] for name in ("a.html", "p.png")]
    assert adapter.cost(Request(tuple(pieces))).ceiling == pytest.approx(picture.ceiling)
    assert adapter.price(answer_of([]).usage) is None


def test_the_name_is_part_of_what_is_sent(papers):
    """It stands in the Markdown of a PDF."""
    adapter = adapter_of("to-markdown")
    path = Path(papers["a.html"].fields["path"])
    copy = path.with_name("copy.html")
    copy.write_bytes(path.read_bytes())
    keys = {adapter.outline(record_of({"path": str(name)})).payload_key for name in (path, copy)}
    assert len(keys) == 2


def test_what_cannot_be_sent_is_found_before_it_is(tmp_path):
    (tmp_path / "empty.pdf").touch()
    (tmp_path / "large.pdf").write_bytes(bytes(10_000_001))
    adapter = adapter_of("to-markdown")
    for name, words in (
        ("empty.pdf", "is empty"),
        ("large.pdf", "larger than 10 MB"),
        ("none.pdf", "there is no file"),
    ):
        with pytest.raises(RecordUnusable, match=words):
            adapter.outline(record_of({"path": str(tmp_path / name)}))


@pytest.mark.parametrize(
    ("params", "key"),
    [
        ({"conversion_options": "x"}, "params.conversion_options"),
        ({"conversion_options": {"docx": {}}}, "params.conversion_options.docx"),
        ({"conversion_options": {"pdf": True}}, "params.conversion_options.pdf"),
        ({"max_tokens": 5}, "params.max_tokens"),
    ],
)
def test_options_that_do_not_exist_are_refused(params, key):
    with pytest.raises(PlanError) as caught:
        adapter_of("to-markdown", **params)
    assert caught.value.key == key

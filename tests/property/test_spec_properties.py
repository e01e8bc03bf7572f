"""Whatever a file holds, loading it gives a job spec or a `SpecErrors`, and a job spec survives being written."""

import json

from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from pipeline.errors import SpecErrors
from pipeline.spec import parse_spec, render_template
from pipeline.spec.messages import all_keys

LEAF_NAMES = sorted({key.rsplit(".", 1)[-1] for key in all_keys()})

scalars = st.one_of(
    st.none(),
    st.booleans(),
    st.integers(),
    st.floats(),
    st.text(max_size=12),
    st.sampled_from(["embed", "generate", "yes", "stop", "a.jsonl", "-", "@cf/baai/bge-m3", "10_000"]),
)
keys = st.one_of(st.sampled_from(LEAF_NAMES), st.text(max_size=8))
values = st.recursive(
    scalars, lambda below: st.lists(below, max_size=4) | st.dictionaries(keys, below, max_size=6), max_leaves=12
)
plain_text = st.text(st.characters(codec="utf-8", exclude_characters="\0"), max_size=20)


def loads_or_refuses(text: str, *overrides: str) -> None:
    try:
        loaded = parse_spec(text, "job.yaml", overrides)
    except SpecErrors as exc:
        refusals = [error.problem for error in exc.errors]
        assert len(str(exc).splitlines()) == len(exc.errors)  # noqa: PT017 - either outcome is right
    else:
        refusals = ["none"]
        assert loaded.spec.task in ("embed", "generate")
    assert refusals
    assert all(refusals)


@given(st.dictionaries(keys, values, max_size=8) | values)
@settings(max_examples=120, deadline=None)
def test_any_data_loads_or_is_refused(data):
    loads_or_refuses(json.dumps(data))


@given(values)
@settings(max_examples=60, deadline=None)
def test_any_data_below_a_right_beginning(data):
    loads_or_refuses(json.dumps({"task": "embed", "input": {"path": "a"}, "params": data}))
    loads_or_refuses(json.dumps({"task": "embed", "input": data}))


@given(st.text(st.characters(exclude_categories=[]) | st.sampled_from("{}[]:,-?&*!|>'\"%@`#~ \n\t\\U"), max_size=60))
@settings(max_examples=250, deadline=None)
def test_any_text_loads_or_is_refused(text):
    loads_or_refuses(text)


TEMPLATE = render_template("generate")


@given(
    st.integers(0, len(TEMPLATE)),
    st.integers(0, 40),
    st.text(st.sampled_from("{}[]:,-?&*!|>'\"%@`#~ \n\t\\0aU"), max_size=12),
)
@settings(max_examples=50, deadline=None, suppress_health_check=[HealthCheck.too_slow])
def test_any_damage_to_a_template_loads_or_is_refused(at, n_gone, put):
    loads_or_refuses(TEMPLATE[:at] + put + TEMPLATE[at + n_gone :])


@given(st.sampled_from([*all_keys(), "x", "input.items[0]", ""]), plain_text)
@settings(max_examples=100, deadline=None)
def test_any_override_loads_or_is_refused(key, value):
    loads_or_refuses("task: embed\ninput: {path: a}\n", f"{key}={value}")


def optional(strategy):
    return st.none() | strategy


whole = st.integers(1, 1000)
positive = st.floats(0.01, 50)
json_values = st.recursive(
    st.none()
    | st.booleans()
    | st.integers(-(2**63), 2**63 - 1)
    | st.floats(allow_nan=False, allow_infinity=False)
    | plain_text,
    lambda below: st.lists(below, max_size=3) | st.dictionaries(plain_text.filter(bool), below, max_size=3),
    max_leaves=6,
)
origins = st.fixed_dictionaries({"path": plain_text.filter(bool) | st.lists(plain_text, min_size=1, max_size=3)}) | (
    st.fixed_dictionaries(
        {
            "items": st.lists(
                plain_text | st.dictionaries(plain_text.filter(bool), json_values, max_size=3), min_size=1, max_size=3
            )
        }
    )
)
rest_of_input = st.fixed_dictionaries(
    {},
    optional={
        "format": st.sampled_from(["text", "jsonl", "csv", "tsv", "parquet"]),
        "text": plain_text,
        "id": plain_text,
        "keep": st.lists(plain_text, max_size=3),
        "limit": whole,
        "where": plain_text,
    },
)
specs = st.fixed_dictionaries(
    {
        "task": st.sampled_from(["embed", "generate"]),
        "input": st.builds(lambda a, b: {**a, **b}, origins, rest_of_input),
    },
    optional={
        "name": st.from_regex(r"[A-Za-z0-9][A-Za-z0-9._-]{0,20}", fullmatch=True),
        "model": st.sampled_from(["@cf/baai/bge-m3", "@hf/a/b"]),
        "model_info": st.fixed_dictionaries({"input_per_m_tokens": st.floats(0, 1e9), "max_batch": whole}),
        "params": st.dictionaries(plain_text.filter(bool), json_values, max_size=3),
        "output": st.fixed_dictionaries({"path": optional(plain_text), "include_input": st.booleans()}),
        "limits": st.fixed_dictionaries(
            {"concurrency": whole, "request_timeout_seconds": positive, "batch_size": optional(whole)}
        ),
        "retry": st.fixed_dictionaries({"attempts": st.integers(1, 100), "abort_share": st.floats(0.01, 1)}),
        "budget": st.fixed_dictionaries({"neurons_per_day": positive, "when_spent": st.sampled_from(["stop", "wait"])}),
        "dedupe": st.booleans(),
        "checkpoint": st.fixed_dictionaries({"seconds": positive, "rows_per_part": st.integers(100, 10**6)}),
        "endpoint": st.fixed_dictionaries(
            {"kind": st.sampled_from(["workers-ai", "emulator"]), "gateway": optional(st.just("g"))}
        ),
    },
)


@given(specs)
@settings(max_examples=60, deadline=None)
def test_a_spec_survives_being_written_and_read(data):
    # YAML allows fewer characters unescaped than JSON (DEL among them).
    spec = parse_spec(json.dumps(data).replace("\x7f", "\\u007f")).spec
    written = json.dumps(spec.model_dump(mode="json")).replace("\x7f", "\\u007f")
    assert parse_spec(written).spec == spec

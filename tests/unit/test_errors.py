"""The tree of errors is the one that is drawn, and tells no secrets."""

import inspect
import re

import pytest

from pipeline import errors
from pipeline.errors import ApiError, AttemptError, PipelineError, Scope, SpecError, SpecErrors

CLASSES = {
    name: kind
    for name, kind in vars(errors).items()
    if inspect.isclass(kind) and issubclass(kind, PipelineError) and kind.__module__ == errors.__name__
}
MADE = {
    "SpecErrors": lambda: SpecErrors(
        [SpecError("job.yaml", 3, "task", "is missing"), SpecError("job.yaml", 0, "", "x")]
    ),
    "SpecError": lambda: SpecError("job.yaml", 3, "limits.concurrency", "should be at least 1"),
    "SettingsError": lambda: errors.SettingsError("CLOUDFLARE_API_TOKEN", "is missing"),
    "SourceError": lambda: errors.SourceError("data.jsonl", "is missing"),
    "BudgetExhausted": lambda: errors.BudgetExhausted(room=1.0, asked=2.0),
}


def make(kind):
    if kind.__name__ in MADE:
        return MADE[kind.__name__]()
    return kind(429, 3021, "words") if issubclass(kind, ApiError) else kind("words")


def drawn():
    """(name, parent) of each line of the tree in the module's docstring."""
    parents, found = {-1: None}, {}
    for line in errors.__doc__.splitlines():
        match = re.match(r"^((?:│   |    )*)(?:[├└]── )?([A-Z]\w+)\b", line[4:]) if line.startswith("    ") else None
        if match and match[2] in CLASSES:
            depth = len(match[1]) // 4 + ("── " in line)
            parents[depth] = match[2]
            found[match[2]] = parents[depth - 1]
    return found


def test_every_error_is_drawn_under_its_parent():
    """The picture in the docstring is the tree, apart from the node that only carries attributes."""
    tree = drawn()
    assert set(tree) == set(CLASSES) - {"AttemptError"}
    for name, parent in tree.items():
        if parent is not None:
            bases = {base.__name__ for base in CLASSES[name].__mro__[1:]}
            assert parent in bases, name


def test_the_drawn_reach_is_the_scope_of_the_class():
    """ATTEMPT, RECORD and RUN in the picture say what the class says."""
    for name, reach in re.findall(r"(\w+) {2,}.*?\b(ATTEMPT|RECORD|RUN)\b", errors.__doc__):
        assert CLASSES[name].scope.name == reach, name


@pytest.mark.parametrize("kind", CLASSES.values(), ids=CLASSES)
def test_every_error_can_be_made_and_says_something(kind):
    """An error explains itself in words, has an exit code, and is an error of this package."""
    error = make(kind)
    assert str(error).strip()
    assert kind.__name__ in repr(error)
    assert isinstance(kind.exit_code, int)
    assert 1 <= kind.exit_code <= 14
    assert kind.__doc__


@pytest.mark.parametrize("kind", [kind for kind in CLASSES.values() if issubclass(kind, AttemptError)])
def test_what_an_attempt_ends_with_has_a_scope_and_a_code(kind):
    """The engine and the failure rows ask nothing else."""
    error = make(kind)
    assert isinstance(error.scope, Scope)
    assert error.code
    assert error.neurons is None


def test_an_api_error_without_a_code_is_named_by_its_status():
    """Failure rows have a code in every case."""
    assert ApiError(502, None, "bad gateway").code == "http_502"
    assert str(ApiError(502, None, "bad gateway")) == "bad gateway (HTTP 502)"
    assert str(ApiError(429, 3021, "slow down")) == "slow down (HTTP 429, code 3021)"


def test_spec_errors_are_one_line_each():
    """All mistakes are told at once, each with its place."""
    assert str(make(SpecErrors)) == "job.yaml:3: task: is missing\njob.yaml: x"

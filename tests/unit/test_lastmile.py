"""The last mile: close to the end of the budget, never beyond it."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pipeline.lastmile import SAFETY, InputRatios, tighten
from pipeline.records import Request
from tests.support.fakes import FakeAdapter, record


def pieces(adapter, inputs):
    return [adapter.pieces(record(index, f"t@{value}"))[0] for index, value in enumerate(inputs)]


def ratios(*seen):
    memory = InputRatios()
    for value in seen:
        memory.observe(charged=value, bound=1.0)
    return memory


@given(
    st.lists(st.floats(0.01, 50.0), max_size=20),
    st.floats(0.0, 60.0),
    st.floats(0.01, 1.0),
    st.sampled_from([0.0, 0.1, 2.0]),
    st.integers(1, 300),
)
def test_the_ceiling_is_never_above_the_room(inputs, room, ratio, out, max_tokens):
    """Whatever is chosen fits, and its cap is a bound of at least one token."""
    adapter = FakeAdapter(out=out, max_tokens=max_tokens if out else 0)
    chosen = tighten(pieces(adapter, inputs), room=room, ratio=ratio, cost=adapter.cost)
    if chosen is None:
        least = min(inputs, default=1e9) * ratio + out
        assert least > room - 1e-6
        return
    request, ceiling = chosen
    assert 0 < ceiling <= room + 1e-9
    assert len(request.pieces) == 1
    bound = adapter.cost(request)
    assert ceiling == pytest.approx(bound.input * ratio + bound.output_per_token * bound.max_output)
    if out:
        assert 1 <= request.output_cap <= max_tokens


def test_where_only_input_costs_the_dearest_that_fits_is_sent():
    """It uses most of the room."""
    adapter = FakeAdapter()
    request, ceiling = tighten(pieces(adapter, [3, 20, 9, 11]), room=5.0, ratio=0.5, cost=adapter.cost)
    assert request.pieces[0].record.ordinal == 2
    assert ceiling == 4.5
    assert request.output_cap is None


def test_where_output_costs_the_cheapest_input_is_sent_under_a_cap():
    """What is left of the room goes into its answer."""
    adapter = FakeAdapter(out=0.5, max_tokens=100)
    request, ceiling = tighten(pieces(adapter, [30, 4, 12]), room=12.0, ratio=1.0, cost=adapter.cost)
    assert request == Request(request.pieces, output_cap=16)
    assert request.pieces[0].record.ordinal == 1
    assert ceiling == 12.0


def test_a_cap_is_never_above_the_jobs_own():
    """Room for more than the job wants is left alone."""
    adapter = FakeAdapter(out=0.5, max_tokens=10)
    request, ceiling = tighten(pieces(adapter, [4]), room=100.0, ratio=1.0, cost=adapter.cost)
    assert request.output_cap == 10
    assert ceiling == 9.0


def test_without_experience_the_proven_bound_holds():
    """Fewer than five answers teach nothing."""
    assert ratios().ratio == 1.0
    assert ratios(0.1, 0.1, 0.1, 0.1).ratio == 1.0


def test_experience_is_the_worst_case_with_a_margin():
    """The worst input seen decides, not the average, and more than the bound is never expected."""
    assert ratios(0.1, 0.2, 0.1, 0.1, 0.1).ratio == pytest.approx(0.2 * SAFETY)
    assert ratios(0.1, 0.9, 0.1, 0.1, 0.1).ratio == 1.0
    assert ratios(*[7.0] * 5).ratio == 1.0


def test_old_experience_is_forgotten():
    """The latest 256 answers count."""
    assert ratios(1.0, *[0.1] * 256).ratio == pytest.approx(0.1 * SAFETY)


def test_a_bound_of_nothing_teaches_nothing():
    """A free model has no ratio."""
    memory = InputRatios()
    for _ in range(10):
        memory.observe(charged=1.0, bound=0.0)
    assert memory.ratio == 1.0

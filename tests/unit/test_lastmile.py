"""The last mile: close to the end of the budget, never beyond it."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pipeline.lastmile import SAFETY, InputRatios, tighten
from pipeline.records import Request
from tests.support.fakes import FakeAdapter, record


def pieces(adapter, inputs):
    return [adapter.pieces(record(index, f"t@{value}"))[0] for index, value in enumerate(inputs)]


def sent(text="plain words", n=1):
    return Request(tuple(FakeAdapter().pieces(record(index, text))[0] for index in range(n)))


def ratios(*seen, bound=1.0, text="plain words"):
    memory = InputRatios()
    for value in seen:
        memory.observe(sent(text), charged=value * bound, bound=bound)
    return memory


@given(
    st.lists(st.floats(0.01, 50.0), max_size=20),
    st.floats(0.0, 60.0),
    st.floats(0.01, 1.0),
    st.sampled_from([0.0, 0.1, 2.0]),
    st.integers(1, 300),
)
def test_the_ceiling_is_never_above_the_room(inputs, room, ratio, out, max_tokens):
    """Whatever is chosen fits, its cap is a bound of at least one token, and nothing is chosen only if nothing fits."""
    adapter = FakeAdapter(out=out, max_tokens=max_tokens if out else 0)
    most = lambda bound: bound * ratio  # noqa: E731
    chosen = tighten(pieces(adapter, inputs), room=room, most=most, cost=adapter.cost)
    if chosen is None:
        least = min(inputs, default=1e9) * ratio + out
        assert least > room - 1e-6
        return
    request, ceiling = chosen
    assert 0 < ceiling <= room + 1e-6
    assert len(request.pieces) == 1
    bound = adapter.cost(request)
    assert ceiling == pytest.approx(most(bound.input) + bound.output_per_token * bound.max_output)
    if out:
        assert 1 <= request.output_cap <= max_tokens
    else:
        assert request.output_cap is None


def test_where_only_input_costs_the_dearest_that_leaves_room_for_another_is_sent():
    """And as the last one the dearest that fits."""
    adapter = FakeAdapter()
    half = lambda bound: bound * 0.5  # noqa: E731
    request, ceiling = tighten(pieces(adapter, [3, 20, 9, 11]), room=11.0, most=half, cost=adapter.cost)
    assert (request.pieces[0].record.ordinal, ceiling) == (3, 5.5)
    request, ceiling = tighten(pieces(adapter, [3, 20, 9, 11]), room=5.0, most=half, cost=adapter.cost)
    assert (request.pieces[0].record.ordinal, ceiling) == (2, 4.5)


def test_where_output_costs_the_cheapest_input_is_sent_under_a_cap():
    """What is left of the room goes into its answer, but for the least the next one needs."""
    adapter = FakeAdapter(out=0.5, max_tokens=100)
    request, ceiling = tighten(pieces(adapter, [30, 4, 12]), room=30.0, most=lambda bound: bound, cost=adapter.cost)
    assert request.pieces[0].record.ordinal == 1
    assert request.output_cap == int((30 - 4 - 12 - 0.5) / 0.5)
    assert ceiling == pytest.approx(4 + 0.5 * request.output_cap)


def test_a_cap_is_never_above_the_jobs_own():
    """Room for more than the job wants is left alone."""
    adapter = FakeAdapter(out=0.5, max_tokens=10)
    request, ceiling = tighten(pieces(adapter, [4]), room=100.0, most=lambda bound: bound, cost=adapter.cost)
    assert request.output_cap == 10
    assert ceiling == 9.0


def test_nothing_to_choose_from_is_no_choice():
    """An empty list."""
    assert tighten([], room=100.0, most=lambda bound: bound, cost=FakeAdapter().cost) is None


def test_without_experience_the_proven_bound_holds():
    """Fewer than five answers teach nothing."""
    assert ratios().ratio == 1.0
    assert ratios(0.1, 0.1, 0.1, 0.1).ratio == 1.0
    assert ratios(0.1, 0.1, 0.1, 0.1).most(7.0) == 7.0


def test_experience_is_the_worst_case_with_a_margin():
    """The worst input seen decides, not the average, and more than the bound is never expected."""
    assert ratios(0.1, 0.2, 0.1, 0.1, 0.1).ratio == pytest.approx(0.2 * 1.35)
    assert ratios(0.1, 0.2, 0.1, 0.1, 0.1).ratio_of_many == pytest.approx(0.2 * 1.1)
    assert ratios(0.1, 0.9, 0.1, 0.1, 0.1).ratio == 1.0
    assert ratios(*[7.0] * 5).ratio == 1.0


def test_signs_and_digits_do_not_spoil_what_is_known_of_plain_words():
    """They take more tokens: kept apart for single texts, yet counted where a bound must hold for any input."""
    memory = ratios(*[0.2] * 5)
    memory.observe(sent("$1,234.56 || {}"), charged=0.6, bound=1.0)
    assert memory.most(1.0) == pytest.approx(0.2 * SAFETY)
    assert memory.ratio == pytest.approx(0.6 * SAFETY)


def test_plain_words_are_sent_before_signs_and_digits():
    """What is known best is used first; where there is nothing else, what is known of its kind prices it."""
    adapter = FakeAdapter(ceiling=2.0)
    dense, plain = (adapter.pieces(record(index, text))[0] for index, text in enumerate(["12345 67890", "plain words"]))
    half, whole = (lambda bound: bound / 2), (lambda bound: bound)
    for choice in ([dense, plain], [plain, dense]):
        request, ceiling = tighten(choice, room=10.0, most=half, dense=whole, cost=adapter.cost)
        assert (request.pieces, ceiling) == ((plain,), 1.0)
    assert tighten([dense], room=10.0, most=half, dense=whole, cost=adapter.cost) == (Request((dense,)), 2.0)
    assert tighten([dense], room=10.0, most=half, cost=adapter.cost) == (Request((dense,)), 1.0)


@pytest.mark.parametrize("letter", ["a", "é"])
def test_a_text_is_plain_up_to_one_sign_in_ten(letter):
    """Letters and white space, in any script."""
    memory = ratios(*[0.2] * 5)
    for text in (8 * letter + " 1", 8 * letter + "12"):
        for _ in range(5):
            memory.observe(sent(text), charged=0.1 if "12" in text else 0.3, bound=1.0)
    assert memory.most(1.0) == pytest.approx(0.3 * SAFETY)
    assert memory.most_dense(1.0) == pytest.approx(0.1 * SAFETY)


def test_the_last_answer_is_worth_its_input():
    """The dearest input that leaves eight tokens for an answer; else the cheapest with what it leaves."""
    adapter = FakeAdapter(out=1.0, max_tokens=50)
    for room, ordinal, cap in ((20.0, 1, 8), (19.9, 0, 9), (11.0, 0, 1)):
        request, ceiling = tighten(pieces(adapter, [10, 12]), room=room, most=lambda bound: bound, cost=adapter.cost)
        assert (request.pieces[0].record.ordinal, request.output_cap) == (ordinal, cap)
        assert ceiling <= room
    assert tighten(pieces(adapter, [10, 12]), room=10.9, most=lambda bound: bound, cost=adapter.cost) is None


def test_inputs_of_a_size_are_judged_by_their_own_kind():
    """And by all of them where there are too few of their own."""
    memory = ratios(*[0.1] * 5, bound=10.0)
    for _ in range(5):
        memory.observe(sent(), charged=60.0, bound=100.0)
    assert memory.most(10.0) == pytest.approx(10.0 * 0.1 * SAFETY)
    assert memory.most(100.0) == pytest.approx(100.0 * 0.6 * SAFETY)
    assert memory.most(1000.0) == pytest.approx(1000.0 * 0.6 * SAFETY)
    for bound, share in ((100 / 1.16, 0.6), (100 / 1.14, 0.6), (10 * 1.14, 0.1), (10 * 1.16, 0.6), (10 / 1.14, 0.1)):
        assert memory.most(bound) == pytest.approx(bound * share * SAFETY)


@given(st.lists(st.tuples(st.floats(0.01, 100), st.floats(0, 2), st.integers(1, 9)), max_size=20), st.floats(0.01, 100))
def test_no_input_is_expected_above_its_bound(seen, bound):
    """Experience only ever tightens."""
    memory = InputRatios()
    for size, share, n_pieces in seen:
        memory.observe(sent(n=n_pieces), charged=size * share, bound=size)
    assert 0 <= memory.most(bound) <= bound * (1 + 1e-12)
    assert 0 <= memory.ratio <= 1


def test_old_experience_is_forgotten():
    """The latest 256 answers count."""
    assert ratios(1.0, *[0.1] * 255).ratio == 1.0
    assert ratios(1.0, *[0.1] * 256).ratio == pytest.approx(0.1 * SAFETY)
    assert ratios(1.0, *[0.1] * 255).most(1.0) == 1.0
    assert ratios(1.0, *[0.1] * 256).most(1.0) == pytest.approx(0.1 * SAFETY)


def test_a_bound_of_nothing_teaches_nothing():
    """A free model has no ratio."""
    memory = InputRatios()
    for _ in range(10):
        memory.observe(sent(), charged=1.0, bound=0.0)
    assert memory.ratio == 1.0

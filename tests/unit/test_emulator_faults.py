import pytest

from pipeline.emulator.__main__ import config_from
from pipeline.emulator.config import EmulatorConfig, load_faults
from pipeline.emulator.faults import FaultPlan


def struck(plan, n, body=b"", model="m"):
    return [None if (s := plan.strike(body, model)).rule is None else s.rule.fault for _ in range(n)]


def test_a_share_is_met_and_the_seed_repeats_it():
    rules = [{"fault": "3040", "share": 0.1}, {"fault": "reset", "share": 0.1}]
    first = struck(FaultPlan({"seed": 1, "rules": rules}), 2000)
    assert first == struck(FaultPlan({"seed": 1, "rules": rules}), 2000)
    assert first != struck(FaultPlan({"seed": 2, "rules": rules}), 2000)
    assert 150 < first.count("3040") < 250
    assert 130 < first.count("reset") < 230


def test_match_after_times_and_model_all_hold():
    plan = FaultPlan(
        {
            "rules": [
                {"fault": 3043, "match": "POISON", "model": "m", "after": 3, "times": 2},
                {"fault": "4006", "after": 7},
            ]
        }
    )
    assert struck(plan, 2, b"x POISON y") == [None, None]
    assert struck(plan, 1, b"x POISON y", "other") == [None]
    assert struck(plan, 1, b"sound") == [None]
    assert struck(plan, 3, b"x POISON y") == ["3043", "3043", "4006"]


def test_latency_adds_up_and_lets_the_next_rule_speak():
    plan = FaultPlan(
        {"rules": [{"fault": "latency", "seconds": 2}, {"fault": "latency", "seconds": 1}, {"fault": "500"}]}
    )
    met = plan.strike(b"", "m")
    assert met.delay_s == 3
    assert met.rule is not None
    assert met.rule.fault == "500"


@pytest.mark.parametrize(
    "plan",
    [
        {"rule": []},
        {"rules": {}},
        {"rules": ["3040"]},
        {"rules": [{"share": 0.5}]},
        {"rules": [{"fault": "9999"}]},
        {"rules": [{"fault": "3040", "share": 2}]},
        {"rules": [{"fault": "3040", "share": "half"}]},
        {"rules": [{"fault": "3040", "often": 2}]},
    ],
)
def test_a_wrong_plan_is_refused(plan):
    with pytest.raises(ValueError, match=r"faults|rules|fault|share"):
        FaultPlan(plan)


def test_plans_come_as_json_or_as_a_file(tmp_path):
    assert load_faults('{"rules": []}') == {"rules": []}
    assert load_faults('[{"fault": "500"}]') == {"rules": [{"fault": "500"}]}
    file = tmp_path / "plan.json"
    file.write_text('{"seed": 3}')
    assert load_faults(str(file)) == {"seed": 3}
    for bad in ("nowhere.json", "{", "3"):
        with pytest.raises(ValueError, match=r"."):
            load_faults(bad)


def test_command_line_becomes_a_configuration(tmp_path):
    config = config_from(
        "--free-plan --latency-ms 5,9 --answer-tokens 3,4 --capacity 2 --rpm 7 --retry-after-seconds 1.5 "
        f"--faults {{}} --request-log {tmp_path / 'log'}".split()
    )
    assert config == EmulatorConfig(
        daily_neurons=10_000.0,
        paid_plan=False,
        latency_ms=(5.0, 9.0),
        answer_tokens=(3, 4),
        capacity=2,
        rpm=7,
        retry_after_s=1.5,
        faults={},
        request_log=tmp_path / "log",
    )
    assert config_from([]) == EmulatorConfig()


@pytest.mark.parametrize(
    ("option", "value", "words"),
    [
        ("--faults", "{fault:500}", "faults: not JSON"),
        ("--latency-ms", "fast", "--latency-ms: fast is not a number"),
        ("--answer-tokens", "1,x", "--answer-tokens: 1,x is not a number"),
        ("--port", "65536", "port: 65536 is not between 0 and 65,535"),
    ],
)
def test_a_mistake_in_an_option_names_it(option, value, words):
    with pytest.raises(ValueError, match=words):
        config_from([option, value])


@pytest.mark.parametrize(
    "options",
    [
        {"host": "0.0.0.0"},
        {"host": "example.com"},
        {"latency_ms": (5, 1)},
        {"answer_tokens": (0, 1)},
        {"rpm": 0},
        {"capacity": -1},
    ],
)
def test_senseless_options_are_refused(options):
    with pytest.raises(ValueError, match=next(iter(options))):
        EmulatorConfig(**options)

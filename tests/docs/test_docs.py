"""Documentation that would mislead fails the build."""

import re
import subprocess
import sys
from pathlib import Path

import pytest

from pipeline.cli import main
from pipeline.events import EXIT_CODES, StopReason
from pipeline.spec import EndpointSpec, parse_spec

ROOT = Path(__file__).parents[2]
README = (ROOT / "README.md").read_text(encoding="utf-8")
ARCHITECTURE = (ROOT / "ARCHITECTURE.md").read_text(encoding="utf-8")


def test_readme_opens_with_the_two_commands():
    opening = README.split("## ")[0]
    assert opening.index("make demo") < opening.index("make test")
    makefile = (ROOT / "Makefile").read_text(encoding="utf-8")
    for target in re.findall(r"`?make ([a-z]+)", README):
        assert re.search(rf"^{target}:", makefile, re.MULTILINE), target


@pytest.mark.parametrize("command", sorted(main.commands))
def test_every_command_is_in_the_readme(command):
    assert f"`wai {command}" in README


@pytest.mark.parametrize("name", sorted(main.commands))
def test_every_command_says_what_it_does(name):
    command = main.commands[name]
    assert command.help
    for option in command.params:
        assert option.param_type_name == "argument" or option.help, f"{name} {option.opts}"


def test_every_option_that_the_readme_names_exists():
    known = {option for command in main.commands.values() for parameter in command.params for option in parameter.opts}
    section = README.split("## Commands")[1].split("## The job spec")[0]
    assert set(re.findall(r"--[a-z][a-z-]*", section)) <= known


def test_every_exit_code_is_in_the_readme():
    section = README.split("Exit codes:")[1].split("##")[0]
    for code in {*EXIT_CODES.values(), 2, 10, 11, 14}:
        assert re.search(rf"\b{code}\b", section), code
    for reason in (StopReason.BUDGET_SPENT, StopReason.ALLOCATION_REFUSED, StopReason.FAILING):
        assert reason in section


def test_every_room_is_in_the_architecture():
    for entry in (ROOT / "pipeline").iterdir():
        if entry.name.startswith("_") or entry.name == "py.typed":
            continue
        name = f"{entry.name}/" if entry.is_dir() else entry.name
        assert f"`{name}" in ARCHITECTURE or f"`{name}`" in ARCHITECTURE, name


@pytest.mark.parametrize(
    "document",
    ["README.md", "ARCHITECTURE.md", *(str(p.relative_to(ROOT)) for p in sorted((ROOT / "docs").rglob("*.md")))],
)
def test_every_file_that_a_document_names_exists(document):
    text = (ROOT / document).read_text(encoding="utf-8")
    for path in re.findall(r"(?:tests|docs|jobs|benchmarks)/[\w./*-]+\w", text):
        assert list(ROOT.glob(path)), path


def test_the_constraints_name_versions_and_no_hosts():
    lines = (ROOT / "constraints.txt").read_text(encoding="utf-8").split()
    assert all(re.fullmatch(r"[A-Za-z0-9_.-]+==[\w.]+", line) for line in lines)


def test_help_needs_none_of_the_heavy_libraries():
    """`wai --help` is instant because nothing heavy is imported for it."""
    code = (
        "import sys, pipeline.cli as c\n"
        "try: c.main(['--help'], standalone_mode=False)\n"
        "except SystemExit: pass\n"
        "heavy = {'pyarrow', 'pandas', 'numpy', 'aiohttp', 'pydantic', 'rich'} & set(sys.modules)\n"
        "assert not heavy, heavy"
    )
    subprocess.run([sys.executable, "-c", code], check=True, capture_output=True)


def test_the_python_api_has_the_names_it_promises():
    import pipeline

    for name in pipeline.__all__:
        assert getattr(pipeline, name) is not None


EXAMPLES = re.findall(r"```yaml\n(.*?)```", (ROOT / "docs/endpoints.md").read_text(encoding="utf-8"), re.DOTALL)


@pytest.mark.parametrize("text", EXAMPLES)
def test_every_example_of_an_endpoint_is_a_valid_spec(text):
    """Also with its commented lines switched on."""
    parse_spec(text, "example.yaml")
    parse_spec(re.sub(r"^  # (?=\w+:)", "  ", text, flags=re.MULTILINE), "example.yaml")


def test_every_kind_of_endpoint_has_an_example():
    kinds = set(EndpointSpec.model_json_schema()["properties"]["kind"]["enum"])
    assert {parse_spec(text).spec.endpoint.kind for text in EXAMPLES} == kinds - {"emulator"}

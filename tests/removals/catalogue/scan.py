"""The reading that is kept is used for the very input and job it was made of."""

from tests.removals.removal import Removal

_KEPT = "tests/unit/test_keptscan.py"
_CHANGED = f"{_KEPT}::test_an_input_that_may_have_changed_is_read"
_OTHER_JOB = f"{_KEPT}::test_another_selection_or_job_is_read"


def _without(part, text, *tests, after):
    return Removal(
        name=f"the key of a kept scan leaves out {part}",
        promise="machine",
        path="pipeline/keptscan.py",
        before=text,
        after=after,
        tests=tests,
    )


SCAN = (
    _without("the version", "(__version__, sys.", f"{_KEPT}::test_another_version_reads", after='("", sys.'),
    _without("the files", "version_info[:3], fingerprint.digest),", _CHANGED, after="version_info[:3]),"),
    _without("what is read", "(spec.task, spec.input, spec.params", _OTHER_JOB, after="(spec.task, spec.params"),
    _without("the parameters", "spec.params, spec.limits", _OTHER_JOB, after="spec.limits"),
    _without("the model and its prices", "        job.model,\n", _OTHER_JOB, after=""),
    _without(
        "files that the task reads",
        "        job.adapter.also_read,\n",
        f"{_KEPT}::test_another_glossary_reads",
        after="",
    ),
    Removal(
        name="a file is known by its size and the time of its content alone",
        promise="machine",
        path="pipeline/sources/fingerprint.py",
        before='identity=b"%s %d %d" % (state, status.st_ctime_ns, status.st_ino),',
        after="identity=state,",
        tests=(f"{_CHANGED}[rewritten]", f"{_CHANGED}[replaced]"),
    ),
    Removal(
        name="a kept scan is believed without its digest",
        promise="machine",
        path="pipeline/storage/kept.py",
        before="        if file.bytes(end, DIGEST_BYTES) != state.digest():\n",
        after="        if end < start:\n",
        tests=(f"{_KEPT}::test_a_damaged_scan_is_made_again",),
    ),
    Removal(
        name="a kept scan is found without its key",
        promise="machine",
        path="pipeline/storage/kept.py",
        before="        if (magic, version, its_key) != (_MAGIC, _VERSION, key) or",
        after="        if (magic, version) != (_MAGIC, _VERSION) or",
        tests=(f"{_KEPT}::test_another_version_reads", _CHANGED),
    ),
    Removal(
        name="a kept scan is not tried on the first records",
        promise="machine",
        path="pipeline/keptscan.py",
        before="    return found if same and len(tried) == min(SAMPLES, len(found)) else None\n",
        after="    return found if len(tried) == min(SAMPLES, len(found)) else None\n",
        tests=(f"{_KEPT}::test_a_scan_made_by_other_rules_is_not_used",),
    ),
    Removal(
        name="a kept scan of another number of records is used",
        promise="machine",
        path="pipeline/keptscan.py",
        before="    return found if same and len(tried) == min(SAMPLES, len(found)) else None\n",
        after="    return found if same else None\n",
        tests=(f"{_KEPT}::test_a_scan_of_another_number_of_records_is_not_used",),
    ),
    Removal(
        name="a scan is kept of an input of just now",
        promise="machine",
        path="pipeline/keptscan.py",
        before="clock is not None and before.changed_s + SETTLED_S <= clock.now().timestamp()",
        after="clock is not None",
        tests=(f"{_KEPT}::test_an_input_of_just_now_is_not_kept",),
    ),
    Removal(
        name="a scan is kept of an input that changed while it was read",
        promise="machine",
        path="pipeline/keptscan.py",
        before="    if is_settled and _is_still(source, before) and",
        after="    if is_settled and",
        tests=(f"{_KEPT}::test_an_input_that_changes_while_it_is_read_is_not_kept",),
    ),
    Removal(
        name="a recalled scan does not hold the input to it",
        promise="machine",
        path="pipeline/keptscan.py",
        before="    source.hold_to(fingerprint)  # as the first reading would have done\n",
        after="",
        tests=(f"{_KEPT}::test_what_is_recalled_holds_the_input_to_it",),
    ),
    Removal(
        name="a disk that refuses the kept scan ends the run",
        promise="machine",
        path="pipeline/keptscan.py",
        before='        tell(f"the next run will have to read the whole input again: {error}")\n',
        after="        raise\n",
        tests=(f"{_KEPT}::test_a_disk_that_refuses_costs_the_next_run_a_reading",),
    ),
    Removal(
        name="an input that has changed is read on",
        promise="hostile",
        path="pipeline/sources/reading.py",
        before="            if origin.state() != known:  # asked after",
        after="            if not known:  # asked after",
        tests=("tests/unit/test_sources_selection.py::test_what_has_changed_since_the_first_reading_is_not_read_on",),
    ),
)

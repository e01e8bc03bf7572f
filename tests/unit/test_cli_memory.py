"""What the program does to stay small."""

import subprocess
import sys


def test_pandas_is_not_imported_and_can_be_later():
    """pyarrow finds no pandas when it asks; who wants it afterwards gets it."""
    code = (
        "import sys\n"
        "from pipeline.cli.memory import forgo_pandas, use_one_heap\n"
        "use_one_heap(); forgo_pandas()\n"
        "import pyarrow as pa, pyarrow.parquet\n"
        "assert pa.array(['a', None]).to_pylist() == ['a', None]\n"
        "assert 'pandas' not in sys.modules\n"
        "import pandas\n"
        "assert pandas.Series([1]).sum() == 1\n"
    )
    subprocess.run([sys.executable, "-c", code], check=True)


def test_what_is_imported_for_good_is_not_collected_again():
    """Collecting goes on afterwards, only less often, and never over what was imported; so it does after a failure."""
    code = (
        "import gc, weakref\n"
        "from pipeline.cli.memory import made_for_good\n"
        "class Cycle: pass\n"
        "try:\n"
        "    with made_for_good():\n"
        "        assert not gc.isenabled()\n"
        "        import pipeline.run\n"
        "        raise ValueError\n"
        "except ValueError: pass\n"
        "assert gc.isenabled() and gc.get_threshold()[0] > 700\n"
        "assert gc.get_freeze_count() > 20_000\n"
        "assert len(gc.get_objects()) < 5_000\n"
        "it = Cycle(); it.itself = it; gone = weakref.ref(it); del it\n"
        "kept = [[] for _ in range(20_000)]\n"
        "assert gone() is None\n"
    )
    subprocess.run([sys.executable, "-c", code], check=True)

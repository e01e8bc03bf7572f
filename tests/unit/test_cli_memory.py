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

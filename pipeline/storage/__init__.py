"""The durable output: rows in, a folder of Parquet parts out, and nothing that was appended is ever lost.

`Store` is the room's door; `read_state`, `locate` and `verify_folder` look in from outside. The crash order: ADR 0002.
Never sends anything, never decides what is pending; never shows an unfinished file in ``results/`` or ``failures/``.
"""

from pipeline.storage.answers import AnswerFile
from pipeline.storage.copies import Follower, Shared
from pipeline.storage.disk import Disk
from pipeline.storage.index import CHANGED, DONE, FAILED, NEW, DoneIndex, key_array
from pipeline.storage.kept import Kept, find_kept
from pipeline.storage.layout import Layout
from pipeline.storage.locate import Glance, Located, glance, locate
from pipeline.storage.lock import WAITS_UNTIL
from pipeline.storage.manifest import JobIdentity, Manifest
from pipeline.storage.memory import PieceMemory
from pipeline.storage.recovery import Recovery
from pipeline.storage.state import StoreState, read_index, read_state
from pipeline.storage.store import Store
from pipeline.storage.verify import verify_folder

__all__ = [
    "CHANGED",
    "DONE",
    "FAILED",
    "NEW",
    "WAITS_UNTIL",
    "AnswerFile",
    "Disk",
    "DoneIndex",
    "Follower",
    "Glance",
    "JobIdentity",
    "Kept",
    "Layout",
    "Located",
    "Manifest",
    "PieceMemory",
    "Recovery",
    "Shared",
    "Store",
    "StoreState",
    "find_kept",
    "glance",
    "key_array",
    "locate",
    "read_index",
    "read_state",
    "verify_folder",
]

"""What is removed, and which tests say so; the order is that of docs/reliability.md."""

from tests.removals.catalogue.answers import ANSWERS
from tests.removals.catalogue.durable import DURABLE
from tests.removals.catalogue.ends import ENDS
from tests.removals.catalogue.money import MONEY
from tests.removals.catalogue.rows import ROWS
from tests.removals.catalogue.scan import SCAN

REMOVALS = (*ROWS, *DURABLE, *MONEY, *ENDS, *ANSWERS, *SCAN)

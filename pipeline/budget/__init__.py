"""The neuron budget: what may be spent, what is spent, what is set aside, across runs, processes and days.

`Ledger` is the book on disk, shared by all runs of the user on the machine; `BudgetSession` is one run's side of it.
Takes the ceiling of each request before it leaves and its true charge after; hands on reservations and reports.
Must never let settled + reserved pass the allowance of an account and a UTC day.
Decision: docs/adr/0003-budget-ledger.md.
"""

from pipeline.budget.book import ELSEWHERE, Reconciled, ReportRow, Totals
from pipeline.budget.ledger import Ledger
from pipeline.budget.session import BudgetSession

__all__ = ["ELSEWHERE", "BudgetSession", "Ledger", "Reconciled", "ReportRow", "Totals"]

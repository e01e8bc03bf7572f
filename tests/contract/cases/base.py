"""What a task tells the contract suite about itself."""

from dataclasses import dataclass


def always(model, params):
    """Every model takes these parameters."""
    return True


@dataclass(frozen=True, kw_only=True)
class TaskCase:
    """One task of the job spec.

    Attributes:
        task: Its name.
        columns: (name, kind) of its result columns for the default parameters; a break for programs when it changes.
        params: Sets of `params` to try, the empty one first where it is allowed.
        records: Takes a folder for files, returns a hypothesis strategy of a record's fields.
        answers: Takes (request, payload, model), returns every documented form of `result` for them.
        charge: Takes (model, params, request, payload), returns the most neurons the service can charge.
        text: `input.text` of the spec.
        takes: Takes (model, params), says whether the model can be run with them; what it cannot is refused.
        unpriced: Models without a published price are tried too, as with `budget.unpriced: allow`.
    """

    task: str
    columns: list
    params: list
    records: object
    answers: object
    charge: object
    text: str = "text"
    takes: object = always
    unpriced: bool = True

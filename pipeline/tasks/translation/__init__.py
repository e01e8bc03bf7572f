"""How `translate` cuts a text, what it keeps from being translated, and how it puts translations together."""

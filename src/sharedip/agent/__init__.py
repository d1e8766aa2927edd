"""The agent: the only loop, and what it is made of.

Nothing is imported here: `sharedip check` needs `documents` and `settings` alone.
"""

"""Builds what is installed: wheel and sdist, deb and rpm; `make dist`. `scripts.trial` tries them.

The same commit gives the same bytes: every time in them is that of the commit (SOURCE_DATE_EPOCH), every version is one
of a lock. Must never: be imported by the agent, or write anywhere but below out/.
"""

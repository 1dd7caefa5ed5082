"""The errors a user is meant to read.

Defines the one exception whose text is shown as it stands, without a traceback. Raise it wherever a person can do
something about what went wrong; let everything else be the bug report it is.
"""

from __future__ import annotations


class PipelinesError(Exception):
    """Something went wrong that a person can put right.

    The text is one line: what happened, where, and what to do. The command line prints it and ends with code 1.
    """

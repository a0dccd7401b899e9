"""What can go wrong, as exceptions whose text is one sentence for a person.

Every message says what was wrong, in which file or argument, and what to do next. The command line
prints the sentence to standard error and exits with status 2; a notebook shows it in place of a dead kernel.
"""

from edgelab.quiet import without_commands


class EdgelabError(Exception):
    """Base of every error that edgelab raises on purpose; what a file calls things gives a terminal no orders."""

    def __str__(self) -> str:
        return without_commands(super().__str__())


class BadInput(EdgelabError, ValueError):
    """An argument or an array is not what the call needs: wrong shape, wrong type, NaN, out of range."""


class BadFile(EdgelabError):
    """A file is missing, corrupt, truncated, or of another format than its name says."""


class ModelRefused(BadFile):
    """A runtime read a model file and does not run it: it lacks an operator, or a type or shape of one."""


class MissingFramework(EdgelabError, ImportError):
    """A runtime or framework is not installed; the message carries the command that adds it."""


class EngineCrash(EdgelabError):
    """A native runtime died or stopped answering in its child process; this process is unharmed."""


class EngineDied(EngineCrash):
    """A native runtime died in its child process, and not because it was given up."""


class EngineLate(EngineCrash):
    """A native runtime gave no answer in the time that it had, and was stopped: on a busy machine a sound one may."""


class DownloadFailed(EdgelabError):
    """A data set could not be fetched or did not match its checksum; what was fetched is kept for a resume."""


class LabError(EdgelabError):
    """A lab is unknown, malformed, stale, or stopped while it ran."""

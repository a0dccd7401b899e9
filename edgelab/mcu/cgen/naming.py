"""Names of generated C, so that several models stand in one image: every name of one carries its prefix."""

from __future__ import annotations

import re
from collections.abc import Mapping

from edgelab.errors import BadInput

PREFIX = "edgelab"
"""The prefix where none is asked for; the files of such a model are ``model.c`` and ``model.h``."""
_LONGEST = 63  # characters of a name that C99 promises to tell apart (5.2.4.1)
_IDENTIFIER = re.compile(r"[A-Za-z_][A-Za-z0-9_]*")
# Files that stand beside the model's, and headers of C's library: a model's file must not take their place.
_TAKEN = frozenset(
    {
        *("main", "startup", "runtime", "firmware", "assert", "complex", "ctype", "errno", "fenv", "float", "inttypes"),
        *("limits", "locale", "math", "setjmp", "signal", "stdalign", "stdarg", "stdatomic", "stdbool", "stddef"),
        *("stdint", "stdio", "stdlib", "string", "tgmath", "threads", "time", "uchar", "wchar", "wctype"),
        *("aux", "con", "nul", "prn"),  # Windows keeps these for devices
    }
)
_OWN_FILES = re.compile(r"\b(quantization\.h|description\.c)")


def checked_prefix(prefix: str) -> str:
    """The prefix, if names of C may begin with it.

    Raises
    ------
    BadInput
        If it is no C identifier, is too long, or files with its name would take the place of others.
    """
    if not isinstance(prefix, str) or _IDENTIFIER.fullmatch(prefix) is None or len(prefix) > _LONGEST:
        raise BadInput(
            f"prefix={prefix!r} is no C identifier; take letters, digits and underscores, a letter first and at most "
            f"{_LONGEST} in all, such as 'keywords'."
        )
    if prefix.lower() in _TAKEN:
        raise BadInput(f"prefix={prefix!r}: {prefix}.h or {prefix}.c is the name of another file; take another prefix.")
    return prefix


def named(files: Mapping[str, str], prefix: str) -> dict[str, str]:
    r"""Generated files with another prefix in every name: functions, macros, include guards, the files themselves.

    Parameters
    ----------
    files
        Contents by file name, as they are with the prefix ``edgelab``.
    prefix
        As `checked_prefix` lets it pass. Functions get it as it is, macros in capitals.

    Examples
    --------
    >>> named({"model.h": "#define EDGELAB_INPUTS 1\nvoid edgelab_invoke(void);"}, "net")
    {'net.h': '#define NET_INPUTS 1\nvoid net_invoke(void);'}
    """
    if prefix == PREFIX:
        return dict(files)

    def renamed(text: str) -> str:
        text = re.sub(r"\bmodel(?=\.[ch]\b)", prefix, text)
        text = _OWN_FILES.sub(rf"{prefix}_\1", text)
        text = re.sub(r"\bEDGELAB_", f"{prefix.upper()}_", text)
        return re.sub(r"\bedgelab_", f"{prefix}_", text)

    return {renamed(name): renamed(text) for name, text in files.items()}

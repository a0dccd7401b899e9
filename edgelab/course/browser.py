"""A Chromium for the browser tests: found where browsers usually are, or installed where that is possible."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from pathlib import Path

from edgelab.errors import BadInput, EdgelabError

_NAMES = (
    "chromium",
    "chromium-browser",
    "google-chrome",
    "google-chrome-stable",
    "chrome",
    "microsoft-edge",
    "microsoft-edge-stable",
    "msedge",
)
_PLACES = {
    "darwin": (
        "/Applications/Chromium.app/Contents/MacOS/Chromium",
        "/Applications/Google Chrome.app/Contents/MacOS/Google Chrome",
        "/Applications/Microsoft Edge.app/Contents/MacOS/Microsoft Edge",
    ),
    "win32": (
        r"%ProgramFiles%\Google\Chrome\Application\chrome.exe",
        r"%ProgramFiles(x86)%\Google\Chrome\Application\chrome.exe",
        r"%LocalAppData%\Google\Chrome\Application\chrome.exe",
        r"%LocalAppData%\Chromium\Application\chrome.exe",
        r"%ProgramFiles(x86)%\Microsoft\Edge\Application\msedge.exe",
        r"%ProgramFiles%\Microsoft\Edge\Application\msedge.exe",
    ),
    "linux": ("/usr/lib/chromium/chromium", "/opt/google/chrome/chrome", "/snap/bin/chromium"),
}
HOW = "install Chromium, Chrome or Edge, or set EDGELAB_CHROMIUM to the path of one"


class NoBrowser(EdgelabError):
    """There is no browser for the tests that need one, and none could be installed."""


def find() -> Path | None:
    """The browser that the tests drive: ``EDGELAB_CHROMIUM``, else one on the PATH or in its usual place.

    Raises
    ------
    BadInput
        If ``EDGELAB_CHROMIUM`` names no file.
    """
    named = os.environ.get("EDGELAB_CHROMIUM")
    if named:
        if not Path(named).is_file():
            raise BadInput(f"EDGELAB_CHROMIUM names {named}, which is not a file.")
        return Path(named)
    for name in _NAMES:
        found = shutil.which(name)
        if found:
            return Path(found)
    for place in _PLACES.get(sys.platform, ()):
        path = Path(os.path.expandvars(place))
        if path.is_file():
            return path
    return None


def install() -> Path:
    """Install Debian's Chromium with apt-get, as root or through a sudo that asks for no password.

    Raises
    ------
    NoBrowser
        If this system has no apt-get, does not allow it, or apt-get fails; the message says what to do instead.
    """
    if not shutil.which("apt-get"):
        raise NoBrowser(f"There is no browser for the browser tests; {HOW}.")
    if _rights() is None:
        raise NoBrowser("There is no browser for the browser tests; run `sudo apt-get install chromium`.")
    if refused := apt_install("chromium"):
        raise NoBrowser(f"{refused}; {HOW}.")
    found = find()
    if found is None:
        raise NoBrowser(f"apt-get installed no browser that starts as `chromium`; {HOW}.")
    return found


def apt_install(package: str) -> str:
    """Install a package of Debian's, as root or through a sudo that asks for no password.

    Returns
    -------
    str
        Why it was not installed, without a full stop; empty if it was.
    """
    rights = _rights()
    if rights is None or not shutil.which("apt-get"):
        return f"{package} cannot be installed by this user with apt-get"
    environment = {**os.environ, "DEBIAN_FRONTEND": "noninteractive"}
    for step in (["update", "-qq"], ["install", "-y", "-qq", "--no-install-recommends", package]):
        done = subprocess.run([*rights, "apt-get", *step], env=environment, capture_output=True, text=True, check=False)
        if done.returncode:
            words = (done.stderr.strip().splitlines() or ["it gave no reason"])[-1]
            return f"`apt-get {' '.join(step)}` failed ({words})"
    return ""


def _rights() -> list[str] | None:
    """What to put before apt-get, or None if this user may not install."""
    if hasattr(os, "geteuid") and os.geteuid() == 0:
        return []
    if shutil.which("sudo"):
        asked = subprocess.run(["sudo", "-n", "true"], capture_output=True, check=False)
        if asked.returncode == 0:
            return ["sudo", "-n"]
    return None

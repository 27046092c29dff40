"""Child processes that do not outlive us, however we end."""

from __future__ import annotations

import shutil


def bound(command: list[str]) -> list[str]:
    """The command, ended by the kernel when the thread that starts it ends; unchanged where setpriv is missing.

    Not `preexec_fn`: that would fork this process, threads and connections and all.
    """
    setpriv = shutil.which("setpriv")
    return [setpriv, "--pdeathsig", "KILL", *command] if setpriv else command

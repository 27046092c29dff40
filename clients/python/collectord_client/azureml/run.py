"""`python -m collectord_client.azureml run -- COMMAND …`: runs a command whose scripts tell events without a line of their own.

python -m collectord_client.azureml run -- azmlinfsrv --entry_script score.py
"""

from __future__ import annotations

import os
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path

START = Path(__file__).with_name("start")


def environment(variables: Mapping[str, str]) -> dict[str, str]:
    """The variables under which Python begins with our `sitecustomize`."""
    others = [path for path in variables.get("PYTHONPATH", "").split(os.pathsep) if path and Path(path) != START]
    return {**variables, "PYTHONPATH": os.pathsep.join([str(START), *others])}


def run(arguments: Sequence[str]) -> int:
    """Becomes the command. Returns the exit status where that cannot be."""
    command = list(arguments[1:] if arguments[:1] == ["--"] else arguments)
    if not command:
        print("usage: python -m collectord_client.azureml run -- COMMAND …", file=sys.stderr)
        return 2
    try:
        os.execvpe(command[0], command, environment(os.environ))
    except OSError as error:
        print(f"{command[0]}: {error.strerror}", file=sys.stderr)
        return 127

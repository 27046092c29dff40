"""Turns on what `enable_app_insights()` does, in a program that knows nothing of it. See `azureml/run.py`."""

import importlib
import sys
from pathlib import Path


def _begin() -> None:
    here = Path(__file__).resolve().parent
    sys.path[:] = [path for path in sys.path if not path or Path(path).resolve() != here]
    ours = sys.modules.pop(__name__)
    try:
        # One that was there before us has its turn as well.
        importlib.import_module(__name__)
    except ModuleNotFoundError as error:
        if error.name != __name__:
            raise
        sys.modules[__name__] = ours
    try:
        from collectord_client.azureml.insights import enable_app_insights

        enable_app_insights()
    except Exception as error:  # noqa: BLE001
        # Whatever is missing here, the program is to run.
        print(f"collectord_client: no telemetry: {type(error).__name__}: {error}", file=sys.stderr)


_begin()

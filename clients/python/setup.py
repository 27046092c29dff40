"""Makes the modules of the contract before the package is built.

In the repository the proto and its generator lie two folders up; an sdist carries a copy of both.
"""

import shutil
import sys
from pathlib import Path

from setuptools import setup

here = Path(__file__).resolve().parent
ours = here / "proto"
shared = here.parents[1] / "proto" if len(here.parents) > 1 else ours
if (shared / "generate.py").exists():
    source = shared
    if "sdist" in sys.argv:
        # MANIFEST.in takes this copy along; it is made afresh each time, and not kept in git.
        shutil.rmtree(ours, ignore_errors=True)
        shutil.copytree(shared, ours, ignore=shutil.ignore_patterns("__pycache__"))
elif (ours / "generate.py").exists():
    source = ours
else:
    sys.exit(f"the contract is missing: neither {shared} nor {ours} has generate.py")

sys.path.insert(0, str(source))

import generate  # noqa: E402

generate.write(here / "collectord_client" / "_pb")

setup()

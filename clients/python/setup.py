"""Makes what is not in git: the modules of the contract, and the compiled core where there is a C compiler.

In the repository the proto and its generator lie two folders up; an sdist carries a copy of both. Without a compiler, without
Cython, without a GIL, or with COLLECTORD_CLIENT_PURE=1, the client is built without the core: it has the same in Python.
"""

import os
import shutil
import sys
import sysconfig
from pathlib import Path

from setuptools import Extension, setup

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


def core() -> list[Extension]:
    """The compiled core; what fails to compile is left out."""
    if os.environ.get("COLLECTORD_CLIENT_PURE", "") not in ("", "0") or sysconfig.get_config_var("Py_GIL_DISABLED"):
        return []
    try:
        from Cython.Build import cythonize
    except ImportError:
        return []
    kernels = cythonize(
        [
            Extension(
                "collectord_client._core",
                ["collectord_client/_core.pyx"],
                depends=sorted(
                    f"collectord_client/{header.name}" for header in (here / "collectord_client").glob("_*.h")
                ),
            )
        ],
        compiler_directives={
            "language_level": 3,
            "boundscheck": False,
            "wraparound": False,
            "cdivision": True,
            "auto_pickle": False,
            "embedsignature": True,
            "embedsignature.format": "clinic",
        },
    )
    for kernel in kernels:
        # Said afterwards: cythonize forgets it.
        kernel.optional = True
    return kernels


setup(ext_modules=core())

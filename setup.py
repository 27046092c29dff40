"""Builds what is not in git: the compiled kernels and the modules made from proto/."""

import sys
from pathlib import Path

from Cython.Build import cythonize
from setuptools import Extension, setup

root = Path(__file__).resolve().parent
sys.path.insert(0, str(root / "proto"))

import generate  # noqa: E402

generate.write(root / "collectord" / "_pb")

kernels = [
    Extension(
        ".".join(path.relative_to(root).with_suffix("").parts),
        [str(path.relative_to(root))],
        depends=sorted(str(header.relative_to(root)) for header in path.parent.glob("_*.h")),
        language="c++",
        extra_compile_args=["-std=c++17", "-O3", "-fno-plt"],
    )
    for path in sorted((root / "collectord").rglob("_*.pyx"))
]

setup(
    ext_modules=cythonize(
        kernels,
        compiler_directives={
            "language_level": 3,
            "boundscheck": False,
            "wraparound": False,
            "cdivision": True,
            "initializedcheck": False,
            "embedsignature": True,
        },
    )
)

"""The chart, rendered and looked at."""

from __future__ import annotations

import sys
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import helm_python
import yaml

ROOT = Path(__file__).resolve().parents[2]
DEPLOY = ROOT / "deploy"
CHART = DEPLOY / "helm" / "collectord"
CASES = sorted(path.name.removesuffix("-values.yaml") for path in (CHART / "ci").glob("*-values.yaml"))

if str(DEPLOY) not in sys.path:
    sys.path.insert(0, str(DEPLOY))  # dashboard and render, which are no package


def values(case: str) -> dict[str, Any]:
    """What a file in ci/ sets."""
    found = yaml.safe_load((CHART / "ci" / f"{case}-values.yaml").read_text(encoding="utf-8"))
    assert isinstance(found, dict)
    return found


def documents(given: Mapping[str, Any], chart: Path = CHART) -> list[dict[str, Any]]:
    """All that Helm would apply. Raises helm_python.HelmError."""
    with helm_python.Chart.load(chart) as loaded:
        loaded.validate_schema(dict(given))
        files = loaded.render(dict(given), name="collectord", namespace="production")
    found = [
        document
        for name, text in sorted(files.items())
        if name.endswith(".yaml")
        for document in yaml.safe_load_all(text)
        if document
    ]
    assert found
    return found


def of_kind(kind: str, found: list[dict[str, Any]]) -> list[dict[str, Any]]:
    return [document for document in found if document["kind"] == kind]


def pods(found: list[dict[str, Any]]) -> Iterator[tuple[str, dict[str, Any]]]:
    """Each pod's name and spec."""
    for document in found:
        if document["kind"] == "Pod":
            yield document["metadata"]["name"], document["spec"]
        elif "template" in document.get("spec", {}):
            yield document["metadata"]["name"], document["spec"]["template"]["spec"]


def containers(pod: dict[str, Any]) -> list[dict[str, Any]]:
    return [*pod.get("initContainers", []), *pod["containers"]]


def notes(given: Mapping[str, Any]) -> str:
    """What Helm prints after it has applied all that."""
    with helm_python.Chart.load(CHART) as loaded:
        return str(
            loaded.render(dict(given), name="collectord", namespace="production")["collectord/templates/NOTES.txt"]
        )

"""Writes what follows from something else: the chart's schema of settings, its dashboard, and the plain manifests.

    python deploy/render.py            writes them
    python deploy/render.py --check    changes nothing; exits with 1 and names the files that differ

Needs helm-python-sdk, which is Helm itself as a library.
"""

from __future__ import annotations

import json
import re
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import dashboard
import helm_python

from collectord.config import file_schema
from collectord.notation import is_secret
from collectord.settings import AT_ONCE, Settings

DEPLOY = Path(__file__).resolve().parent
CHART = DEPLOY / "helm" / "collectord"
MANIFESTS = DEPLOY / "manifests"

THE_CHARTS = ("spool", "listen", "admin", "socket_mode", "socket_group", "node", "tls_cert", "tls_key", "tenants")
"""Settings that follow from where things lie in the pod."""

STORE = {"config": {"store": "az://modeldata", "azure_account_url": "https://storageaccountname.blob.core.windows.net"}}
IDENTITY = {"workloadIdentity": {"clientId": "00000000-0000-0000-0000-000000000000"}}
SERVICE = {
    "transport": {
        "socket": {"enabled": False},
        "service": {"enabled": True, "tlsSecret": "collectord-tls", "tenantsSecret": "collectord-tenants"},
    }
}
EXAMPLE = {"example": {"enabled": True, "replicas": 2}}
PLAIN: dict[str, tuple[str, dict[str, Any]]] = {
    "daemonset.yaml": (
        "One collectord per node, with scoring pods that mount the directory of its socket.",
        STORE | IDENTITY | EXAMPLE,
    ),
    "service.yaml": (
        "One collectord per node, which scoring pods of any pod-security level reach over TLS.",
        STORE | IDENTITY | SERVICE | EXAMPLE,
    ),
    "sidecar.yaml": (
        "A collectord beside each scoring pod, where there is no DaemonSet or hostPath is not allowed.",
        STORE
        | IDENTITY
        | EXAMPLE
        | {
            "mode": "sidecar",
            # What has not landed goes with the pod.
            "config": {**STORE["config"], "flush_interval": 20, "memory_budget": "64MiB", "spool_budget": "1GiB"},
            "resources": {"requests": {"cpu": "50m", "memory": "256Mi"}, "limits": {"memory": "256Mi"}},
        },
    ),
}


def settings_schema() -> dict[str, Any]:
    """What may stand below `config`: names, meanings and forms. What depends on other settings is checked by the daemon."""
    said = file_schema()["properties"]
    properties = {
        name: {key: value for key, value in said[name].items() if key not in ("title", "default", "format")}
        for name, field in Settings.model_fields.items()
        if name not in THE_CHARTS and not is_secret(field.annotation)
    }
    return {"type": "object", "additionalProperties": False, "properties": properties}


def at_once() -> str:
    """For the chart's checksum of what waits for a restart."""
    lines = "".join(f"- {name}\n" for name in AT_ONCE)
    return f"# Settings that change in a running daemon. Made by `python deploy/render.py`.\n{lines}"


def values_schema() -> str:
    path = CHART / "values.schema.json"
    schema = json.loads(path.read_text(encoding="utf-8"))
    schema["properties"]["config"] = settings_schema()
    return json.dumps(schema, indent=2) + "\n"


def rendered(values: dict[str, Any], name: str = "collectord") -> dict[str, str]:
    """The chart's documents by template, as Helm renders them; those that are empty are left out."""
    with helm_python.Chart.load(CHART) as chart:
        files = chart.render(values, name=name, namespace="collectord")
    return {path: text for path, text in sorted(files.items()) if path.endswith(".yaml") and text.strip()}


def plain(purpose: str, values: dict[str, Any]) -> str:
    """One file of documents, without what only Helm needs."""
    documents = []
    for path, text in rendered(values).items():
        if "/tests/" not in path:
            lines = [line for line in text.strip().splitlines() if not re.search(r"helm\.sh/chart|managed-by", line)]
            documents.append("\n".join(lines))
    head = (
        f"# {purpose}\n# Made from the chart by `python deploy/render.py`. Put in your image, your storage account and your "
        "identity.\n# docs/operations.md tells why it is as it is.\n"
    )
    return head + "\n---\n".join(documents) + "\n"


def made() -> Iterator[tuple[Path, str]]:
    """Each file and its text."""
    yield CHART / "values.schema.json", values_schema()
    yield CHART / "files" / "at-once.yaml", at_once()
    yield CHART / "files" / "dashboard.json", json.dumps(dashboard.render(), indent=1) + "\n"
    for name, (purpose, values) in PLAIN.items():
        yield MANIFESTS / name, plain(purpose, values)


def main() -> int:
    check = "--check" in sys.argv[1:]
    differing = 0
    # One after the other: what is made of the chart needs what the chart has been given before.
    for path, text in made():
        if path.exists() and path.read_text(encoding="utf-8") == text:
            continue
        differing += 1
        print(f"{path.relative_to(DEPLOY.parent)} {'differs' if check else 'written'}")
        if not check:
            path.write_text(text, encoding="utf-8")
    return 1 if check and differing else 0


if __name__ == "__main__":
    sys.exit(main())

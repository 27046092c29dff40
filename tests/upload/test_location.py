"""A setting says where the blobs go."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from collectord.errors import ConfigError
from collectord.upload.localdir import LocalDirectory
from collectord.upload.location import Location


@pytest.mark.parametrize(
    "text, location",
    [
        ("az://modeldata", Location("modeldata", None, "")),
        ("az://mycontainer/modeldata/", Location("mycontainer", None, "modeldata")),
        ("az://a-b-3/x/y", Location("a-b-3", None, "x/y")),
        ("az://a-b-3//x///y//", Location("a-b-3", None, "x/y")),
        ("./collectord-data/store", Location(None, Path("collectord-data/store"), "")),
        ("/var/lib/store", Location(None, Path("/var/lib/store"), "")),
        ("file:///var/lib/store", Location(None, Path("/var/lib/store"), "")),
    ],
)
def test_a_container_or_a_directory(text: str, location: Location) -> None:
    assert Location.parse(text) == location


@pytest.mark.parametrize("text", ["", "az://", "az://AB", "az://a--b", "az://-ab", "az://ab", "s3://bucket", "az:///x"])
def test_anything_else_is_refused_and_the_field_named(text: str) -> None:
    with pytest.raises(ConfigError, match=r"^store: "):
        Location.parse(text)


def test_a_container_needs_an_account() -> None:
    with pytest.raises(ConfigError, match="azure_connection_string or azure_account_url"):
        Location.parse("az://modeldata").open()
    store = Location.parse("az://modeldata").open(account_url="https://a.blob.core.windows.net", sas_token="sv=1&sig=x")
    assert store.describe() == "container https://a.blob.core.windows.net/modeldata"
    store.close()


def test_a_directory_does_without_azure(tmp_path: Path) -> None:
    """Its import takes a second and 45 MB."""
    assert isinstance(Location.parse(str(tmp_path)).open(), LocalDirectory)
    script = (
        "import sys\nfrom collectord.upload.location import Location\nimport collectord.upload.appender\n"
        f"Location.parse({str(tmp_path)!r}).open()\nassert not [name for name in sys.modules if name.startswith('azure')]"
    )
    subprocess.run([sys.executable, "-c", script], check=True, cwd=Path(__file__).parents[2])

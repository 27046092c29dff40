"""Where the blobs go, as a setting: `az://CONTAINER[/PREFIX]` or a directory."""

from __future__ import annotations

import re
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from collectord.errors import ConfigError
from collectord.upload.localdir import LocalDirectory
from collectord.upload.rewriting import RewritableStore
from collectord.upload.secretfile import Secret

_CONTAINER = re.compile(r"(?!.*--)[a-z0-9](?:[a-z0-9-]{1,61})[a-z0-9]\Z")


@dataclass(frozen=True, slots=True)
class Location:
    """A store's place: a container of Azure, or else a directory; and what stands before every blob's name."""

    container: str | None
    directory: Path | None
    prefix: str

    @staticmethod
    def parse(text: str) -> Location:
        """Raises `ConfigError` naming the field `store` where the text is neither."""
        scheme, mark, rest = text.partition("://")
        if mark and scheme == "file":
            return Location(None, Path(rest), "")
        if not mark and text:
            return Location(None, Path(text).expanduser(), "")
        container, _, prefix = rest.partition("/")
        if scheme != "az" or not _CONTAINER.match(container):
            raise ConfigError(
                f"store: {text!r} is neither a directory nor az://CONTAINER[/PREFIX]; a container has 3 to 63 lower-case "
                "letters, digits and single hyphens"
            )
        # As blobs are named: of several slashes in a row one counts, or nothing that lands would be found under it again.
        return Location(container, None, "/".join(filter(None, prefix.split("/"))))

    def open(
        self,
        *,
        connection_string: Secret = None,
        account_url: str | None = None,
        account_key: Secret = None,
        sas_token: Secret = None,
        credential: Literal["default", "workload", "managed"] = "default",
        tenant_id: str | None = None,
        client_id: str | None = None,
    ) -> RewritableStore:
        """The store, without having asked it anything. Raises `ConfigError`; imports azure only if it is needed."""
        if self.container is None:
            assert self.directory is not None
            return LocalDirectory(self.directory)
        from collectord.upload.azureblob import AzureBlob

        return AzureBlob(
            self.container, connection_string=connection_string, account_url=account_url, account_key=account_key,
            sas_token=sas_token, credential=credential, tenant_id=tenant_id, client_id=client_id,
        )  # fmt: skip

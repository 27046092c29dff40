"""A secret in a file, which may be replaced while we run."""

from __future__ import annotations

from pathlib import Path

from collectord.errors import ConfigError

MAX_BYTES = 16 << 10
"""No credential is longer; a file that is may be a wrong one."""


class SecretFile:
    """A mounted secret changes by a symbolic link that is swapped, so the file is opened by its name each time.

    Threads: any; a read is one assignment.
    """

    def __init__(self, setting: str, path: Path) -> None:
        """`setting`: the name of the setting, for people. Raises `ConfigError` if there is no secret in it."""
        self.setting = setting
        self.path = path
        self._last = ""
        try:
            self._last = self._content()
        except OSError as error:
            raise ConfigError(f"{setting}: {path} cannot be read: {error.strerror}") from None
        if not self._last:
            raise ConfigError(f"{setting}: {path} holds no credential: it is empty, too long, or no text")

    def read(self) -> str:
        """The secret as it is now; the one before while the file is absent, empty or unreadable, as amid its replacement."""
        try:
            found = self._content()
        except OSError:
            return self._last
        self._last = found or self._last
        return self._last

    def _content(self) -> str:
        with self.path.open("rb") as file:
            data = file.read(MAX_BYTES + 1)
        try:
            return "" if len(data) > MAX_BYTES else data.decode("utf-8-sig").strip()
        except UnicodeDecodeError:
            return ""


Secret = str | SecretFile | None
"""Text, a file that holds it, or none."""

"""What the commands share: settings as options, and errors as one line."""

from __future__ import annotations

import errno
import io
import os
import sys
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

import click

from collectord.cli.output import say
from collectord.errors import CallHuman, CollectordError

if TYPE_CHECKING:
    from collectord.settings import Settings
    from collectord.upload.store import BlobStore

F = TypeVar("F", bound=Callable[..., Any])


_REFUSALS = frozenset({errno.EACCES, errno.EPERM, errno.EROFS, errno.ENOSPC, errno.EDQUOT, errno.EIO})
"""What the machine refuses; any other error of the system may be a fault of ours, and keeps its traceback."""


class Group(click.Group):
    """Turns our errors into one line on stderr and an exit status: 1 for a fault, 2 for something a person must mend."""

    def invoke(self, ctx: click.Context) -> Any:
        if isinstance(sys.stdout, io.TextIOWrapper) and sys.stdout.errors == "strict":
            # A terminal may have fewer characters than a stream's name, and an exit status says something else than that.
            sys.stdout.reconfigure(errors="backslashreplace")
        try:
            return super().invoke(ctx)
        except CollectordError as error:
            say(f"collectord: {error}", err=True)
            sys.exit(2 if isinstance(error, CallHuman) else 1)
        except BrokenPipeError:
            # The reader of our output has enough, as `collectord cat … | head` does.
            _discard_output()
            sys.exit(0)
        except UnicodeEncodeError as error:
            # An argument, or a path: names of ours are UTF-8.
            click.echo(f"collectord: {error.object!r} is not UTF-8", err=True)
            sys.exit(2)
        except OSError as error:
            if error.errno not in _REFUSALS:
                raise
            say(f"collectord: {error}", err=True)
            _discard_output()
            sys.exit(2)


def _discard_output() -> None:
    """What is left of it: the interpreter would try to write it, and fail."""
    os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())


def settings_options(*names: str) -> Callable[[F], F]:
    """Options for settings, all that can be options if none is named; their text is that of `settings.py`."""

    def decorate(command: F) -> F:
        from collectord import settings

        for name in reversed(names or settings.option_names()):
            command = click.option(
                f"--{name.replace('_', '-')}",
                name,
                multiple=name == "listen",
                metavar=name.upper(),
                help=settings.Settings.model_fields[name].description,
            )(command)
        return click.option(
            "--config", "config_file", type=click.Path(path_type=Path), envvar="COLLECTORD_CONFIG", metavar="FILE",
            help="TOML file of settings.",
        )(command)  # fmt: skip

    return decorate


def load(config_file: Path | None, given: dict[str, Any]) -> Settings:
    from collectord import config

    return config.load(config_file, joined(given))


def joined(given: dict[str, Any]) -> dict[str, Any]:
    """Options with each address of --listen as one setting."""
    listen = given.get("listen")
    return {**given, "listen": ",".join(listen) if listen else None}


def store_of(config_file: Path | None, given: dict[str, Any]) -> BlobStore:
    from collectord.destination import open_store, recall_disk

    settings = load(config_file, given)
    store = open_store(settings)
    recall_disk(store, settings)
    return store


json_option = click.option("--json", "as_json", is_flag=True, help="Print JSON, for scripts.")

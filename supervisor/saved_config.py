"""RUN_DIR/config.json: the config of the last start, so that a report can show it and read the data again.

Written when the journal has that start (wal's READY): the two always belong together, or `config_hash` tells that a
crash came between. Mode 0600, for a config may name accounts. The working directory stands beside the config, since its
relative paths mean nothing without it.
"""

from __future__ import annotations

import os
from pathlib import Path
from typing import Final

import msgspec

from protocol import VERSION
from protocol.errors import ConfigError
from protocol.logs import Log
from protocol.settings import Config, decode_config, encode_config

CONFIG_NAME: Final = "config.json"
_PART_SUFFIX: Final = ".part"


class SavedConfig(msgspec.Struct, frozen=True, kw_only=True):
    """`config` is protocol.settings.encode_config's JSON, as the children were handed it."""

    version: str
    working_directory: str
    config: msgspec.Raw

    def decode(self) -> Config:
        """Raises: ConfigError if another version wrote it, with keys or values that this one does not know."""
        try:
            return decode_config(bytes(self.config))
        except (msgspec.MsgspecError, UnicodeDecodeError) as error:
            raise ConfigError([f"{CONFIG_NAME}, written by version {self.version}: {error}"]) from error


def save_config(run_dir: Path, config: Config) -> None:
    """The file holds this config, whole, or what it held before and a word in the log: nothing but reports reads it."""
    saved = SavedConfig(version=VERSION, working_directory=os.getcwd(), config=msgspec.Raw(encode_config(config)))
    try:
        _write(run_dir, msgspec.json.format(msgspec.json.encode(saved), indent=2) + b"\n")
    except OSError as error:
        Log().warning("config_not_saved", run_dir=str(run_dir), error=str(error))


def _write(run_dir: Path, content: bytes) -> None:
    part = run_dir / (CONFIG_NAME + _PART_SUFFIX)
    part.unlink(missing_ok=True)  # what a crash left may have another mode
    with open(os.open(part, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "wb") as file:
        file.write(content)
        file.flush()
        os.fsync(file.fileno())
    os.replace(part, run_dir / CONFIG_NAME)


def load_saved_config(run_dir: Path) -> SavedConfig | None:
    """None if there is none: an older version ran here. Raises: ConfigError if the file is none of ours."""
    path = run_dir / CONFIG_NAME
    try:
        return msgspec.json.decode(path.read_bytes(), type=SavedConfig)
    except FileNotFoundError:
        return None
    except (OSError, msgspec.MsgspecError, UnicodeDecodeError) as error:
        raise ConfigError([f"{path}: {error}"]) from error

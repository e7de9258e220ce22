"""The command `demo`."""

from __future__ import annotations

import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated

from tyro.conf import Positional, arg

from chiqpm.cli.common import Common


@dataclass(frozen=True, kw_only=True)
class Demo(Common):
    """Open a web page on this machine: give it a picture, move the coverage, compare classes, browse features."""

    model: Annotated[Positional[Path], arg(metavar="RUN")]
    """The run directory."""
    data: Path | None = None
    """The folder of images, where it has moved since the run."""
    host: str = "127.0.0.1"
    """Address to listen on; 0.0.0.0 lets the whole network in, which is not protected."""
    port: int = 7860
    """Port; 0 takes a free one."""
    max_megabytes: int = 20
    """Largest picture that is accepted, in megabytes."""
    device: str = "auto"
    """Where to compute."""

    def run(self) -> None:
        """Serve until interrupted."""
        from chiqpm.demo import serve

        serve(
            self.model,
            data_folder=self.data,
            host=self.host,
            port=self.port,
            max_megabytes=self.max_megabytes,
            device=self.device,
            announce=self._announce,
        )

    def _announce(self, address: str) -> None:
        from chiqpm.cli.common import write, write_json

        if self.json:
            write_json({"address": address})
        else:
            write(f"The demo runs at {address} (Ctrl+C ends it)")
        # Whoever reads a pipe must not wait for the end of the program.
        sys.stdout.flush()

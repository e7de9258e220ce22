"""Parse, run, and turn what went wrong into a message and an exit code."""

from __future__ import annotations

import logging
import sys
import warnings
from collections.abc import Sequence
from io import TextIOWrapper
from pathlib import Path
from typing import Annotated, Any, Union

import tyro
from tyro.conf import FlagCreatePairsOff, subcommand

from chiqpm import __version__
from chiqpm.cli.common import is_main_process, write
from chiqpm.cli.demonstrating import Demo
from chiqpm.cli.experimenting import RunExperiment
from chiqpm.cli.explaining import Compare, Explain, Features
from chiqpm.cli.exporting import Export
from chiqpm.cli.fitting import Birds, Fit, Quickstart
from chiqpm.cli.measuring import Calibrate, Evaluate, Monitor
from chiqpm.cli.memory import keep_freed_memory
from chiqpm.cli.packing import Pack
from chiqpm.cli.predicting import Predict
from chiqpm.cli.reporting import Report
from chiqpm.cli.studying import Study, spelled_out
from chiqpm.errors import ChiqpmError
from chiqpm.lines import as_line

USER_ERROR, FAILURE, INTERRUPTED = 2, 1, 130


def main(arguments: Sequence[str] | None = None) -> int:
    """Run `chiqpm` with some arguments, those of the process by default, and return its exit code.

    Exit codes: 0 done; 1 the machine failed (disk full, no permission); 2 the command or its input can't be used;
    3 done, but some pictures couldn't be read; 130 interrupted.
    """
    given = list(sys.argv[1:] if arguments is None else arguments)
    if given == ["--version"]:
        write(f"chiqpm {__version__}")
        return 0
    if isinstance(sys.stdout, TextIOWrapper):
        sys.stdout.reconfigure(errors="backslashreplace")  # for names of files that no encoding has
    try:
        command = parse(given)
        _set_up_messages(quiet=command.quiet)
        keep_freed_memory()
        return command.run() or 0
    except KeyboardInterrupt:
        return _say("interrupted; the same command goes on where it stopped", INTERRUPTED)
    except FileNotFoundError as error:
        return _say(f"there is no file or folder {error.filename}" if error.filename else str(error), USER_ERROR)
    except (ChiqpmError, NotADirectoryError) as error:
        return _say(str(error), USER_ERROR)
    except BrokenPipeError:
        return FAILURE
    except OSError as error:
        return _say(f"{error}; what was finished is kept, the same command goes on from there", FAILURE)


def parse(arguments: list[str]) -> Any:
    """Return the command of some arguments, ready to run; arguments that are none end the program."""
    fit = Annotated[Fit, subcommand("fit", default=_fit_default(arguments))]
    commands = Union[  # noqa: UP007 - built at run time
        Annotated[Quickstart, subcommand("quickstart")],
        Annotated[Birds, subcommand("birds")],
        fit,
        Annotated[Calibrate, subcommand("calibrate")],
        Annotated[Evaluate, subcommand("evaluate")],
        Annotated[Pack, subcommand("pack")],
        Annotated[Predict, subcommand("predict")],
        Annotated[Monitor, subcommand("monitor")],
        Annotated[Explain, subcommand("explain")],
        Annotated[Compare, subcommand("compare")],
        Annotated[Features, subcommand("features")],
        Annotated[Export, subcommand("export")],
        Annotated[Report, subcommand("report")],
        Annotated[Demo, subcommand("demo")],
        Annotated[RunExperiment, subcommand("experiment")],
        Annotated[Study, subcommand("study")],
    ]
    description = "Image classifiers people can check: calibrated, hierarchical, interpretable."
    return tyro.cli(
        commands, prog="chiqpm", description=description, args=spelled_out(arguments), config=(FlagCreatePairsOff,)
    )


def _fit_default(arguments: Sequence[str]) -> Fit:
    """Return the options that `fit` starts from: of a preset, or of an earlier run's file."""
    from chiqpm.presets import preset

    name, file = _value_of("--preset", arguments), _value_of("--config", arguments)
    if file is None:
        return Fit(data=tyro.MISSING, out=tyro.MISSING, options=preset(name or "default"))
    from chiqpm import config_file

    return Fit(data=tyro.MISSING, out=tyro.MISSING, options=config_file.read(Path(file)))


def _value_of(option: str, arguments: Sequence[str]) -> str | None:
    for place, argument in enumerate(arguments):
        if argument == option and place + 1 < len(arguments):
            return arguments[place + 1]
        if argument.startswith(f"{option}="):
            return argument.split("=", 1)[1]
    return None


def _set_up_messages(*, quiet: bool) -> None:
    quiet = quiet or not is_main_process()
    logging.basicConfig(level=logging.WARNING if quiet else logging.INFO, format="%(message)s", stream=sys.stderr)
    for library in ("timm", "matplotlib", "PIL", "numba", "fontTools", "httpx", "huggingface_hub"):
        logging.getLogger(library).setLevel(logging.ERROR)
    warnings.showwarning = lambda message, *_: logging.getLogger("chiqpm").warning("warning: %s", message)


def _say(message: str, code: int) -> int:
    lines = map(as_line, message.split("\n"))
    sys.stderr.write("chiqpm: " + "\n".join(lines) + "\n")
    return code

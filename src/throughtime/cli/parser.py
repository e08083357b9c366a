"""The parser of the command line: verbs, and a TOML file beneath the options."""

from __future__ import annotations

import difflib
import re
import warnings
from importlib import import_module
from pathlib import Path

from cyclopts import App, ArgumentCollection, CycloptsError, UnusedCliTokensError
from cyclopts.config import Dict

import throughtime
from throughtime.cli import VERBS
from throughtime.cli.errors import Refused, one_line
from throughtime.cli.terminal import quieten, say
from throughtime.untrusted.showing import did_you_mean
from throughtime.untrusted.toml_files import read_toml

ENVIRONMENT = "environment"
"""The table of a run's config.toml that tells what it was made with; it is no option."""


def run(tokens: list[str]) -> None:
    """Run the verb that `tokens` name.

    Raises: CommandError: what is wrong, in one line.
    """
    app = App(
        name="throughtime",
        version=throughtime.__version__,
        help="Recurrent neural networks trained by exact backpropagation through time.",
        help_format="plaintext",  # markdown would cost another tenth of a second
        config=_fill_from_toml,
        suppress_keyboard_interrupt=False,
    )
    for verb in VERBS:
        app.command(getattr(import_module(f"throughtime.cli.{verb}"), verb), name=verb)
    with warnings.catch_warnings():
        warnings.showwarning = lambda message, *_, **__: say(f"warning: {message}")
        try:
            app(_with_stdin_last(tokens), exit_on_error=False, print_error=False, result_action="return_value")
        except UnusedCliTokensError as error:
            raise Refused(f"expected no further argument, found {' '.join(error.unused_tokens or [])!r}") from error
        except CycloptsError as error:
            raise Refused(_told(error)) from error
        finally:
            quieten(False)


def _with_stdin_last(tokens: list[str]) -> list[str]:
    """A source `-`, the last positional of every verb, after `--`: cyclopts would take it for an option."""
    alone = [
        i for i, token in enumerate(tokens) if token == "-" and not tokens[i - 1].startswith(("--valid", "--test"))
    ]
    if not alone or "--" in tokens:
        return tokens
    return [*(token for i, token in enumerate(tokens) if i not in alone), "--", *("-" for _ in alone)]


def _told(error: CycloptsError) -> str:
    """What cyclopts found wrong; with the line of the TOML file that a value came from, which it leaves out at times."""
    error.verbose = False
    message = one_line(error)
    name = getattr(getattr(error, "argument", None), "name", "")
    if name.lstrip("-") not in message:
        message = f"{name}: {message}"
    token = getattr(error, "token", None)
    meant = did_you_mean(getattr(token, "value", ""), re.findall('"([^"]*)"', message.partition("Choose from:")[2]))
    if meant is not None and "Did you mean" not in message:
        message += f' Did you mean "{meant}"?'
    source = getattr(token, "source", "cli")
    return message if source in ("", "cli") or source in message else f"{source}: {message}"


def _fill_from_toml(app: App, verb: tuple[str, ...], arguments: ArgumentCollection) -> None:
    """Give the options that the command line leaves out the values of the file that `--config` names."""
    named = next((argument for argument in arguments if argument.name == "--config"), None)
    if named is None or not named.tokens:
        return
    path = Path(named.tokens[-1].value)
    known = {argument.name.removeprefix("--") for argument in arguments if argument.show} - {"config", "resume"}
    try:
        text, table = read_toml(path)
    except (OSError, ValueError) as error:
        raise Refused(f"--config: {one_line(error)}") from error
    for key, value in table.items():
        if key == ENVIRONMENT and isinstance(value, dict):
            continue
        where = f"{path}, line {line_of(text, key)}"
        name = key.replace("_", "-")
        if name not in known:
            nearest = difflib.get_close_matches(name, known, n=1)
            hint = f"; did you mean {nearest[0].replace('-', '_')}?" if nearest else ""
            raise Refused(f"{where}: expected an option of `throughtime {' '.join(verb)}`, found the key {key!r}{hint}")
        if isinstance(value, dict):
            raise Refused(f"{where}: {key}: expected a value, found a table")
        Dict({name: value}, source=where, use_commands_as_keys=False)(app, verb, arguments)


def line_of(text: str, key: str) -> int:
    """The line of a top-level `key` in a TOML text; tomllib does not tell."""
    name = re.escape(key)
    found = re.search(rf"""^\s*(\[\s*)?(["']?){name}\2\s*[=.\]]""", text, re.MULTILINE)
    return text.count("\n", 0, found.end()) + 1 if found else 1

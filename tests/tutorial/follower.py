"""Does the steps of a tutorial, one after the other."""

import re
from collections.abc import Callable, Mapping
from pathlib import Path

from playwright.sync_api import Browser

from tests.real.processes import wait_until
from tests.tutorial import windows
from tests.tutorial.steps import Step, TutorialError, matches, read
from tests.tutorial.terminals import SECONDS, Terminal
from tests.tutorial.windows import Windows

_FILE = re.compile(r"(?P<how>at the end of|[Mm]ake the file|place of all of) `(?P<path>[^`]+)`")
_APPENDED = "at the end of"
_TERMINAL = re.compile(r"\b(?P<which>first|second|third) terminal\b")
_CONSOLE = re.compile(r"\bconsole\b")
_CODE = ("python", "html", "js")


class Follower:
    """Somebody who follows a tutorial.

    ``folder``: where the first terminal opens. ``root``: the folder that paths in the tutorial
    start from. ``pictures``: where pictures go. ``variables``: the terminals' environment.
    """

    def __init__(
        self,
        folder: Path,
        root: Path,
        pictures: Path,
        variables: Mapping[str, str],
        browser: Callable[[], Browser],
    ) -> None:
        """Open nothing yet; ``browser`` starts one when it is needed."""
        self._folder = folder
        self._root = root
        self._pictures = pictures
        self._variables = variables
        self._windows = Windows(browser)
        self._terminals: dict[str, Terminal] = {}
        self._terminal = "first"
        self._browsed = False
        self._printed: Callable[[], str] | None = None

    def follow(self, page: str) -> None:
        """Do all steps of the page; raises ``TutorialError``, which names the line."""
        steps = read(page)
        for step in steps:
            _at(step, check)
        try:
            for step in steps:
                _at(step, self._do)
        finally:
            for terminal in self._terminals.values():
                terminal.close()

    def _do(self, step: Step) -> None:
        if step.kind == "sh":
            self._run(step)
        elif step.kind == "text":
            self._compare(step)
        elif step.kind == "item":
            self._browsed = True
            self._windows.do(step.text)
        elif step.kind == "picture":
            self._take_picture(step)
        elif file := _FILE.search(step.said):
            self._write(self._root / file["path"], step.text, append=file["how"] == _APPENDED)
        else:
            answer = self._windows.console(step.text)
            self._printed = lambda: answer

    def _run(self, step: Step) -> None:
        self._terminal = _named_terminal(step) or self._terminal
        printed = self._in(self._terminal).run(step.text)
        self._printed = lambda: printed

    def _in(self, name: str) -> Terminal:
        if name not in self._terminals:
            state = self._folder / f".{name}-terminal"
            self._terminals[name] = Terminal(self._folder, state, self._variables)
        return self._terminals[name]

    def _compare(self, step: Step) -> None:
        if name := _named_terminal(step):
            # What a server prints may come a moment later.
            terminal = self._in(name)
            try:
                wait_until(lambda: matches(step.text, terminal.log()), SECONDS, step.text)
            except TimeoutError as error:
                raise TutorialError(f"{error}\nThe terminal says:\n{terminal.log()}") from error
            return
        if self._printed is None:
            raise TutorialError("nothing was run that this could be the output of")
        printed = self._printed()
        if not matches(step.text, printed):
            raise TutorialError(f"this is said to be printed:\n{step.text}\nbut it is:\n{printed}")

    def _write(self, file: Path, code: str, *, append: bool) -> None:
        if append and not file.exists():
            raise TutorialError(f"there is no {file}")
        reloading = [one for one in self._terminals.values() if one.wrote(file)]
        starts = [one.starts() for one in reloading]
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text(f"{file.read_text()}\n{code}" if append else code)
        for terminal, times in zip(reloading, starts, strict=True):
            terminal.wait_for_start(times)

    def _take_picture(self, step: Step) -> None:
        # One at the beginning shows the end, where it is taken.
        if self._browsed:
            self._windows.take_picture(self._pictures / Path(step.text).name)


def check(step: Step) -> None:
    """Raise ``TutorialError`` for a step that nobody here understands."""
    if step.kind == "item":
        windows.check(step.text)
    elif step.kind in _CODE:
        if not _FILE.search(step.said) and not (step.kind == "js" and _CONSOLE.search(step.said)):
            raise TutorialError("which file is this for?")
    elif step.kind not in ("sh", "text", "picture"):
        raise TutorialError(f"what is to be done with {step.kind!r}?")


def _named_terminal(step: Step) -> str | None:
    found = _TERMINAL.search(step.said)
    return found["which"] if found else None


def _at(step: Step, action: Callable[[Step], None]) -> None:
    """Do that with the step; what goes wrong is said with the line of the page."""
    try:
        action(step)
    except TutorialError as error:
        raise TutorialError(f"line {step.line}: {error}") from error

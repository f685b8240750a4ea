"""A terminal, as far as a command looks at it."""

import io


class Terminal(io.StringIO):
    """What is written to a terminal."""

    def isatty(self) -> bool:
        return True

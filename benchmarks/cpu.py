"""CPU time and memory of running processes, from /proc."""

import os
from collections import defaultdict
from collections.abc import Iterator
from pathlib import Path

_TICK = os.sysconf("SC_CLK_TCK")
_PAGE_BYTES = os.sysconf("SC_PAGE_SIZE")
# Where the fields are behind the program's name, which may hold spaces (man 5 proc_pid_stat).
_PARENT = 1
_TIMES = slice(11, 15)


def seconds(*pids: int) -> float:
    """Return the user and system time of these processes and of all that came from them."""
    processes = dict(_processes())
    return sum(_ticks(processes, pid) for pid in pids) / _TICK


def resident_bytes(pid: int) -> int:
    """Return the resident memory of one process."""
    return int(Path(f"/proc/{pid}/statm").read_text().split()[1]) * _PAGE_BYTES


def children(pid: int) -> list[int]:
    """Return the processes that this one has started and that run."""
    return [child for child, fields in _processes() if int(fields[_PARENT]) == pid]


def _ticks(processes: dict[int, list[str]], root: int) -> int:
    children: dict[int, list[int]] = defaultdict(list)
    for pid, fields in processes.items():
        children[int(fields[_PARENT])].append(pid)
    waiting, total = [root], 0
    while waiting:
        pid = waiting.pop()
        waiting += children[pid]
        # The last two are those of children that have ended.
        total += sum(map(int, processes[pid][_TIMES]))
    return total


def _processes() -> Iterator[tuple[int, list[str]]]:
    for folder in Path("/proc").iterdir():
        if folder.name.isdecimal():
            try:
                stat = (folder / "stat").read_text()
            except (FileNotFoundError, ProcessLookupError):
                continue
            yield int(folder.name), stat.rpartition(")")[2].split()

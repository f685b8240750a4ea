"""The frontends of docs/frontends: their code, taken from the guides and built by Vite."""

import os
import re
import sys
from pathlib import Path

from tests.real.components import node
from tests.real.npm import install_packages
from tests.real.processes import run

HERE = Path(__file__).resolve().parent
DOCS = HERE.parents[2] / "docs"
# A block whose first line names its file.
FILE = re.compile(
    r"```\w+\n(?://|<!--) (?P<name>[\w./-]+\.\w+)(?: -->)?\n(?P<code>.*?)```", re.DOTALL
)
SHELL = re.compile(r"```sh\n(?P<command>.*?)```", re.DOTALL)

INDEX = """<!doctype html><html lang="en"><head><meta charset="utf-8"><title>Orders</title></head>
<body>{root}<script type="module" src="{entry}"></script></body></html>
"""
# The templates are compiled in the browser, rather than beforehand by ``ng build``.
ANGULAR_ENTRY = 'import "@angular/compiler";\nimport "./src/main.ts";\n'
TYPESCRIPT_CONFIG = """{
  "compilerOptions": {
    "experimentalDecorators": true, "module": "preserve", "moduleResolution": "bundler",
    "lib": ["es2022", "dom", "dom.iterable"], "target": "es2022", "strict": true, "noEmit": true,
    "types": []
  },
  "include": ["src"]
}
"""
PLACES = {
    "react": INDEX.format(root='<div id="root"></div>', entry="/src/main.jsx"),
    "vue": INDEX.format(root='<div id="app"></div>', entry="/src/main.js"),
    "angular": INDEX.format(root="<app-root></app-root>", entry="/entry.ts"),
}


def guide(name: str) -> str:
    """Return the text of a guide."""
    return (DOCS / "frontends" / f"{name}.md").read_text()


def write_project(name: str, folder: Path, api: str) -> None:
    """Make the project that a guide describes; ``api``: the origin that its API has here."""
    install_packages(HERE)
    (folder / "src" / "app").mkdir(parents=True)
    (folder / "node_modules").symlink_to(HERE / "node_modules")
    (folder / "package.json").write_text('{"private": true, "type": "module"}')
    (folder / "index.html").write_text(PLACES[name])
    for text in (guide(name), (DOCS / "javascript.md").read_text()):
        for block in FILE.finditer(text):
            code = block["code"].replace("https://api.example", api)
            (folder / block["name"]).parent.mkdir(exist_ok=True)
            (folder / block["name"]).write_text(code)
    if name == "angular":
        (folder / "entry.ts").write_text(ANGULAR_ENTRY)
        (folder / "tsconfig.json").write_text(TYPESCRIPT_CONFIG)
    for block in SHELL.finditer(guide(name)):
        run(["sh", "-c", block["command"]], cwd=folder, env=environment())


def build(folder: Path) -> Path:
    """Build the project; return the folder with what is to be served."""
    run(vite("build"), cwd=folder, env=environment())
    return folder / "dist"


def vite(*arguments: str) -> list[str]:
    """Return that command of Vite's."""
    return [str(node()), str(HERE / "node_modules" / "vite" / "bin" / "vite.js"), *arguments]


def check_types(folder: Path) -> None:
    """Let the TypeScript compiler look at the project; raise ``RuntimeError`` with what it says."""
    install_packages(HERE)
    run([node(), HERE / "node_modules" / "typescript" / "bin" / "tsc"], cwd=folder)


def environment() -> dict[str, str]:
    """Return the variables with which ``python`` is the one of the tests."""
    path = f"{Path(sys.executable).parent}:{os.environ['PATH']}"
    return {"PATH": path, "PYTHONPATH": str(DOCS.parent), "NO_COLOR": "1"}

"""`commands.py PYPROJECT FOLDER PROGRAM`: puts the command line where nothing was installed as a package.

FOLDER gets what installed distributions say of themselves: their version, and the commands that others add to `vecsec`.
"""

import sys
import tomllib
from pathlib import Path


def main(pyproject: Path, folder: Path, program: Path) -> None:
    """Write the distribution's metadata and the program."""
    project = tomllib.loads(pyproject.read_text())["project"]
    about = _describe(folder, project["name"], project["version"])
    _describe(folder, "vecsec-client", project["version"])  # which is of the same version
    groups = project["entry-points"].items()
    lines = [f"[{group}]\n" + "".join(f"{name} = {value}\n" for name, value in each.items()) for group, each in groups]
    (about / "entry_points.txt").write_text("\n".join(lines))
    module, _, function = project["scripts"]["vecsec"].partition(":")
    program.write_text(f"#!{program.with_name('python')} -P\nfrom {module} import {function}\n\n{function}()\n")
    program.chmod(0o755)


def _describe(folder: Path, name: str, version: str) -> Path:
    about = folder / f"{name.replace('-', '_')}-{version}.dist-info"
    about.mkdir()
    (about / "METADATA").write_text(f"Metadata-Version: 2.1\nName: {name}\nVersion: {version}\n")
    return about


if __name__ == "__main__":
    main(*(Path(each) for each in sys.argv[1:]))

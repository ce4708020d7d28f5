"""`commands.py PYPROJECT FOLDER PROGRAM`: puts the command line where nothing was installed as a package.

FOLDER gets what an installed distribution says of itself: its version, and the commands that others add to `vecsec`.
"""

import sys
import tomllib
from pathlib import Path


def main(pyproject: Path, folder: Path, program: Path) -> None:
    """Write the distribution's metadata and the program."""
    project = tomllib.loads(pyproject.read_text())["project"]
    about = folder / f"{project['name']}-{project['version']}.dist-info"
    about.mkdir()
    (about / "METADATA").write_text(f"Metadata-Version: 2.1\nName: {project['name']}\nVersion: {project['version']}\n")
    groups = project["entry-points"].items()
    lines = [f"[{group}]\n" + "".join(f"{name} = {value}\n" for name, value in each.items()) for group, each in groups]
    (about / "entry_points.txt").write_text("\n".join(lines))
    module, _, function = project["scripts"]["vecsec"].partition(":")
    program.write_text(f"#!{program.with_name('python')} -P\nfrom {module} import {function}\n\n{function}()\n")
    program.chmod(0o755)


if __name__ == "__main__":
    main(*(Path(each) for each in sys.argv[1:]))

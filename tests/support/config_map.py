"""A folder that changes as the kubelet changes a mounted ConfigMap or Secret: by one swap of a symbolic link."""

import itertools
import os
from collections.abc import Mapping
from pathlib import Path


class MountedConfigMap:
    """`folder/name` → `folder/..data/name` → `folder/..<version>/name`; `put` makes a version and swaps `..data`."""

    def __init__(self, folder: Path, content: Mapping[str, str]) -> None:
        self._folder = folder
        self._versions = itertools.count()
        folder.mkdir(parents=True)
        self.put(content)

    def put(self, content: Mapping[str, str]) -> None:
        """Replace everything at once."""
        version = self._folder / f"..{next(self._versions)}"
        version.mkdir()
        for name, text in content.items():
            (version / name).write_text(text)
        swap = self._folder / "..data_tmp"
        swap.symlink_to(version.name)
        os.replace(swap, self._folder / "..data")  # noqa: PTH105 (what the kubelet does)
        for name in content:
            link = self._folder / name
            if not link.is_symlink():
                link.symlink_to(f"..data/{name}")

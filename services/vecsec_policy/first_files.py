"""The policy files at the start, when there are no last good ones."""

from pathlib import Path

from vecsec_chassis.errors import StartupError
from vecsec_policy.rollout import Rollout
from vecsec_policy.rollout_file import read_rollout
from vecsec_policy.snapshot import PolicySnapshot, load_snapshot


def first_snapshot(folder: Path) -> PolicySnapshot:
    """The policy at the start, when there is no last good one.

    Raises:
        StartupError: naming the setting, and file and line of what is wrong.
    """
    try:
        return load_snapshot(folder)
    except StartupError as complaint:
        raise StartupError(
            f"VECSEC_POLICY_DIR: {complaint}; correct it: `vecsec policy check {folder}` lists all that is wrong"
        ) from complaint


def first_rollout(path: Path) -> Rollout | None:
    """What is rolled out at the start; None if there is no file.

    Raises:
        StartupError: naming the setting, and file and line of what is wrong.
    """
    try:
        return read_rollout(path)
    except StartupError as complaint:
        raise StartupError(f"VECSEC_POLICY_ROLLOUT_FILE: {complaint}; correct it, or take it away") from complaint

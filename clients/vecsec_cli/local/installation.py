"""Fills a state directory at the first start: keys, rules, flag file, folders."""

import importlib.util
from collections.abc import Mapping
from pathlib import Path

from vecsec_cli.local import development_issuer, flag_file, state_files
from vecsec_cli.local.state_directory import StateDirectory
from vecsec_cli.terminal.failures import INSTALL_SERVICES, CommandFailure
from vecsec_cli.terminal.output import note


def prepare(state: StateDirectory, settings: Mapping[str, str]) -> None:
    """Make what is missing; what is there stays as it is. A flag file that was lost is not made again: an empty one
    would say that no tenant is switched off.

    Raises:
        CommandFailure: if a file cannot be written.
    """
    try:
        # Before the keys, by which an installation is known: a start that is cut off between them leaves nothing lost.
        if not state.grant_key.exists():
            state_files.create(state.flags_file, state_files.as_json(flag_file.empty_document()))
        elif not state.flags_file.exists():
            note(f"{state.flags_file} is gone, so vector retrieval is off; put it back, or: vecsec flag set on")
        development_issuer.ensure(state)
        for folder in (state.chroma, state.audit_file.parent, state.logs, state.imports):
            folder.mkdir(mode=0o700, exist_ok=True)
        if not settings.get("VECSEC_POLICY_DIR") and not state.policy.exists():
            state_files.copy_folder(packaged_policy(), state.policy)
    except OSError as error:
        raise CommandFailure(f"cannot write {error.filename or state.root}: {error.strerror}") from error


def packaged_policy() -> Path:
    """The rules that come with the policy service, found without importing it."""
    specification = importlib.util.find_spec("vecsec_policy")
    if specification is None or not specification.submodule_search_locations:
        raise CommandFailure("the policy service is not installed", hint=INSTALL_SERVICES)
    return Path(specification.submodule_search_locations[0]) / "default_policy"

"""`vecsec flag get` and `vecsec flag set`: whether retrieval is real, for everybody or for some tenants."""

from enum import StrEnum
from pathlib import Path
from typing import Annotated

import typer

from vecsec_cli.local.flag_file import FLAG_KEY, FlagSetting, read_setting, setting_before_change, write_setting
from vecsec_cli.local.service_settings import operator_settings
from vecsec_cli.options import JsonOption, StateDirectoryOption, state_directory
from vecsec_cli.terminal import output

app = typer.Typer(help="Look at the live flag for real retrieval, or set it.", no_args_is_help=True)


class Switch(StrEnum):
    """The flag's two values."""

    ON = "on"
    OFF = "off"


@app.command("get")
def get_flag(
    tenant: Annotated[str | None, typer.Option("--tenant", help="Only what holds for this tenant.")] = None,
    state_dir: StateDirectoryOption = None,
    json: JsonOption = False,
) -> None:
    """Show for whom real retrieval is on."""
    path = _flag_file(state_dir)
    setting = read_setting(path)
    if json:
        document = {"flag": FLAG_KEY, "file": str(path), "exists": path.exists(), **_fields(setting, tenant)}
        output.print_json(document)
        return
    if not path.exists():
        output.say(f"{path} is not there: services that are told of it and start now take it for off")
    elif setting is None:
        output.say(f"not set in {path}: the services follow USE_REAL_VECTOR_RETRIEVAL, by default on")
    elif tenant is not None:
        output.say(f"real retrieval is {_word(setting.is_on(tenant))} for {tenant}")
    else:
        output.say(setting_sentence(setting))


@app.command("set")
def set_flag(
    value: Annotated[Switch, typer.Argument(help="on or off.")],
    tenant: Annotated[
        list[str] | None,
        typer.Option(
            "--tenant", help="Only for this tenant; may be repeated. Without it: for everybody, no exceptions."
        ),
    ] = None,
    state_dir: StateDirectoryOption = None,
    json: JsonOption = False,
) -> None:
    """Switch real retrieval on or off; running services follow within about a second.

    Without --tenant the setting holds for everybody: settings of single tenants are removed, and named as they go.
    """
    path = _flag_file(state_dir)
    before = setting_before_change(path)
    is_on = value is Switch.ON
    after = before.with_tenants(tenant, is_on) if tenant else FlagSetting(default=is_on)
    write_setting(path, after)
    removed = {} if tenant else {name: _word(value) for name, value in before.tenants.items()}
    if json:
        output.print_json({"flag": FLAG_KEY, "file": str(path), **_fields(after, None), "removed": removed})
        return
    output.say(setting_sentence(after))
    for name, word in removed.items():
        output.note(f"removed the setting of {name} (it was {word})")


def _flag_file(state_dir: Path | None) -> Path:
    """The file that the services watch: the operator's setting goes before the state directory, as everywhere."""
    return Path(operator_settings().get("VECSEC_FLAG_FILE") or state_directory(state_dir).flags_file)


def _fields(setting: FlagSetting | None, tenant: str | None) -> dict[str, object]:
    if setting is None:
        return {"set": False}
    if tenant is not None:
        return {"set": True, "tenant_id": tenant, "value": setting.is_on(tenant)}
    return {"set": True, "default": setting.default, "tenants": dict(setting.tenants)}


def setting_sentence(setting: FlagSetting) -> str:
    """For whom real retrieval is on, in words."""
    exceptions = sorted(setting.tenants)
    sentence = f"real retrieval is {_word(setting.default)}"
    return f"{sentence}, but {_word(not setting.default)} for {', '.join(exceptions)}" if exceptions else sentence


def _word(is_on: bool) -> str:
    return Switch.ON.value if is_on else Switch.OFF.value

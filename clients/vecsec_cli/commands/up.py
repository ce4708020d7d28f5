"""`vecsec up`: the services on this machine, in the foreground, until SIGINT or SIGTERM."""

import asyncio
import functools
import os
import signal
from collections.abc import Coroutine, Mapping, Sequence
from pathlib import Path
from typing import Annotated

import typer

from vecsec_cli.demo.demonstration import show_demonstration
from vecsec_cli.demo.next_steps import print_next_steps
from vecsec_cli.local import installation, known_stores, preflight
from vecsec_cli.local.processes import ServiceProcess, running_processes, until_all_serve
from vecsec_cli.local.run_file import RunFile
from vecsec_cli.local.service_settings import (
    Service,
    bind_address,
    operator_settings,
    reachable_host,
    service_environment,
    services_of,
    store_path,
)
from vecsec_cli.local.shards import shard_count, shard_stores, with_shards, write_placement
from vecsec_cli.local.state_directory import StateDirectory
from vecsec_cli.options import StateDirectoryOption, state_directory
from vecsec_cli.terminal.output import console

_DEFAULT_GRACE_SECONDS = 10.0

_port_option = functools.partial(typer.Option, min=1, max=65535, show_default=False)


def up(
    *,
    state_dir: StateDirectoryOption = None,
    demo: Annotated[bool, typer.Option(help="Import the demonstration corpus and show some searches.")] = True,
    gateway_port: Annotated[int | None, _port_option(help="Default: 50051.")] = None,
    retrieval_port: Annotated[int | None, _port_option(help="Default: 50052.")] = None,
    policy_port: Annotated[int | None, _port_option(help="Default: 50053.")] = None,
    metrics_port: Annotated[
        int | None, _port_option(help="The gateway's; retrieval and policy take the next two. Default: 9091.")
    ] = None,
    shards: Annotated[
        int | None,
        typer.Option(
            min=1,
            max=16,
            help="Start so many retrieval services, each with a store of its own and some of the tenants. Default: as "
            "many as before.",
            show_default=False,
        ),
    ] = None,
) -> None:
    """Start gateway, retrieval and policy on this machine and stay until SIGINT or SIGTERM.

    If one of them dies, its last log lines are shown and the others are stopped.
    What is set in the environment, or in .env of the current folder, goes before the defaults of the state directory:
    CHROMA_PATH, VECSEC_POLICY_DIR and so on.
    """
    settings = operator_settings()
    ports = {"gateway": gateway_port, "retrieval": retrieval_port, "policy": policy_port}
    state = state_directory(state_dir)
    count = shard_count(state, settings, shards)
    services = with_shards(services_of(settings, ports, metrics_port), count, state, settings)
    preflight.check_installation()
    preflight.make_private_folder(state.root)
    with preflight.exclusive(state):
        preflight.check_ports(services, bind_address(settings))
        installation.prepare(state, settings)
        stores = _stores(state, settings, services)
        for store in stores:
            known_stores.demand_known(state, settings, store)
        write_placement(state, settings, services)
        asyncio.run(_run(state, settings, services, demo=demo))


async def _run(state: StateDirectory, settings: Mapping[str, str], services: Sequence[Service], *, demo: bool) -> None:
    """Start the services and keep them until a signal comes.

    Raises:
        CommandFailure: if one cannot start, or ends by itself.
    """
    stop = asyncio.Event()
    running: Sequence[ServiceProcess] = ()

    def on_signal() -> None:
        if stop.is_set():  # somebody is in a hurry
            for process in running:
                process.kill()
        stop.set()

    for number in _stop_signals():
        asyncio.get_running_loop().add_signal_handler(number, on_signal)
    host = reachable_host(settings)
    environment = service_environment(settings, state, services)
    grace_seconds = float(settings.get("VECSEC_SHUTDOWN_GRACE_SECONDS") or _DEFAULT_GRACE_SECONDS)
    try:
        async with running_processes(services, environment, host, state.logs, grace_seconds) as running:
            work = _serve(state, _stores(state, settings, services), running, demo=demo)
            await _first_of(work, stop.wait(), *(process.died() for process in running))
            state.run_file.unlink(missing_ok=True)
            console().print("stopping: gateway, retrieval, policy")
    finally:
        state.run_file.unlink(missing_ok=True)
    console().print("stopped")


def _stores(state: StateDirectory, settings: Mapping[str, str], services: Sequence[Service]) -> list[Path]:
    """Where the embedded stores are."""
    first = store_path(settings, state)
    return [*([] if first is None else [first]), *shard_stores(services)]


def _stop_signals() -> list[signal.Signals]:
    """The signals that stop; a closed terminal does too, unless started with nohup."""
    hangs_up = signal.getsignal(signal.SIGHUP) is not signal.SIG_IGN
    return [signal.SIGINT, signal.SIGTERM, *([signal.SIGHUP] if hangs_up else [])]


async def _serve(
    state: StateDirectory, stores: Sequence[Path], running: Sequence[ServiceProcess], *, demo: bool
) -> None:
    """Everything that `vecsec up` does while the services run; never ends by itself."""
    out = console()
    with out.status("starting the services …"):
        await until_all_serve(running, lambda process: out.print(str(process)))
    for store in stores:
        known_stores.remember(state, store)
    run = RunFile(pid=os.getpid(), services={each.service.name: each.running for each in running})
    run.write(state.run_file)
    if demo:
        await show_demonstration(state, run.gateway_address)
    print_next_steps(state, run)
    out.print(f"ready: gateway {run.gateway_address}, state directory {state.root}; Ctrl-C stops", soft_wrap=True)
    await asyncio.Event().wait()


async def _first_of(*work: Coroutine[object, object, object]) -> None:
    """Run these at once until the first of them ends; end the others. What the first one raises is raised."""
    tasks = [asyncio.create_task(each) for each in work]
    done, pending = await asyncio.wait(tasks, return_when=asyncio.FIRST_COMPLETED)
    for task in pending:
        task.cancel()
    await asyncio.gather(*pending, return_exceptions=True)
    for task in done:
        task.result()

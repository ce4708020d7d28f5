"""An installation whose tenants are on several shards: retrieval services with a store each, in one process."""

from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path

import grpc
import yaml

from support.certificates import Authority
from support.installation import free_ports
from support.new_store import ANY_TIME
from support.stack import Stack, running_stack
from support.waiting import until
from vecsec.retrieval.v1 import retrieval_service_pb2 as pb
from vecsec.retrieval.v1 import retrieval_service_pb2_grpc
from vecsec_chassis.placement.placement_file import load_placement
from vecsec_chassis.rpc.server import RunningService
from vecsec_retrieval.app import running_retrieval
from vecsec_retrieval.settings import RetrievalSettings

NAMES = ("shard-0", "shard-1")
TENANTS = ("tenant_c", "tenant_d", "tenant_e", "tenant_f", "tenant_g", "tenant_h")
"""Beside the default ones; both shards get some."""


def write_placement(
    file: Path, epoch: int, addresses: Mapping[str, str], pinned: Mapping[str, str] | None = None, **more: object
) -> None:
    """Replace a placement file at once; `draining` names shards that are, among `more`."""
    draining = more.pop("draining", ())
    assert isinstance(draining, tuple)
    shards = [{"name": name, "address": address, "draining": name in draining} for name, address in addresses.items()]
    aside = file.with_suffix(".new")
    aside.write_text(yaml.safe_dump({"epoch": epoch, "shards": shards, "pinned": dict(pinned or {}), **more}))
    aside.replace(file)


@dataclass
class ShardedStack:
    """What a test needs to talk to it."""

    folder: Path
    ports: Mapping[str, int]
    authority: Authority | None = None
    """With it all speak TLS."""
    stack: Stack = field(init=False)
    """Policy, gateway and the first shard."""
    services: dict[str, RunningService] = field(default_factory=dict)
    _running: dict[str, AsyncExitStack] = field(default_factory=dict)
    stubs: "dict[str, retrieval_service_pb2_grpc.RetrievalServiceAsyncStub]" = field(default_factory=dict)

    @property
    def placement_file(self) -> Path:
        return self.folder / "placement.yaml"

    def address(self, name: str) -> str:
        return f"localhost:{self.ports[name]}"

    def place(
        self, epoch: int, names: Sequence[str] = NAMES, pinned: Mapping[str, str] | None = None, **more: object
    ) -> None:
        """Write the placement."""
        addresses = {name: self.address(name) for name in names}
        write_placement(self.placement_file, epoch, addresses, pinned, **more)

    def owner(self, tenant_id: str) -> str:
        """Where the placement has the tenant."""
        return load_placement(self.placement_file).owner(tenant_id).name

    def tenant_of(self, shard: str) -> str:
        """A tenant that the placement has there."""
        return next(tenant_id for tenant_id in TENANTS if self.owner(tenant_id) == shard)

    def store(self, name: str) -> Path:
        return self.folder / name

    async def start(self, name: str, **settings: object) -> None:
        """Start a shard beside the first one."""
        opened = AsyncExitStack()
        chosen = {
            "VECSEC_RETRIEVAL_PORT": self.ports[name],
            "VECSEC_RETRIEVAL_METRICS_PORT": 0,
            "VECSEC_GRANT_JWKS": str(self.stack.issuer.grant_jwks_file),
            "VECSEC_FLAG_FILE": self.stack.flag_file,
            "VECSEC_SHUTDOWN_GRACE_SECONDS": 2,
            "VECSEC_NEW_STORE_UNTIL": ANY_TIME,
            "VECSEC_PLACEMENT_FILE": self.placement_file,
            "VECSEC_SHARD": name,
            "CHROMA_PATH": self.store(name),
            **({} if self.authority is None else self.authority.settings("retrieval")),
        }
        service = await opened.enter_async_context(
            running_retrieval(RetrievalSettings.model_validate(chosen | settings))
        )
        self.services[name] = service
        self._running[name] = opened
        self.know(name)

    async def settled(self, epoch: int) -> None:
        """Wait until every service goes by the placement of this epoch, and every shard knows what the others hold."""
        services = [self.stack.gateway_service, *self.services.values()]

        def is_settled() -> bool:
            found = [self.stack.metrics(service) for service in services]
            return all(
                metrics["vecsec_placement_epoch"] == epoch and not metrics.get("vecsec_shard_words_missing")
                for metrics in found
            )

        await until(is_settled)

    async def stop(self, name: str) -> None:
        """Stop a shard that was started."""
        self.services.pop(name)
        await self._running.pop(name).aclose()

    def know(self, name: str) -> None:
        options = [("grpc.use_local_subchannel_pool", 1)]
        channel = (
            grpc.aio.insecure_channel(self.address(name), options=options)
            if self.authority is None
            else grpc.aio.secure_channel(self.address(name), self.authority.credentials(), options=options)
        )
        self.stubs[name] = retrieval_service_pb2_grpc.RetrievalServiceStub(channel)

    async def describe(self, name: str) -> pb.DescribeShardResponse:
        """What a shard says of itself."""
        request = pb.DescribeShardRequest(include_cells=True, include_sizes=True)
        return await self.stubs[name].DescribeShard(request, wait_for_ready=True, timeout=30)

    def admin(self, tenant_id: str) -> str:
        """The token of somebody who may do everything in the tenant."""
        return self.stack.issuer.token(tenant_id, "admin", "SECRET", "loader")

    async def aclose(self) -> None:
        for opened in self._running.values():
            await opened.aclose()


@asynccontextmanager
async def sharded_stack(
    folder: Path,
    names: Sequence[str] = NAMES,
    *,
    epoch: int = 1,
    start: bool = True,
    authority: Authority | None = None,
    **environment: object,
) -> AsyncIterator[ShardedStack]:
    """Start it, with a placement that names these shards."""
    known = dict.fromkeys((*NAMES, "shard-2", *names))
    sharded = ShardedStack(folder, dict(zip(known, free_ports(len(known)), strict=True)), authority)
    sharded.place(epoch, names)
    async with running_stack(
        folder,
        tenants={tenant_id: ["marketing"] for tenant_id in TENANTS},
        authority=authority,
        **{
            "VECSEC_PLACEMENT_FILE": sharded.placement_file,
            "VECSEC_SHARD": names[0],
            "VECSEC_RETRIEVAL_PORT": sharded.ports[names[0]],
            "CHROMA_PATH": sharded.store(names[0]),
            **environment,
        },
    ) as stack:
        sharded.stack = stack
        sharded.services[names[0]] = stack.retrieval_service
        sharded.know(names[0])
        try:
            if start:
                for name in names[1:]:
                    await sharded.start(name)
                await sharded.settled(epoch)
            yield sharded
        finally:
            await sharded.aclose()

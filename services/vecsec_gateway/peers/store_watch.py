"""Whether one store answers at a retrieval service's address, and always the same: two would each have half the rows.

It happens where a service with a store of its own is scaled, so that two stand behind one name. Each call tells which
store is meant, and the other one refuses it; once both were heard of nothing is answered at all, for nobody knows which
of them other gateways believe in.
"""

import grpc
import structlog

from vecsec.retrieval.v1 import retrieval_service_pb2 as retrieval_pb2
from vecsec.retrieval.v1 import retrieval_service_pb2_grpc as retrieval_grpc
from vecsec_chassis.domain.errors import RetrievalUnavailable
from vecsec_chassis.placement.placement import Shard
from vecsec_chassis.rpc.interceptors import STORE_KEY

log = structlog.get_logger()

_ANSWER_SECONDS = 1.0
_QUESTIONS = 2
_ANSWERS_UNTIL_TRUSTED = 10
"""So often in a row the first store alone has to answer, until the second one is taken for gone."""


class StoreWatch:
    """One service's store."""

    def __init__(self, shard: Shard, store_id: str = "") -> None:
        self._shard = shard
        self.store_id = store_id
        """The one that is believed: of the shard's former address, or the first that is heard of."""
        self._answers_left = 0
        self.fault = ""
        """What is wrong, in one line."""

    @property
    def metadata(self) -> tuple[tuple[str, str], ...]:
        """What tells retrieval which store is meant."""
        return ((STORE_KEY, self.store_id),) if self.store_id else ()

    @property
    def is_one_service(self) -> bool:
        """Whether one service alone answers at the address, which is then to be judged as one: a shard of a placement
        with a store of its own. Of several that share a store, one may be silent while the others answer."""
        return bool(self._shard.name and self.store_id) and not self._answers_left

    async def look(self, stub: "retrieval_grpc.RetrievalServiceAsyncStub") -> None:
        """Ask who answers; a service of before there were shards does not know."""
        fault = ""
        # More than once: calls go to all that stand behind the name in turns, and others' calls take turns, too.
        for _ in range(_QUESTIONS):
            try:
                answer = await stub.DescribeShard(retrieval_pb2.DescribeShardRequest(), timeout=_ANSWER_SECONDS)
            except grpc.aio.AioRpcError:
                return  # that it does not answer is for its health to tell
            fault = self._judge(answer.shard, answer.store_id) or fault
        if fault != self.fault:
            self.fault = fault
            if fault:
                log.error("retrieval is not what it should be", address=self._shard.address, reason=fault)
            else:
                log.info("retrieval is what it should be again", address=self._shard.address)

    def demand_one(self) -> None:
        """Refuse calls while two stores answer.

        Raises:
            RetrievalUnavailable: then.
        """
        if self._answers_left:
            raise RetrievalUnavailable(
                "two vector stores answer in turns, so that neither can be believed; tell whoever runs VecSec",
                detail=self.fault,
            )

    def _judge(self, shard: str, store_id: str) -> str:
        if shard != self._shard.name and self._shard.name:
            # No call is lost by that: the service refuses what is not its own.
            return f"the address of shard {self._shard.name!r} is that of shard {shard!r}; correct the placement"
        if not self.store_id:
            self.store_id = store_id
        if store_id != self.store_id:
            self._answers_left = _ANSWERS_UNTIL_TRUSTED
            return (
                f"another store ({store_id}) answers than before ({self.store_id}), and each has rows of its own; "
                "scale retrieval to one, or make each a shard of a placement; if the store was replaced, start the "
                "gateway again"
            )
        self._answers_left = max(self._answers_left - 1, 0)
        return self.fault if self._answers_left else ""

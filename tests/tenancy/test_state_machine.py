"""Any sequence of imports, searches, deletes, policy changes and restarts agrees with the oracle."""

import tempfile
from dataclasses import replace
from pathlib import Path
from typing import Any

import grpc
import pytest
import yaml
from google.protobuf.message import Message
from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, precondition, rule, run_state_machine_as_test
from support.background_loop import BackgroundLoop
from support.stack import SEARCH_SECONDS, Stack, bearer, document, running_stack
from tenancy.oracle import LEVELS, ROLES, Oracle, Person, Row, Scorer

from vecsec.gateway.v1 import gateway_service_pb2
from vecsec.type.v1 import label_pb2, query_pb2, sensitivity_pb2

TENANTS = ("north", "south", "east")
TOPICS = ("finance", "policy", "marketing")
WORDS = ("budget", "harbour", "violin", "galaxy", "recipe", "contract", "glacier", "engine", "poem", "vaccine")
TIE = 1e-4
RESTARTS_AN_EXAMPLE = 2

people = st.builds(
    Person,
    tenant_id=st.sampled_from(TENANTS),
    role=st.sampled_from(list(ROLES)),
    clearance=st.sampled_from(list(LEVELS)),
)
topic_sets = st.lists(st.sampled_from(TOPICS), min_size=1, max_size=3, unique=True).map(sorted).map(tuple)
texts = st.lists(st.sampled_from(WORDS), min_size=1, max_size=4).map(" ".join)
rows = st.builds(Row, text=texts, sensitivity=st.sampled_from(list(LEVELS)), topics=topic_sets)
ids = st.sampled_from([f"doc-{number}" for number in range(12)])
tenants = st.sampled_from(TENANTS)
modes = st.sampled_from((query_pb2.SEARCH_MODE_VECTOR, query_pb2.SEARCH_MODE_TEXT, query_pb2.SEARCH_MODE_HYBRID))


class Installation:
    """One running stack for all examples; each example uses a collection of its own."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.loop = BackgroundLoop()
        self.scopes: dict[str, set[str]] = {tenant_id: set(TOPICS[:2]) for tenant_id in TENANTS}
        self.examples = 0
        self.start()

    def start(self) -> None:
        self.stack, self._leave = self.loop.enter(
            running_stack(self.folder, tenants={name: sorted(scope) for name, scope in self.scopes.items()})
        )

    def stop(self) -> None:
        self._leave()

    def rewrite_scopes(self) -> None:
        path = self.folder / "policy" / "tenants.yaml"
        policy = yaml.safe_load(path.read_text())
        policy["tenants"] |= {name: {"topics": sorted(scope)} for name, scope in self.scopes.items()}
        path.write_text(yaml.safe_dump(policy))


class SecuredSearch(RuleBasedStateMachine):
    installation: Installation
    scorer: Scorer

    @initialize()
    def begin(self) -> None:
        self.installation.examples += 1
        self.collection_id = f"example-{self.installation.examples:06d}"
        self.oracle = Oracle(self.installation.scopes)
        self.restarts = 0

    @property
    def stack(self) -> Stack:
        return self.installation.stack

    def token(self, person: Person) -> str:
        return self.stack.issuer.token(person.tenant_id, person.role, person.clearance, "somebody")

    @rule(person=people, tenant_id=tenants, batch=st.dictionaries(ids, rows, min_size=1, max_size=5))
    def imports(self, person: Person, tenant_id: str, batch: dict[str, Row]) -> None:
        stored = self.oracle.rows.setdefault(tenant_id, {})
        allowed = (
            self.oracle.may_enter(person, tenant_id, "write")
            and all(self.oracle.may_touch(person, row) for row in batch.values())
            and all(self.oracle.may_touch(person, stored[name]) for name in batch if name in stored)
        )
        documents = [document(name, row.text, row.sensitivity, row.topics) for name, row in batch.items()]
        call = self.stack.load(tenant_id, *documents, collection_id=self.collection_id, token=self.token(person))
        if allowed:
            self.installation.loop.run(call)
            stored.update(batch)
        else:
            with pytest.raises(grpc.aio.AioRpcError) as refused:
                self.installation.loop.run(call)
            assert refused.value.code() is grpc.StatusCode.PERMISSION_DENIED

    @rule(person=people, tenant_id=tenants, names=st.lists(ids, min_size=1, max_size=4, unique=True))
    def deletes(self, person: Person, tenant_id: str, names: list[str]) -> None:
        request = gateway_service_pb2.DeleteDocumentsRequest(
            tenant_id=tenant_id, collection_id=self.collection_id, document_ids=names
        )

        async def call() -> int:
            answer = await self.stack.gateway.DeleteDocuments(
                request, metadata=bearer(self.token(person)), timeout=SEARCH_SECONDS
            )
            return answer.deleted_count

        stored = self.oracle.rows.setdefault(tenant_id, {})
        if not self.oracle.may_enter(person, tenant_id, "delete"):
            with pytest.raises(grpc.aio.AioRpcError) as refused:
                self.installation.loop.run(call())
            assert refused.value.code() is grpc.StatusCode.PERMISSION_DENIED
            return
        deletable = [name for name in names if name in stored and self.oracle.may_touch(person, stored[name])]
        try:
            deleted = self.installation.loop.run(call())
        except grpc.aio.AioRpcError as error:
            assert error.code() is grpc.StatusCode.NOT_FOUND
            deleted = 0
        assert deleted == len(deletable)
        for name in deletable:
            del stored[name]

    @rule(person=people, tenant_id=tenants)
    def deletes_all(self, person: Person, tenant_id: str) -> None:
        request = gateway_service_pb2.DeleteDocumentsRequest(
            tenant_id=tenant_id, collection_id=self.collection_id, whole_collection=True
        )
        stored = self.oracle.rows.setdefault(tenant_id, {})
        deletable = [name for name, row in stored.items() if self.oracle.may_touch(person, row)]
        try:
            answer = self.answer(self.stack.gateway.DeleteDocuments, request, person)
        except grpc.aio.AioRpcError as error:
            self.assert_refused(error, person, tenant_id, "delete", sees_any=bool(deletable))
            return
        assert answer.deleted_count == len(deletable)
        for name in deletable:
            del stored[name]

    @rule(
        person=people,
        tenant_id=tenants,
        names=st.lists(ids, min_size=1, max_size=4, unique=True),
        sensitivity=st.sampled_from(list(LEVELS)),
        topics=st.one_of(st.just(()), topic_sets),
    )
    def relabels(
        self, person: Person, tenant_id: str, names: list[str], sensitivity: str, topics: tuple[str, ...]
    ) -> None:
        change = label_pb2.LabelChange(topics=topics)
        change.sensitivity = sensitivity_pb2.Sensitivity.Value(f"SENSITIVITY_{sensitivity}")
        request = gateway_service_pb2.RelabelDocumentsRequest(
            tenant_id=tenant_id, collection_id=self.collection_id, document_ids=names, change=change
        )
        stored = self.oracle.rows.setdefault(tenant_id, {})
        touched = {
            name: stored[name] for name in names if name in stored and self.oracle.may_touch(person, stored[name])
        }
        becomes = {
            name: replace(row, sensitivity=sensitivity, topics=topics or row.topics) for name, row in touched.items()
        }
        changed = {name: row for name, row in becomes.items() if row != stored[name]}
        try:
            answer = self.answer(self.stack.gateway.RelabelDocuments, request, person)
        except grpc.aio.AioRpcError as error:
            if all(self.oracle.may_touch(person, row) for row in changed.values()):
                sees_any = bool(self.oracle.readable(person, tenant_id))
                self.assert_refused(error, person, tenant_id, "write", sees_any=sees_any)
            else:
                assert error.code() is grpc.StatusCode.PERMISSION_DENIED
            return
        assert all(self.oracle.may_touch(person, row) for row in changed.values())
        assert answer.relabelled_count == len(changed)
        stored.update(changed)

    def answer(self, method: Any, request: Message, person: Person) -> Any:
        async def call() -> Any:
            return await method(request, metadata=bearer(self.token(person)), timeout=SEARCH_SECONDS)

        return self.installation.loop.run(call())

    def assert_refused(
        self, error: grpc.aio.AioRpcError, person: Person, tenant_id: str, action: str, *, sees_any: bool
    ) -> None:
        """Who may enter is told that there is no such collection, if they see nothing of it; others, nothing."""
        if self.oracle.may_enter(person, tenant_id, action):
            assert error.code() is grpc.StatusCode.NOT_FOUND
            assert not sees_any
        else:
            assert error.code() is grpc.StatusCode.PERMISSION_DENIED

    @rule(person=people, tenant_id=tenants, query=texts, k=st.sampled_from([1, 2, 5, 100]), mode=modes)
    def searches(
        self, person: Person, tenant_id: str, query: str, k: int, mode: query_pb2.SearchMode.ValueType
    ) -> None:
        try:
            answer = self.installation.loop.run(
                self.stack.search(self.token(person), tenant_id, query, k, collection_id=self.collection_id, mode=mode)
            )
        except grpc.aio.AioRpcError as error:
            if self.oracle.may_enter(person, tenant_id, "read"):
                assert error.code() is grpc.StatusCode.NOT_FOUND
                assert not self.oracle.readable(person, tenant_id)
            else:
                assert error.code() is grpc.StatusCode.PERMISSION_DENIED
            return
        assert self.oracle.may_enter(person, tenant_id, "read")
        readable = self.oracle.readable(person, tenant_id)
        found = {result.document.document_id: result for result in answer.results}
        assert len(found) == len(answer.results) <= k
        assert len(found) == min(k, len(readable)) or mode == query_pb2.SEARCH_MODE_TEXT
        assert set(found) <= set(readable)
        for name, result in found.items():
            assert result.document.text == readable[name].text
            assert tuple(result.document.label.topics) == readable[name].topics
        if readable and mode == query_pb2.SEARCH_MODE_VECTOR:
            scores = dict(
                zip(readable, self.scorer.scores(query, [row.text for row in readable.values()]), strict=True)
            )
            given = [result.score for result in answer.results]
            assert given == sorted(given, reverse=True)
            worst = min(scores[name] for name in found)
            assert all(scores[name] <= worst + TIE for name in set(readable) - set(found))
            assert all(abs(scores[name] - result.score) < TIE for name, result in found.items())

    def may_restart(self) -> bool:
        """Restarts take seconds, all else milliseconds: without a bound most of the time would go into them."""
        return self.restarts < RESTARTS_AN_EXAMPLE

    @precondition(may_restart)
    @rule(tenant_id=tenants, scope=st.sets(st.sampled_from(TOPICS), min_size=1))
    def policy_changes(self, tenant_id: str, scope: set[str]) -> None:
        self.restarts += 1
        self.installation.stop()
        self.installation.scopes[tenant_id] = scope
        self.installation.rewrite_scopes()
        self.installation.start()

    @precondition(may_restart)
    @rule()
    def everything_restarts(self) -> None:
        self.restarts += 1
        self.installation.stop()
        self.installation.start()


@pytest.mark.slow
@pytest.mark.timeout(900)
def test_any_sequence_of_operations_agrees_with_the_oracle() -> None:
    with tempfile.TemporaryDirectory() as folder:
        SecuredSearch.installation = Installation(Path(folder))
        SecuredSearch.scorer = Scorer()
        try:
            run_state_machine_as_test(
                SecuredSearch,
                settings=settings(
                    max_examples=25,
                    stateful_step_count=30,
                    deadline=None,
                    suppress_health_check=list(HealthCheck),
                    derandomize=False,
                ),
            )
        finally:
            SecuredSearch.installation.stop()
            SecuredSearch.installation.loop.close()

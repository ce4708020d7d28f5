"""Documents that name their readers, from the SDK's import to what each caller finds, through real services."""

import json
from collections.abc import AsyncIterator, Sequence
from pathlib import Path

import pytest
import yaml
from rpc.test_cli_imports import run
from support.stack import Stack, running_stack
from support.waiting import until

from vecsec_client import AsyncVecSecClient, DocumentInput, PermissionDenied, PossibleReaders, RejectedDocument
from vecsec_retrieval.repair import salvage

READERS = {
    "for-alice": ["user:alice"],
    "for-finance": ["group:finance"],
    "for-both": ["user:alice", "group:finance"],
    "for-all": None,
}


def documents() -> list[DocumentInput]:
    return [
        DocumentInput(
            document_id=name, text=f"notes {name}", sensitivity="INTERNAL", topics=["marketing"], readers=readers
        )
        for name, readers in READERS.items()
    ]


@pytest.fixture
async def stack(tmp_path: Path) -> AsyncIterator[Stack]:
    async with running_stack(tmp_path, admins_cross=True) as running:
        async with client_of(running, role="admin", clearance="SECRET", subject="loader") as loader:
            await stored(loader, documents())
        yield running


def client_of(
    stack: Stack,
    *groups: str,
    subject: str = "somebody",
    role: str = "analyst",
    clearance: str = "INTERNAL",
    tenant: str = "tenant_a",
) -> AsyncVecSecClient:
    token = stack.issuer.token(tenant, role, clearance, subject, groups=list(groups))
    return AsyncVecSecClient(f"127.0.0.1:{stack.gateway_service.port}", token=token, default_tenant="tenant_a")


async def stored(client: AsyncVecSecClient, documents: Sequence[DocumentInput]) -> list[RejectedDocument]:
    """Import; what was rejected."""
    return [each async for progress in client.stream_import(documents) for each in progress.rejected]


async def found(client: AsyncVecSecClient) -> set[str]:
    async with client:
        return {row.document_id for row in (await client.search("notes", k=10)).results}


async def test_a_row_with_readers_is_found_by_them_alone(stack: Stack) -> None:
    for _ in range(2):  # the second time, everything is remembered
        assert await found(client_of(stack)) == {"for-all"}
        assert await found(client_of(stack, subject="alice")) == {"for-all", "for-alice", "for-both"}
        assert await found(client_of(stack, "finance", "sales")) == {"for-all", "for-finance", "for-both"}
        assert await found(client_of(stack, "finance", subject="alice")) == set(READERS)
        assert await found(client_of(stack, "alice", "user:alice", "Finance", "finance ")) == {"for-all"}
    assert not await stack.violations("tenant_a"), "rows that a plan leaves out are no violations"


async def test_the_same_subject_with_other_groups_sees_other_rows(stack: Stack) -> None:
    """A token may say otherwise than the one before, and nothing that is remembered of that one may show."""
    for groups, expected in ((["finance"], {"for-all", "for-finance", "for-both"}), ([], {"for-all"})) * 2:
        assert await found(client_of(stack, *groups)) == expected


def write_memberships(stack: Stack, groups: dict[str, object]) -> None:
    (stack.policy_folder / "memberships.yaml").write_text(yaml.safe_dump({"tenants": {"tenant_a": groups}}))


async def test_memberships_are_live_and_the_last_good_ones_stay(stack: Stack) -> None:
    async def sees(subject: str, *expected: str) -> None:
        async def as_expected() -> bool:
            return await found(client_of(stack, subject=subject)) == {"for-all", *expected}

        await until(as_expected)

    await sees("carol")
    write_memberships(stack, {"finance": {"people": ["carol"], "groups": ["controlling"]}})
    await sees("carol", "for-finance", "for-both")
    assert await found(client_of(stack, "controlling", subject="dan")) == {"for-all", "for-finance", "for-both"}
    write_memberships(stack, {"finance": {"groups": ["finance"]}})  # a circle
    await until(lambda: _reload_fails(stack))
    await sees("carol", "for-finance", "for-both")
    write_memberships(stack, {"finance": {"people": ["erin"]}})
    await sees("carol")
    await sees("erin", "for-finance", "for-both")


async def _reload_fails(stack: Stack) -> bool:
    async with client_of(stack, role="admin", clearance="SECRET") as admin:
        return (await admin.policy_status()).is_reload_failing


async def test_a_caller_of_a_thousand_groups_is_judged_and_one_of_more_is_told(stack: Stack) -> None:
    names = [f"sg-emea-department-{number:04d}" for number in range(999)]
    groups: dict[str, object] = {name: {"people": ["carol"]} for name in names}
    write_memberships(stack, {**groups, "finance": {"people": ["carol"]}})

    async def sees_all() -> bool:
        return await found(client_of(stack, subject="carol")) == {"for-all", "for-finance", "for-both"}

    await until(sees_all)
    async with client_of(stack, "one-more", subject="carol") as carol:
        with pytest.raises(PermissionDenied, match="1,001 groups, more than the 1,000 that can be judged"):
            await carol.search("notes")


async def test_clearance_and_topics_still_hold_for_readers(stack: Stack) -> None:
    assert await found(client_of(stack, "finance", role="guest", clearance="PUBLIC")) == set()


async def test_administrators_read_no_rows_of_others_but_replace_and_delete_them(stack: Stack) -> None:
    async with client_of(stack, role="admin", clearance="SECRET", subject="root") as admin:
        assert [each.document_id for each in (await admin.get_documents(list(READERS))).documents] == ["for-all"]
        listed = (await admin.list_labels()).labels
        assert {each.readers for each in listed} == {
            None,
            ("user:alice",),
            ("group:finance",),
            ("group:finance", "user:alice"),
        }, "who configures sees which lists there are"
        replaced = DocumentInput(
            document_id="for-alice", text="notes", sensitivity="INTERNAL", topics=["rag"], readers=["user:bob"]
        )
        await stored(admin, [replaced])
        assert (await admin.delete_documents(["for-finance"])).deleted_count == 1
    assert await found(client_of(stack, "finance", subject="alice")) == {"for-all", "for-both"}
    assert await found(client_of(stack, subject="bob")) == {"for-all", "for-alice"}


async def test_readers_are_told_to_those_who_may_read(stack: Stack) -> None:
    async with client_of(stack, subject="alice") as alice:
        got = (await alice.get_documents(["for-both", "for-all", "for-finance"])).documents
    assert [(each.document_id, each.readers) for each in got] == [
        ("for-both", ("group:finance", "user:alice")),
        ("for-all", None),
    ]
    assert all("readers" not in each.attributes for each in got)


async def test_a_group_of_the_same_name_in_another_tenant_opens_nothing(stack: Stack) -> None:
    foreign = {"role": "admin", "clearance": "SECRET", "tenant": "tenant_b", "subject": "alice"}
    assert await found(client_of(stack, "finance", **foreign)) == {"for-all"}


@pytest.mark.parametrize(
    ("readers", "complaint"),
    [
        (["alice"], "must be user:SUBJECT or group:NAME, not 'alice'"),
        (["group:"], "must be user:SUBJECT or group:NAME, not 'group:'"),
        (["group:a\u202eb"], "must be at most 256 printable characters"),
        (["group:" + "x" * 251], "must be at most 256 printable characters"),
        (["user:x" + "y" * 10_000], "must be"),
        ([], "is empty: nobody could read it"),
        ([f"group:{number}" for number in range(65)], "64"),
    ],
)
async def test_lists_that_name_nobody_are_refused(stack: Stack, readers: list[str], complaint: str) -> None:
    bad = DocumentInput(document_id="bad", text="text", sensitivity="PUBLIC", topics=["rag"], readers=readers)
    async with client_of(stack, role="admin", clearance="SECRET") as admin:
        [rejected] = await stored(admin, [bad])
        assert rejected.field.startswith("readers")
        assert complaint in rejected.reason
        assert not (await admin.get_documents(["bad"])).documents


async def test_a_policy_that_knows_no_readers_takes_none(tmp_path: Path) -> None:
    async with running_stack(tmp_path / "first"):
        pass  # writes a policy folder
    folder = tmp_path / "first" / "policy"
    schema = (folder / "schema.cedarschema").read_text()
    lines = [
        line for line in schema.splitlines() if not line.startswith(("  readers?", "  groups:", "  reader_names:"))
    ]
    (folder / "schema.cedarschema").write_text("\n".join(lines))
    rules = (folder / "access.cedar").read_text()
    (folder / "access.cedar").write_text(rules.partition('@id("row-readers")')[0])
    (tmp_path / "second").mkdir()
    folder.rename(tmp_path / "second" / "policy")
    async with running_stack(tmp_path / "second") as stack:
        async with client_of(stack, role="admin", clearance="SECRET") as admin:
            refused = await stored(admin, documents())
            assert {each.document_id for each in refused} == {name for name, readers in READERS.items() if readers}
            assert all("readers that the policy's schema does not declare" in each.reason for each in refused)
        assert await found(client_of(stack, "finance", subject="alice")) == {"for-all"}


async def test_a_backup_has_every_row_and_brings_back_its_readers(stack: Stack, tmp_path: Path) -> None:
    roles = yaml.safe_load((stack.policy_folder / "roles.yaml").read_text())
    roles["roles"]["superuser"]["ignores_readers"] = True
    (stack.policy_folder / "roles.yaml").write_text(yaml.safe_dump(roles))

    async def reads_all() -> bool:
        return await found(client_of(stack, role="superuser")) == set(READERS)

    await until(reads_all)
    some, whole = tmp_path / "some", tmp_path / "all"
    told = await run(stack, "tenant", "export", str(some))
    assert "documents that this token may not read are not in it" in told.stderr
    await run(stack, "tenant", "export", str(whole), role="superuser")
    counts = [len((folder / "documents.jsonl").read_text().splitlines()) for folder in (some, whole)]
    assert counts == [1, len(READERS)]
    async with client_of(stack, role="admin", clearance="SECRET", subject="root") as admin:
        assert (await admin.delete_documents(list(READERS))).deleted_count == len(READERS)
    await run(stack, "tenant", "import", str(whole))
    assert await found(client_of(stack, subject="alice")) == {"for-all", "for-alice", "for-both"}
    assert await found(client_of(stack, "finance")) == {"for-all", "for-finance", "for-both"}


async def test_what_is_saved_of_a_cell_keeps_readers(stack: Stack, capsys: pytest.CaptureFixture[str]) -> None:
    capsys.readouterr()
    assert salvage.main([str(stack.chroma_path / "tenant_a"), "tenant_a"]) == 0
    lines = [line for line in capsys.readouterr().out.splitlines() if line.startswith('{"collection_id"')]
    saved = [json.loads(line)["document"] for line in lines]
    assert {each["id"]: each.get("readers") for each in saved} == {
        name: None if readers is None else sorted(readers) for name, readers in READERS.items()
    }
    assert all("readers" not in each["attributes"] for each in saved)


async def test_who_could_read_a_row_is_told_to_those_who_may_configure(stack: Stack) -> None:
    write_memberships(stack, {"finance": {"people": ["carol", "dan"]}})
    asked = {"sensitivity": "INTERNAL", "topics": ["marketing"], "readers": ["group:finance"]}

    async def possible(role: str, tenant: str = "tenant_a") -> PossibleReaders | None:
        async with client_of(stack, role=role, clearance="SECRET", tenant=tenant) as client:
            return (await client.explain_access(tenant="tenant_a", **asked)).possible_readers

    async def are_listed() -> bool:
        told = await possible("superuser")
        return told is not None and told.named_readers[0].people == ("carol", "dan")

    await until(are_listed)
    assert await possible("analyst") is None
    told = await possible("admin", "tenant_b")
    assert told is not None
    assert [(each.name, each.people) for each in told.named_readers] == [("group:finance", ())], "of another tenant"

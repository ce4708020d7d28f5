"""Row 10 of the threats, for what callers who are alike share: who searches first warms nothing of others' owners."""

import shutil
from pathlib import Path

from support.stack import document, running_stack

from vecsec.type.v1 import value_pb2

EXAMPLE = Path(__file__).parents[2] / "deploy" / "examples" / "policies" / "attributes"
OWNERS = [f"user-{number}" for number in range(20)]


async def test_nobody_sees_another_s_rows_whoever_asked_before(tmp_path: Path) -> None:
    shutil.copytree(EXAMPLE, tmp_path / "policy")
    rows = [document(f"of-{owner}", f"notes of {owner}") for owner in OWNERS]
    for row, owner in zip(rows, OWNERS, strict=True):
        row.attributes["owner"].CopyFrom(value_pb2.Value(string_value=owner))
    async with running_stack(tmp_path) as stack:
        await stack.load("tenant_a", *rows, document("of-all", "notes of all"))
        for _ in range(2):  # the second time, everything is remembered
            for owner in [*OWNERS, "nobody"]:
                token = stack.issuer.token("tenant_a", "analyst", "INTERNAL", owner)
                expected = {"of-all"} | ({f"of-{owner}"} & {row.document_id for row in rows})
                assert set(await stack.ids(token, "tenant_a", "notes", k=30)) == expected
        assert not await stack.violations("tenant_a")

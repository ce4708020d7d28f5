"""Rewrites the issuers file of a running installation, and sees what becomes of callers."""

import json
from typing import Any

import grpc

from support.issuer import AUDIENCE
from support.stack import Stack
from support.waiting import until


def own(stack: Stack, **changes: Any) -> dict[str, Any]:
    return {
        "issuer": stack.issuer.name,
        "audience": AUDIENCE,
        "jwks": "issuer.jwks.json",
        "algorithms": ["EdDSA"],
    } | changes


def write(stack: Stack, *issuers: dict[str, Any]) -> None:
    following = stack.issuer.issuers_file.with_suffix(".next")
    following.write_text(json.dumps({"issuers": issuers}))
    following.replace(stack.issuer.issuers_file)


async def code_of(stack: Stack, token: str) -> grpc.StatusCode | None:
    try:
        await stack.search(token, "tenant_a", "plans")
    except grpc.aio.AioRpcError as error:
        return error.code()
    return None


async def told(stack: Stack, token: str, code: grpc.StatusCode | None) -> None:
    async def is_told() -> bool:
        return await code_of(stack, token) is code

    await until(is_told)

"""A web service in front of VecSec: one connection for all, and each request asks with its own user's token.

    VECSEC_GATEWAY=localhost:50051 VECSEC_TENANT=tenant_a uvicorn --app-dir examples search_service:app
    curl -H "authorization: Bearer $VECSEC_TOKEN" 'http://127.0.0.1:8000/search?q=ranking'

The service holds no token of its own and decides nothing: what a user may read, the gateway does, call by call.
"""

import os
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Annotated

from fastapi import Depends, FastAPI, HTTPException, Query, Request
from fastapi.responses import JSONResponse
from fastapi.security import HTTPAuthorizationCredentials, HTTPBearer
from pydantic import BaseModel

from vecsec_client import (
    AsyncVecSecClient,
    InvalidArgument,
    PermissionDenied,
    ResourceExhausted,
    Unauthenticated,
    VecSecError,
)

STATUS = {InvalidArgument: 400, Unauthenticated: 401, PermissionDenied: 403, ResourceExhausted: 429}
"""Anything else that goes wrong is not the user's: 503."""


@asynccontextmanager
async def connected(app: FastAPI) -> AsyncIterator[None]:
    """The connection lives as long as the service. Its client has no token: without a user's it asks nothing."""
    gateway, tenant = os.environ["VECSEC_GATEWAY"], os.environ["VECSEC_TENANT"]
    async with AsyncVecSecClient(gateway, token=None, default_tenant=tenant) as client:
        app.state.client = client
        yield


app = FastAPI(title="Search", lifespan=connected)


async def user(
    request: Request, given: Annotated[HTTPAuthorizationCredentials | None, Depends(HTTPBearer(auto_error=False))]
) -> AsyncVecSecClient:
    """A view of the client in the name of whoever sent this request."""
    if given is None:
        raise HTTPException(401, "send your token: authorization: Bearer …", {"www-authenticate": "Bearer"})
    client: AsyncVecSecClient = request.app.state.client
    return client.with_token(given.credentials)


class Passage(BaseModel):
    """What a browser gets of a hit."""

    id: str
    score: float
    text: str


@app.get("/search")
async def search(
    caller: Annotated[AsyncVecSecClient, Depends(user)],
    q: Annotated[str, Query(min_length=1)],
    k: Annotated[int, Query(ge=1, le=50)] = 5,
) -> list[Passage]:
    """The nearest passages among those that the user may read."""
    found = await caller.search(q, k=k, timeout=5.0)
    return [Passage(id=each.document_id, score=each.score, text=each.text) for each in found]


@app.exception_handler(VecSecError)
async def refused(_: Request, error: VecSecError) -> JSONResponse:
    """The gateway's own words are for people; its denials say nothing of what is there."""
    status = next((status for kind, status in STATUS.items() if isinstance(error, kind)), 503)
    headers = {"www-authenticate": 'Bearer error="invalid_token"'} if status == 401 else {}
    return JSONResponse({"detail": str(error)}, status, headers)

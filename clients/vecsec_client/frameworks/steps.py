"""What a store does as steps, each a call of the client: written once for ordinary and for asynchronous code.

    def texts(ids: Sequence[str]) -> Steps[list[str]]:
        answer = yield Call("get_documents", ids)
        return [row.text for row in answer.documents]

An error of a call is raised where the step was asked for.
"""

import asyncio
from collections.abc import AsyncIterator, Callable, Generator, Iterator, Mapping
from dataclasses import dataclass
from typing import Any, Self, TypeAlias, TypeVar

from vecsec_client.async_client import AsyncVecSecClient
from vecsec_client.blocking_client import VecSecClient
from vecsec_client.errors import VecSecError

ResultT = TypeVar("ResultT")


class Call:
    """One call of a client: the method's name and what it takes."""

    def __init__(self, method: str, *arguments: object, **keywords: object) -> None:
        self.method = method
        self.arguments = arguments
        self.keywords: Mapping[str, object] = keywords

    def of(self, client: VecSecClient | AsyncVecSecClient) -> Any:
        """Call it: the result, or what is awaited or iterated for it."""
        return getattr(client, self.method)(*self.arguments, **self.keywords)


Steps: TypeAlias = Generator[Call, Any, ResultT]


@dataclass(frozen=True, slots=True)
class Clients:
    """The client of ordinary code and, where there is one, that of asynchronous code, of one and the same caller."""

    blocking: VecSecClient
    asynchronous: AsyncVecSecClient | None = None
    """None has asynchronous code use threads."""

    def with_token(self, token: str | Callable[[], Any]) -> Self:
        """The same for somebody else, over the same connections."""
        asynchronous = None if self.asynchronous is None else self.asynchronous.with_token(token)
        return type(self)(self.blocking.with_token(token), asynchronous)

    def carry_out(self, steps: Steps[ResultT]) -> ResultT:
        """Take all steps."""
        try:
            call = next(steps)
            while True:
                try:
                    answer = _ended(call.of(self.blocking))
                except VecSecError as error:
                    call = steps.throw(error)
                else:
                    call = steps.send(answer)
        except StopIteration as end:
            result: ResultT = end.value
            return result

    async def carry_out_async(self, steps: Steps[ResultT]) -> ResultT:
        """Take all steps without holding the event loop up."""
        if self.asynchronous is None:
            return await asyncio.to_thread(self.carry_out, steps)
        try:
            call = next(steps)
            while True:
                try:
                    answer = await _awaited(call.of(self.asynchronous))
                except VecSecError as error:
                    call = steps.throw(error)
                else:
                    call = steps.send(answer)
        except StopIteration as end:
            result: ResultT = end.value
            return result


def _ended(answer: Any) -> Any:
    """The answer, or the last of several (an import's)."""
    if not isinstance(answer, Iterator):
        return answer
    last = None
    for each in answer:
        last = each
    return last


async def _awaited(answer: Any) -> Any:
    if not isinstance(answer, AsyncIterator):
        return await answer
    last = None
    async for each in answer:
        last = each
    return last

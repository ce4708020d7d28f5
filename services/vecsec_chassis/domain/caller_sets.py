"""What callers are members of, as a grant carries it.

A residual that asks whether a row's readers and a caller's groups have one in common is the same for all callers; what
differs is the set, of up to a thousand names. So the residual names the set (`context.reader_names`) and the grant
carries its members beside, each by a hash of 80 bits: a name is as long as its giver likes, and a grant has to stay
short. Somebody would have to try 2^66 names to find one whose hash is that of some entry of 16,000, and would then be
found out by the check, which compares the names themselves. Two names of their own with one hash take 2^40 tries: so
whoever looks names up by hashes keeps all that have it.
"""

import hashlib
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Self

MEMBER_BYTES = 10
_PERSON = b"vecsec-member"


def member_hash(name: str) -> bytes:
    """What stands for a name: 80 bits of BLAKE2b."""
    encoded = name.encode(errors="surrogatepass")
    return hashlib.blake2b(encoded, digest_size=MEMBER_BYTES, person=_PERSON).digest()


@dataclass(frozen=True, slots=True)
class CallerSets:
    """Sets of a caller by their names, each as the sorted hashes of its members, one behind the other."""

    members: tuple[tuple[str, bytes], ...] = ()
    """Sorted by name."""

    @classmethod
    def of(cls, sets: Mapping[str, Iterable[str]]) -> Self:
        """The sets with these members."""
        return cls(tuple((name, b"".join(sorted(map(member_hash, sets[name])))) for name in sorted(sets)))

    @property
    def names(self) -> frozenset[str]:
        """What the sets are called."""
        return frozenset(name for name, _ in self.members)

    def hashes(self, name: str) -> frozenset[bytes]:
        """The hashes of a set's members; 0.1 µs each."""
        joined = dict(self.members)[name]
        return frozenset(joined[start : start + MEMBER_BYTES] for start in range(0, len(joined), MEMBER_BYTES))

    @property
    def joined(self) -> bytes:
        """All members' hashes, one set behind the other."""
        return b"".join(members for _, members in self.members)

    @property
    def sizes(self) -> dict[str, int]:
        """How many members each set has."""
        return {name: len(members) // MEMBER_BYTES for name, members in self.members}

    @classmethod
    def split(cls, sizes: Mapping[str, int], joined: bytes) -> Self:
        """The sets with these sizes.

        Raises:
            ValueError: if that is not what was joined.
        """
        members, start = [], 0
        for name in sorted(sizes):
            end = start + sizes[name] * MEMBER_BYTES
            members.append((name, joined[start:end]))
            start = end
        if start != len(joined) or any(size < 0 for size in sizes.values()):
            raise ValueError(f"{len(joined):,} bytes of members where {start:,} are due")
        return cls(tuple(members))


NO_SETS = CallerSets()

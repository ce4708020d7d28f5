"""What the options of `vecsec import` mean, each checked."""

import codecs

from vecsec_cli.importing.documents import Defaults
from vecsec_cli.importing.fields import BadField, checked_readers, checked_topics
from vecsec_cli.importing.formats import SourceFormat
from vecsec_cli.options import split_words
from vecsec_cli.terminal.failures import CommandFailure
from vecsec_client import Sensitivity
from vecsec_client.splitting.packing import DEFAULT_OVERLAP, Lengths


def defaults_of(sensitivity: Sensitivity | None, topics: list[str], readers: list[str]) -> Defaults:
    """What fills fields that documents lack.

    Raises:
        CommandFailure: naming the option that is wrong.
    """
    words = split_words(topics)
    try:
        return Defaults(
            sensitivity, checked_topics(words) if words else (), checked_readers(readers) if readers else ()
        )
    except BadField as problem:
        option = "--reader" if problem.field.startswith("readers") else "--topics"
        raise CommandFailure(f"{option}: {problem.reason}") from problem


def lengths_of(size: int, overlap: int) -> Lengths:
    """How long passages are; the default overlap gives way to a small size.

    Raises:
        CommandFailure: if they make no sense.
    """
    try:
        return Lengths(size, min(overlap, size // 2) if overlap == DEFAULT_OVERLAP else overlap)
    except ValueError as problem:
        raise CommandFailure(str(problem)) from problem


def formats_of(values: list[str]) -> dict[str, SourceFormat]:
    """What `SUFFIX=FORMAT` options say; an empty suffix is that of files that have none.

    Raises:
        CommandFailure: for one that says something else.
    """
    found: dict[str, SourceFormat] = {}
    for value in values:
        suffix, equals, name = value.rpartition("=")
        if not equals or name not in set(SourceFormat) - {SourceFormat.CHROMA} or suffix[:1] not in {"", "."}:
            known = ", ".join(each for each in SourceFormat if each is not SourceFormat.CHROMA)
            raise CommandFailure(f"--read-as takes .SUFFIX=FORMAT, not {value!r}; formats: {known}")
        found[suffix.lower()] = SourceFormat(name)
    return found


def renamed_of(values: list[str]) -> dict[str, str]:
    """What `COLUMN=KEY` options say.

    Raises:
        CommandFailure: for one that says something else.
    """
    pairs = [value.rpartition("=") for value in values]
    for value, (column, _, key) in zip(values, pairs, strict=True):
        if not column.strip() or not key:
            raise CommandFailure(f"--rename takes COLUMN=KEY, not {value!r}")
    return {column.strip(): key for column, _, key in pairs}


def known_encoding(name: str) -> str | None:
    """The encoding that is named; None for none.

    Raises:
        CommandFailure: if there is none of this name.
    """
    if not name:
        return None
    try:
        is_of_texts = codecs.lookup(name)._is_text_encoding  # noqa: SLF001 (as open() does)
    except LookupError:
        is_of_texts = False
    if not is_of_texts:
        raise CommandFailure(f"--encoding: no such encoding: {name!r}; for example utf-8, utf-16, cp1252")
    return codecs.lookup(name).name

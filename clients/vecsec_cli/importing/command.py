"""`vecsec import`: documents from files, folders and existing collections."""

from typing import Annotated

import typer

from vecsec_cli.gateway_session import GatewaySession, with_gateway
from vecsec_cli.importing.carrying_out import import_from
from vecsec_cli.importing.csv_table import Columns
from vecsec_cli.importing.file_tree import FileOptions
from vecsec_cli.importing.formats import SourceFormat
from vecsec_cli.importing.option_values import defaults_of, formats_of, known_encoding, lengths_of, renamed_of
from vecsec_cli.importing.reporting import report
from vecsec_cli.importing.sources import ReadingOptions, open_source
from vecsec_cli.importing.targets import ImportTarget
from vecsec_cli.importing.trees.pruning import Prune
from vecsec_cli.importing.walking import TreeOptions
from vecsec_cli.options import CollectionOption, TenantOption, split_words
from vecsec_client import Sensitivity
from vecsec_client.splitting.packing import DEFAULT_OVERLAP, DEFAULT_SIZE

DEFAULT_COLLECTION = "documents"


@with_gateway
def import_documents(
    session: GatewaySession,
    *,
    source: Annotated[
        str,
        typer.Argument(
            metavar="SOURCE",
            help="A file, a folder, chroma:PATH#COLLECTION, chroma+http://HOST:PORT#COLLECTION, "
            "or - for JSON lines from stdin.",
        ),
    ],
    tenant: TenantOption,
    collection: CollectionOption = DEFAULT_COLLECTION,
    sensitivity: Annotated[
        Sensitivity | None, typer.Option(case_sensitive=False, help="For documents that have none of their own.")
    ] = None,
    topics: Annotated[
        list[str] | None, typer.Option(help="For documents that have none of their own: a,b or several times.")
    ] = None,
    reader: Annotated[
        list[str] | None,
        typer.Option(
            metavar="user:SUBJECT|group:NAME",
            help="Who alone may read documents that name no readers of their own; may be repeated.",
        ),
    ] = None,
    source_format: Annotated[
        SourceFormat | None, typer.Option("--format", help="Default: by the source's name.", show_default=False)
    ] = None,
    id_column: Annotated[str, typer.Option(help="Tables: the column of ids.")] = "id",
    text_column: Annotated[str, typer.Option(help="Tables: the column of texts.")] = "text",
    sensitivity_column: Annotated[
        str, typer.Option(help="Tables: the column, ChromaDB: the metadata key.")
    ] = "sensitivity",
    topics_column: Annotated[
        str, typer.Option(help="Tables: the column, ChromaDB: the metadata key; topics separated by commas.")
    ] = "topics",
    readers_column: Annotated[
        str, typer.Option(help="Tables: the column, ChromaDB: the metadata key; readers separated by semicolons.")
    ] = "readers",
    columns: Annotated[
        list[str] | None,
        typer.Option(metavar="NAME,NAME…", help="Tables without a header: the names of their columns, in their order."),
    ] = None,
    rename: Annotated[
        list[str] | None,
        typer.Option(metavar="COLUMN=KEY", help="Tables: the metadata key of a further column; may be repeated."),
    ] = None,
    split: Annotated[
        bool, typer.Option("--split/--no-split", help="Store long texts as passages, or whole, with one vector each.")
    ] = True,
    passage_size: Annotated[
        int, typer.Option("--passage-size", min=100, max=100_000, help="The longest passage, in characters.")
    ] = DEFAULT_SIZE,
    overlap: Annotated[
        int, typer.Option(min=0, help="How many characters of one passage the next one repeats at most.")
    ] = DEFAULT_OVERLAP,
    hidden: Annotated[bool, typer.Option("--hidden", help="Folder: also names that begin with a dot.")] = False,
    symlinks: Annotated[bool, typer.Option("--symlinks", help="Folder: also what symbolic links lead to.")] = False,
    exclude: Annotated[
        list[str] | None,
        typer.Option(metavar="PATTERN", help="Folder: names or paths to leave out, such as '*.png'; may be repeated."),
    ] = None,
    read_as: Annotated[
        list[str] | None,
        typer.Option(
            metavar="SUFFIX=FORMAT", help="Folder: how to read further files, such as .conf=text; repeatable."
        ),
    ] = None,
    encoding: Annotated[
        str, typer.Option(help="Of texts and tables. Default: UTF-8, or by the first bytes.", show_default=False)
    ] = "",
    keep_embeddings: Annotated[
        bool, typer.Option("--keep-embeddings", help="ChromaDB: store its vectors instead of embedding the texts anew.")
    ] = False,
    embedding_model: Annotated[
        str, typer.Option(help="Embeds the texts of a new collection. Default: the service's.", show_default=False)
    ] = "",
    batch_size: Annotated[int, typer.Option(min=1, max=1000, help="Documents stored at once.")] = 256,
    strict: Annotated[bool, typer.Option("--strict", help="Stop at the first bad line.")] = False,
    prune: Annotated[
        bool,
        typer.Option(
            "--prune",
            help="Folder: also delete passages of files that it has no more. For a collection with files of this "
            "folder alone: those of another one would count as gone. Refused where more than half of them would go.",
        ),
    ] = False,
    prune_all: Annotated[
        bool, typer.Option("--prune-all", help="As --prune, however many are gone, and from an empty folder, too.")
    ] = False,
    relabel: Annotated[
        bool,
        typer.Option(
            "--relabel",
            help="Files: give them the label of these options (their front matter still wins), where they have another "
            "in the store, which holds otherwise.",
        ),
    ] = False,
    restart: Annotated[bool, typer.Option("--restart", help="Import all again, unchanged files, too.")] = False,
) -> None:
    """Import documents. A document with an id that exists is replaced; a file, with all of its passages in one step.

    Files that are stored as they are, by what the services say, are not sent again.

    Bad lines are reported with their place, the rest is imported, and the exit code is 1. An import that was cut off
    goes on where it stopped when the same command is given again.
    """
    table = Columns(
        id=id_column,
        text=text_column,
        sensitivity=sensitivity_column,
        topics=topics_column,
        readers=readers_column,
        renamed=renamed_of(rename or []),
        header=tuple(split_words(columns or [])),
    )
    files = FileOptions(
        TreeOptions(hidden, symlinks, tuple(exclude or ()), session.state.root),
        lengths=lengths_of(passage_size, overlap) if split else None,
        read_as=formats_of(read_as or []),
        encoding=known_encoding(encoding),
        columns=table,
    )
    options = ReadingOptions(table, defaults_of(sensitivity, topics or [], reader or []), keep_embeddings, files)
    target = ImportTarget(tenant, collection or DEFAULT_COLLECTION, embedding_model, batch_size, strict)
    opened = open_source(source, source_format, options)
    pruned = Prune.ALL_GONE if prune_all else Prune.GONE if prune else Prune.NOTHING
    result = import_from(session, opened, target, repr(options), restart=restart, prune=pruned, relabel=relabel)
    report(result, as_json=session.json)

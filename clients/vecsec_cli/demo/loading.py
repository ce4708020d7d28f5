"""Imports the demonstration's corpora, each once."""

from vecsec_cli.demo.corpus import StandardLibraryCorpus, StandardLibrarySource, hand_written_source
from vecsec_cli.demo.guided_searches import administrator
from vecsec_cli.demo.spread import TENANTS
from vecsec_cli.importing.import_run import ImportRun
from vecsec_cli.importing.journal import Journal, open_journal
from vecsec_cli.importing.records import Source
from vecsec_cli.local.state_directory import StateDirectory
from vecsec_cli.terminal import output
from vecsec_cli.terminal.progress_bar import progress_bar
from vecsec_cli.terminal.text import plain
from vecsec_client import AsyncVecSecClient, Unavailable

HAND_WRITTEN_TENANTS = ("tenant_a", "tenant_b")
_COLLECTION = "documents"
_BATCH_SIZE = 256


async def load(state: StateDirectory, address: str) -> int:
    """Import what is not there yet; how many documents that was.

    Raises:
        VecSecError: if a service refuses.
        SourceError: if a journal cannot be used.
    """
    corpus = StandardLibraryCorpus()
    sources: dict[str, Source] = {tenant_id: hand_written_source(tenant_id) for tenant_id in HAND_WRITTEN_TENANTS}
    sources |= {tenant_id: StandardLibrarySource(tenant_id, corpus) for tenant_id in TENANTS}
    stored = 0
    for tenant_id, source in sources.items():
        fingerprint = source.summarise().fingerprint
        with open_journal(state.imports, fingerprint, "demo", tenant_id, _COLLECTION) as journal:
            async with administrator(tenant_id).connect(state, address) as client:
                if not await _is_there(client, journal):
                    if tenant_id in TENANTS:
                        with output.console().status("reading the standard library's documentation …"):
                            await corpus.read()
                    stored += await _import(client, source, journal, tenant_id)
    return stored


async def _is_there(client: AsyncVecSecClient, journal: Journal) -> bool:
    """Whether an earlier start has imported this, and nobody has erased it since, as far as is told: with real
    retrieval off, nothing is."""
    if journal.settled == 0:
        return False
    try:
        known = {each.collection_id for each in await client.list_collections()}
    except Unavailable as error:
        if error.reason != "REAL_RETRIEVAL_OFF":
            raise
        return journal.is_finished
    if _COLLECTION not in known:
        journal.start_over()
    return journal.is_finished


async def _import(client: AsyncVecSecClient, source: Source, journal: Journal, tenant_id: str) -> int:
    with progress_bar() as progress:
        bar = progress.add_task(f"importing {tenant_id:<11}", total=source.summarise().expected)
        run = ImportRun(source, journal, on_bad=lambda record: progress.console.print(plain(str(record))))
        async for told in client.stream_import(run.documents(), batch_size=_BATCH_SIZE):
            run.settle(told)
            progress.update(bar, completed=run.result().total)
        return run.finish().stored

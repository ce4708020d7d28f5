"""The collection that a call is about, if its caller may see anything of it: the same way for one that is hidden and
for one that is not there, so that not even time tells them apart."""

from vecsec_chassis.domain.labels import Label, Sensitivity
from vecsec_retrieval.cells.open_cell import OpenCell
from vecsec_retrieval.cells.open_collection import OpenCollection
from vecsec_retrieval.visibility.eyes import Eyes
from vecsec_retrieval.visibility.label_table import LabelTable

_OF_NO_COLLECTION = LabelTable([Label("none", Sensitivity.SECRET, frozenset({"none"}))])
"""Stands for the labels of a collection that is not there: whether it is visible is looked at, and means nothing."""


async def seen_collection(cell: OpenCell | None, collection_id: str, visibility: Eyes) -> OpenCollection | None:
    """The collection; None if it is not there, or none of the labels in it is visible.

    Labels alone are looked at, before anything of the query is: neither is a hidden collection taken into memory, nor
    are its rows masked. One whose visible rows are all gone is given all the same.
    """
    collection = None if cell is None else await cell.collection(collection_id)
    table = _OF_NO_COLLECTION if collection is None else await collection.labels()
    visible = await visibility.in_table(table)
    return collection if visible.any() else None

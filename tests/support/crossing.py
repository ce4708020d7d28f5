"""What a deployment does that lets its admins read across tenants, as the packaged system once did."""

from pathlib import Path

CROSSING = "# reads_across_tenants: true"
WITH_EMBEDDINGS = "# embeddings_across_tenants: true"


def let_admins_cross(folder: Path, *, with_embeddings: bool = False) -> Path:
    """Uncomment the line in a policy folder's roles file, or both lines; the folder."""
    roles = folder / "roles.yaml"
    text = roles.read_text()
    for line in (CROSSING, WITH_EMBEDDINGS) if with_embeddings else (CROSSING,):
        assert line in text
        text = text.replace(line, line.removeprefix("# "))
    roles.write_text(text)
    return folder

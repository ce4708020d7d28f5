"""What several tests of the deployment share: one Docker engine and one build of the images a run."""

from collections.abc import Iterator

import pytest
from support.docker_engine import base_image, build_images, running_engine


@pytest.fixture(scope="session")
def engine() -> Iterator[str | None]:
    """The address of a Docker engine; None for the usual one."""
    with running_engine() as host:
        yield host


@pytest.fixture(scope="session")
def images(engine: str | None) -> dict[str, str]:
    """The images' names by service."""
    return build_images(base_image(engine), engine)

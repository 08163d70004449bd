"""A database of its own for each test."""

import uuid
from collections.abc import Iterator

import pytest

from tests.services import postgres_server


@pytest.fixture(scope="session")
def postgres_url() -> Iterator[str]:
    with postgres_server() as url:
        yield url


@pytest.fixture
def postgres(postgres_url: str) -> Iterator[str]:
    import psycopg

    name = f"test_{uuid.uuid4().hex[:12]}"
    with psycopg.connect(postgres_url, autocommit=True) as admin:
        admin.execute(f'CREATE DATABASE "{name}"')
        yield postgres_url.rpartition("/")[0] + f"/{name}"
        admin.execute(f'DROP DATABASE "{name}" WITH (FORCE)')

"""Nobody is answered without the token, and nothing is taken that is too large."""

import asyncio
import json
import stat
from collections.abc import AsyncIterator
from pathlib import Path

import httpx
import pytest
from fastapi import FastAPI, Request

from kmigrate.api.gate import BodyLimit, TokenGate
from kmigrate.api.token_file import read_token
from kmigrate.errors import Refused

TOKEN = "t" * 43


def ask(app: object, content: bytes | AsyncIterator[bytes] | None = None, **headers: str) -> httpx.Response:
    async def request() -> httpx.Response:
        transport = httpx.ASGITransport(app)  # type: ignore[arg-type]
        async with httpx.AsyncClient(transport=transport, base_url="http://kmigrate") as http:
            return await http.post("/echo", content=content, headers=headers)

    return asyncio.run(request())


@pytest.fixture
def app() -> FastAPI:
    app = FastAPI()

    @app.post("/echo")
    async def echo(request: Request) -> int:
        return len(await request.body())

    return app


@pytest.mark.parametrize("brought", [{}, {"authorization": TOKEN}, {"authorization": f"Bearer {TOKEN}t"}])
def test_without_the_token_nothing_is_answered(app: FastAPI, brought: dict[str, str]) -> None:
    reply = ask(TokenGate(app, TOKEN), **brought)
    assert reply.status_code == 401
    assert reply.headers["www-authenticate"] == "Bearer"
    assert reply.json()["exitCode"] == 2
    assert TOKEN not in reply.text


def test_with_it_everything_is(app: FastAPI) -> None:
    assert ask(TokenGate(app, TOKEN), authorization=f"Bearer {TOKEN}").json() == 0


def test_a_body_at_the_limit_is_taken_and_one_above_it_is_not(app: FastAPI) -> None:
    limited = BodyLimit(app, most_bytes=10)
    assert ask(limited, b"x" * 10).json() == 10
    reply = ask(limited, b"x" * 11)
    assert (reply.status_code, "10 bytes" in reply.json()["error"]) == (413, True)


def test_a_body_that_turns_out_to_be_larger_than_nobody_said_is_cut_off(app: FastAPI) -> None:
    taken = 0

    async def pieces() -> AsyncIterator[bytes]:
        nonlocal taken
        for _ in range(100):
            taken += 1
            yield b"x" * 6

    reply = ask(BodyLimit(app, most_bytes=10), pieces())
    assert reply.status_code == 413
    assert json.loads(reply.text)["hint"]
    assert taken < 100


def test_a_token_is_made_once_and_only_its_user_reads_it(tmp_path: Path) -> None:
    path = tmp_path / "serve.token"
    token = read_token(path)
    assert len(token) >= 43
    assert read_token(path) == token
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    assert list(tmp_path.iterdir()) == [path]
    path.unlink()
    assert read_token(path) != token


@pytest.mark.parametrize("mode", [0o640, 0o604, 0o622])
def test_a_token_that_others_can_reach_is_refused(tmp_path: Path, mode: int) -> None:
    path = tmp_path / "serve.token"
    read_token(path)
    path.chmod(mode)
    with pytest.raises(Refused, match="not a private file"):
        read_token(path)


@pytest.mark.parametrize("content", ["", "short", "two words that are long enough", "x" * 2000])
def test_what_is_no_token_is_refused_and_not_shown(tmp_path: Path, content: str) -> None:
    path = tmp_path / "serve.token"
    path.touch(0o600)
    path.write_text(content)
    with pytest.raises(Refused, match="holds no token") as caught:
        read_token(path)
    assert not content or content not in str(caught.value)


def test_a_link_is_no_token(tmp_path: Path) -> None:
    read_token(tmp_path / "real")
    (tmp_path / "serve.token").symlink_to(tmp_path / "real")
    with pytest.raises(Refused, match="not a private file"):
        read_token(tmp_path / "serve.token")

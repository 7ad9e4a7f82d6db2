"""Asks an application in this process, as its socket would: for what is to be done while nobody owns it."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping

import httpx
from fastapi import FastAPI

from kmigrate.api.door import Reply

_HOST = "http://kmigrate"


def ask_in_process(app: FastAPI, method: str, target: str, body: Mapping[str, object] | None) -> Reply:
    """The application's answer to one request."""

    async def ask() -> httpx.Response:
        async with httpx.AsyncClient(transport=httpx.ASGITransport(app)) as http:
            return await http.request(method, _HOST + target, json=body)

    answer = asyncio.run(ask())
    return Reply(
        status_code=answer.status_code, content=answer.content, media_type=answer.headers.get("content-type", "")
    )

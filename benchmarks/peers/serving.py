"""
A peer as its user would serve it: POST /NAME/retrieve by FastAPI, in uvicorn's processes.

    uvicorn --factory benchmarks.peers.serving:make_app

Runs in the environment of each peer. PEER names its adapter, STORES the databases by NAME as JSON,
THREADS those of torch for a question.
"""

from __future__ import annotations

import importlib
import json
import logging
import os
from typing import Any

from fastapi import FastAPI
from pydantic import BaseModel

from benchmarks.peers.adapter import Peer


class Question(BaseModel):
    """The body of a request."""

    question: str
    limit: int = 10


class Found(BaseModel):
    """A chunk of the answer."""

    name: str
    text: str


class Answer(BaseModel):
    """The body of an answer."""

    passages: list[Found]
    process: int


def make_app() -> FastAPI:
    """Open the stores; FastAPI calls plain functions in a pool of threads."""
    logging.disable(logging.WARNING)
    adapter: Any = importlib.import_module(f"benchmarks.peers.{os.environ['PEER']}.adapter")
    stores: dict[str, Peer] = {
        name: adapter.STORE(url) for name, url in json.loads(os.environ["STORES"]).items()
    }
    if threads := os.environ.get("THREADS"):
        import torch

        torch.set_num_threads(int(threads))
    app = FastAPI()

    # FastAPI is not installed where types are checked.
    @app.post("/{store}/retrieve")  # type: ignore[untyped-decorator]
    def retrieve(store: str, asked: Question) -> Answer:
        found = stores[store].search(asked.question, asked.limit)
        passages = [Found(name=one.name, text=one.text) for one in found]
        return Answer(passages=passages, process=os.getpid())

    return app

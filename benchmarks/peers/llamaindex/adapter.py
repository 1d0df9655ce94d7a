"""LlamaIndex: an ingestion pipeline over PGVectorStore, its document store in PostgreSQL too."""

from __future__ import annotations

import functools
import logging
from collections.abc import Sequence
from typing import Any
from urllib.parse import unquote, urlsplit

from llama_index.core import Document, VectorStoreIndex
from llama_index.core.ingestion import DocstoreStrategy, IngestionPipeline
from llama_index.core.llms import MockLLM
from llama_index.core.node_parser import SentenceSplitter
from llama_index.core.retrievers import QueryFusionRetriever
from llama_index.core.retrievers.fusion_retriever import FUSION_MODES
from llama_index.core.schema import NodeRelationship, RelatedNodeInfo, TextNode
from llama_index.embeddings.huggingface import HuggingFaceEmbedding
from llama_index.storage.docstore.postgres import PostgresDocumentStore
from llama_index.storage.kvstore.postgres import PostgresKVStore
from llama_index.vector_stores.postgres import PGVectorStore

from benchmarks.peers.adapter import (
    BATCH_SIZE,
    DIMENSION,
    INDEXED_FROM,
    LEG_SIZE,
    Passage,
    TextFile,
    model_folder,
    serve,
)

# A quarter of CHUNK_CHARACTERS: this splitter counts tokens (of tiktoken).
CHUNK_TOKENS = 200
_HNSW = {"hnsw_m": 16, "hnsw_ef_construction": 64, "hnsw_ef_search": 40}


@functools.cache
def _embedding() -> HuggingFaceEmbedding:
    return HuggingFaceEmbedding(
        model_name=model_folder(), device="cpu", embed_batch_size=BATCH_SIZE
    )


class LlamaIndex:
    """A pipeline whose document store knows what is unchanged (DocstoreStrategy.UPSERTS)."""

    def __init__(self, url: str) -> None:
        parts = urlsplit(url)
        server: dict[str, Any] = {
            "host": parts.hostname,
            "port": str(parts.port),
            "user": parts.username,
            "password": unquote(parts.password or ""),
            "database": parts.path.lstrip("/"),
            "use_jsonb": True,
        }
        indexed = server["database"].endswith("large")
        self._vectors = PGVectorStore.from_params(
            **server,
            table_name="chunks",
            embed_dim=DIMENSION,
            hnsw_kwargs=_HNSW if indexed else None,
            create_engine_kwargs={"pool_size": 16},
            hybrid_search=True,
            text_search_config="english",
        )
        embedding = _embedding()
        self._pipeline = IngestionPipeline(
            transformations=[
                SentenceSplitter(chunk_size=CHUNK_TOKENS, chunk_overlap=0, include_metadata=False),
                embedding,
            ],
            vector_store=self._vectors,
            # Its own from_params passes on what its key-value store of today does not take.
            docstore=PostgresDocumentStore(
                PostgresKVStore.from_params(**server, table_name="documents")
            ),
            docstore_strategy=DocstoreStrategy.UPSERTS,
            # The transformation cache is kept in memory and would not outlive the process.
            disable_cache=True,
        )
        index = VectorStoreIndex.from_vector_store(self._vectors, embed_model=embedding)
        self._retriever = index.as_retriever(similarity_top_k=10)
        # Its documentation of PGVectorStore: "You can often improve hybrid search performance by
        # using QueryFusionRetriever."
        self._fusion = QueryFusionRetriever(
            [
                index.as_retriever(similarity_top_k=LEG_SIZE),
                index.as_retriever(
                    vector_store_query_mode="sparse",
                    similarity_top_k=LEG_SIZE,
                    sparse_top_k=LEG_SIZE,
                ),
            ],
            # One query: none is generated, and the model is never asked.
            num_queries=1,
            llm=MockLLM(),
            similarity_top_k=LEG_SIZE,
            mode=FUSION_MODES.RELATIVE_SCORE,
            use_async=False,
        )

    def ingest(self, files: Sequence[TextFile]) -> None:
        documents = [Document(text=file.text, id_=file.name) for file in files]
        self._pipeline.run(documents=documents)

    def load(self, rows: Sequence[dict[str, Any]], vectors: Any) -> None:
        for start in range(0, len(rows), 1000):
            nodes = []
            for row, vector in zip(rows[start : start + 1000], vectors[start:], strict=False):
                node = TextNode(text=row["text"], embedding=vector.tolist())
                node.relationships[NodeRelationship.SOURCE] = RelatedNodeInfo(
                    node_id=row["document"]
                )
                nodes.append(node)
            self._vectors.add(nodes)
        _execute(self._vectors, "VACUUM ANALYZE data_chunks")
        assert len(rows) < INDEXED_FROM or self._vectors.hnsw_kwargs

    def retrieve(self, question: str, limit: int) -> int:
        return len(self._retriever.retrieve(question)[:limit])

    def search(self, question: str, limit: int) -> list[Passage]:
        return [
            Passage(found.node.ref_doc_id, found.node.text)
            for found in self._fusion.retrieve(question)[:limit]
        ]

    def count(self) -> int:
        return int(_execute(self._vectors, "SELECT count(*) FROM data_chunks"))


def _execute(store: PGVectorStore, statement: str) -> Any:
    import sqlalchemy

    store._initialize()  # its tables and its engine are made when they are first used
    with store.client.connect().execution_options(isolation_level="AUTOCOMMIT") as connection:
        result = connection.execute(sqlalchemy.text(statement))
        return result.scalar() if result.returns_rows else None


STORE = LlamaIndex
if __name__ == "__main__":
    logging.disable(logging.WARNING)
    serve("llamaindex", LlamaIndex)

"""The settings of ingest."""

from __future__ import annotations

from pydantic import Field

from shared.settings import (
    DatabaseSettings,
    DocumentEventSettings,
    EventSettings,
    GeminiSettings,
    LogSettings,
    ModelSettings,
    RetrySettings,
)

from .sandbox import ParseLimits

# Far beyond any document that people read; they bound what a hostile file of allowed size makes.
MAX_CELLS = 2_000_000
MAX_CHUNKS = 200_000
MAX_TEXT_CHARACTERS = 128 * 2**20


class Settings(
    DatabaseSettings,
    EventSettings,
    DocumentEventSettings,
    ModelSettings,
    RetrySettings,
    GeminiSettings,
    LogSettings,
):
    """The limits of one document, and the common settings."""

    max_file_bytes: int = Field(default=256 * 2**20, ge=1)
    max_pages: int = Field(default=10_000, ge=1)
    max_decompressed_bytes: int = Field(default=256 * 2**20, ge=1)
    parse_timeout_seconds: float = Field(default=300, gt=0, le=540)
    parse_memory_bytes: int = Field(default=2**30, ge=256 * 2**20)
    chunks_per_job: int = Field(default=64, ge=1, le=1000)
    ocr_page_budget: int = Field(default=100, ge=0, le=1000, description="0: no OCR")
    ocr_languages: str = Field(
        default="", description="names of Tesseract's data, such as eng,deu; empty: all installed"
    )
    figure_budget: int = Field(
        default=20, ge=0, le=500, description="pictures inside a document described; 0: none"
    )
    figure_budget_bytes: int = Field(default=20 * 2**20, ge=1)
    figure_budget_tokens: int = Field(default=100_000, ge=1)
    allow_unconfined_parser: bool = Field(
        default=False, description="parse where the system cannot contain it, as macOS cannot"
    )

    @property
    def reads_pictures(self) -> bool:
        """Whether pages without text are read by Gemini."""
        return self.gemini_configured and self.ocr_page_budget > 0

    @property
    def describes_figures(self) -> bool:
        """Whether pictures inside documents are described by Gemini."""
        return self.gemini_configured and self.figure_budget > 0

    @property
    def parse_limits(self) -> ParseLimits:
        """What the parser child may use for one document."""
        return ParseLimits(
            max_pages=self.max_pages,
            max_decompressed_bytes=self.max_decompressed_bytes,
            max_cells=MAX_CELLS,
            max_chunks=MAX_CHUNKS,
            max_text_chars=MAX_TEXT_CHARACTERS,
            timeout_seconds=self.parse_timeout_seconds,
            memory_bytes=self.parse_memory_bytes,
        )

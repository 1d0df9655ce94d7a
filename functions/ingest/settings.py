"""The settings of ingest."""

from __future__ import annotations

from pydantic import Field

from shared.settings import (
    DatabaseSettings,
    EventSettings,
    GeminiSettings,
    LogSettings,
    ModelSettings,
    RetrySettings,
)

from .sandbox import ParseLimits


class Settings(
    DatabaseSettings, EventSettings, ModelSettings, RetrySettings, GeminiSettings, LogSettings
):
    """What one document may cost, beside where everything is."""

    max_file_bytes: int = Field(default=256 * 2**20, ge=1)
    max_pages: int = Field(default=10_000, ge=1)
    max_decompressed_bytes: int = Field(default=256 * 2**20, ge=1)
    max_cells: int = Field(default=2_000_000, ge=1)
    max_chunks: int = Field(default=200_000, ge=1)
    max_text_chars: int = Field(default=128 * 2**20, ge=1)
    parse_timeout_seconds: float = Field(default=300, gt=0, le=540)
    parse_memory_bytes: int = Field(default=2**30, ge=256 * 2**20)
    parse_concurrency: int = Field(default=0, ge=0, le=64, description="0: one a core")
    chunks_per_job: int = Field(default=64, ge=1, le=1000)
    ocr_page_budget: int = Field(default=100, ge=0, le=1000, description="0: no OCR")
    ocr_languages: str = Field(
        default="", description="names of Tesseract's data, such as eng,deu; empty: all installed"
    )
    allow_unconfined_parser: bool = Field(
        default=False, description="parse where the system cannot contain it, as macOS cannot"
    )

    @property
    def reads_pictures(self) -> bool:
        """Whether pages without text are read by Gemini."""
        return self.gemini_configured and self.ocr_page_budget > 0

    @property
    def parse_limits(self) -> ParseLimits:
        """What the parser child may use for one document."""
        return ParseLimits(
            max_pages=self.max_pages,
            max_decompressed_bytes=self.max_decompressed_bytes,
            max_cells=self.max_cells,
            max_chunks=self.max_chunks,
            max_text_chars=self.max_text_chars,
            timeout_seconds=self.parse_timeout_seconds,
            memory_bytes=self.parse_memory_bytes,
        )

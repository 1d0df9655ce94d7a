-- A chunk may cross pages, and knows where its words stand on them.

-- Alternating: a position in the extracted text, and the page that begins there; NULL for none.
ALTER TABLE chunks ADD COLUMN page_starts integer[];
-- Packed by shared/boxes.py; NULL where it is unknown where the words stand.
ALTER TABLE chunks ADD COLUMN boxes bytea;

CREATE OR REPLACE VIEW live_chunks AS
SELECT documents.id AS document_id,
       documents.bucket,
       documents.name,
       documents.collection,
       documents.content_type,
       documents.metadata,
       documents.object_updated,
       documents.title,
       documents.language,
       documents.active_generation AS generation,
       chunks.build_id,
       chunks.ordinal,
       chunks.text,
       chunks.heading,
       chunks.header,
       chunks.page,
       chunks.char_start,
       chunks.char_end,
       chunks.source,
       chunks.search,
       embeddings.embedding,
       chunks.weights,
       chunks.page_starts
FROM documents
JOIN chunks ON chunks.build_id = documents.active_build
JOIN embeddings ON embeddings.build_id = chunks.build_id
    AND embeddings.ordinal = chunks.ordinal
    AND embeddings.model_id = (SELECT model_id FROM active_model);
ALTER VIEW live_chunks SET (security_invoker = true);

-- Where the words of what answers stand; apart, because a search has no use for it.
CREATE VIEW live_boxes WITH (security_invoker = true) AS
SELECT documents.id AS document_id,
       chunks.build_id,
       chunks.ordinal,
       chunks.char_start,
       chunks.char_end,
       chunks.boxes
FROM documents
JOIN chunks ON chunks.build_id = documents.active_build
WHERE chunks.boxes IS NOT NULL;

GRANT SELECT (page_starts, boxes) ON chunks TO kaydang_query;
GRANT SELECT ON live_boxes TO kaydang_query, kaydang_worker;

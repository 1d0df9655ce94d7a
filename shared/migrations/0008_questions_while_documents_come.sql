-- A question waits less for what has just been stored.

-- New chunks wait in a list before they are sorted into the index over the lexemes, and every
-- question reads that list from end to end, once for each word: of the 4 MB that PostgreSQL allows,
-- this took longer than the rest of the search (benchmarks/waiting_lexemes.py). A shorter list costs
-- whoever stores hardly more.
ALTER INDEX chunks_search SET (gin_pending_list_limit = 256);
ALTER INDEX documents_metadata SET (gin_pending_list_limit = 256);
SELECT gin_clean_pending_list('chunks_search'), gin_clean_pending_list('documents_metadata');

-- The segment that a passage begins in is found without reading those before it.
CREATE INDEX texts_position ON texts (build_id, char_start);

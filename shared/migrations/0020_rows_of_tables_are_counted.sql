-- A table's rows are counted when all of them are stored.
GRANT UPDATE (row_count) ON tables TO kaydang_worker;

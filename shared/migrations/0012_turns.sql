-- Documents take turns: the batch of the lowest number that waits is looked up for every job.
CREATE INDEX batches_in_turn ON batches (number, build_id) WHERE NOT done;

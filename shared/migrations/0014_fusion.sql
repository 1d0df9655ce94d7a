-- What meaning, words and the rest of a score weigh with a model (shared/search/fusion.py), where
-- kaydangpt model fit found it; NULL takes what suits models of its kind.
ALTER TABLE models ADD COLUMN fusion jsonb;

CREATE OR REPLACE VIEW serving_model WITH (security_invoker = true) AS
SELECT models.id, models.name, models.dimension, models.digest, models.fusion
FROM active_model
JOIN models ON models.id = active_model.model_id;

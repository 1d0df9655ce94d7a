-- What tells that a new generation holds the bytes of the one that answers: checksum and content
-- type of the upload. Empty where Storage did not tell a checksum; such a build is never reused.
ALTER TABLE builds ADD COLUMN fingerprint text NOT NULL DEFAULT '';

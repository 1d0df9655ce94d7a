-- For an administrator of a server whose database owner may not make roles (no CREATEROLE) or
-- extensions. Run it once, as the administrator, in the database of KaydangPT:
--     psql -v owner=NAME_OF_THE_OWNER -f infra/database_roles.sql DATABASE
-- Then the owner runs: python -m admin migrate
CREATE EXTENSION IF NOT EXISTS vector;
SELECT 'CREATE ROLE kaydang_worker NOLOGIN'
WHERE NOT EXISTS (SELECT FROM pg_roles WHERE rolname = 'kaydang_worker') \gexec
SELECT 'CREATE ROLE kaydang_query NOLOGIN'
WHERE NOT EXISTS (SELECT FROM pg_roles WHERE rolname = 'kaydang_query') \gexec
GRANT kaydang_worker, kaydang_query TO :"owner" WITH ADMIN OPTION;
GRANT CREATE ON SCHEMA public TO :"owner";

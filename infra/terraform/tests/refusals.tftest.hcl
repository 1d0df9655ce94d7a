# What must not be planned at all.
mock_provider "google" {
  source = "./tests/mocks"
}
mock_provider "google-beta" {
  source = "./tests/mocks"
}
variables {
  project_id = "demo-proj"
  images = {
    ingest       = "europe-west1-docker.pkg.dev/demo-proj/kaydang/ingest@sha256:0000000000000000000000000000000000000000000000000000000000000000"
    embed_worker = "europe-west1-docker.pkg.dev/demo-proj/kaydang/embed_worker@sha256:1111111111111111111111111111111111111111111111111111111111111111"
    query        = "europe-west1-docker.pkg.dev/demo-proj/kaydang/query@sha256:2222222222222222222222222222222222222222222222222222222222222222"
  }
}

run "an_image_by_tag" {
  command = plan
  variables {
    images = { ingest = "europe-west1-docker.pkg.dev/demo-proj/kaydang/ingest:latest", embed_worker = "x", query = "y" }
  }
  expect_failures = [var.images]
}

run "the_world_without_saying_so" {
  command = plan
  variables {
    query_access = { mode = "public", domain = "ask.example.com" }
  }
  expect_failures = [var.query_access]
}

run "metrics_for_everybody" {
  command = plan
  variables {
    query_access       = { mode = "public", domain = "ask.example.com", metrics = true }
    allow_public_query = true
  }
  expect_failures = [var.query_access]
}

run "the_world_among_the_principals" {
  command = plan
  variables {
    query_access = { principals = ["allUsers"] }
  }
  expect_failures = [var.query_access]
}

run "everybody_as_a_writer_of_documents" {
  command = plan
  variables {
    bucket = { writers = ["allAuthenticatedUsers"] }
  }
  expect_failures = [var.bucket]
}

run "more_connections_than_the_database_has" {
  command = plan
  variables {
    services = { query = { max_instances = 40 } }
  }
  expect_failures = [google_sql_database_instance.this]
}

run "a_bucket_across_the_ocean" {
  command = plan
  variables {
    bucket = { location = "US" }
  }
  expect_failures = [google_storage_bucket.documents]
}

run "failover_on_a_shared_core" {
  command = plan
  variables {
    database = { tier = "db-f1-micro" }
  }
  expect_failures = [var.database]
}

run "a_setting_that_no_function_reads" {
  command = plan
  variables {
    settings = { MAX_FILE_BITES = "1" }
  }
  expect_failures = [var.settings]
}

run "a_service_that_does_not_exist" {
  command = plan
  variables {
    services = { embedder = { max_instances = 3 } }
  }
  expect_failures = [var.services]
}

run "an_api_key_instead_of_its_digest" {
  command = plan
  variables {
    query_access = { api_key_digests = ["my-secret-key"] }
  }
  expect_failures = [var.query_access]
}

run "a_request_longer_than_the_ack_deadline" {
  command = plan
  variables {
    services = { ingest = { timeout_seconds = 900 } }
  }
  expect_failures = [var.services]
}

run "four_delivery_attempts" {
  command = plan
  variables {
    max_delivery_attempts = 4
  }
  expect_failures = [var.max_delivery_attempts]
}

run "everybody_that_google_knows" {
  command = plan
  variables {
    query_access       = { mode = "public", domain = "ask.example.com", identify_callers = true }
    allow_public_query = true
  }
  expect_failures = [var.query_access]
}

run "uploads_by_everyone" {
  command = plan
  variables {
    query_access       = { mode = "public", domain = "ask.example.com", uploads = true }
    allow_public_query = true
  }
  expect_failures = [var.query_access]
}

# What must not be planned at all.
mock_provider "google" {
  source = "./tests/mocks"
}
mock_provider "google-beta" {
  source = "./tests/mocks"
}
mock_provider "time" {}
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
    services = { query = { max_instances = 20, pool_size = 8 } }
  }
  expect_failures = [google_sql_database.this]
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

run "more_processors_than_a_new_project_may_use" {
  command = plan
  variables {
    services = { embed-worker = { cpu = "4", max_instances = 6 } }
  }
  expect_failures = [google_cloud_run_v2_service.function["embed-worker"]]
}

run "more_memory_than_a_new_project_may_use" {
  command = plan
  variables {
    services = { ingest = { memory = "8Gi" } }
  }
  expect_failures = [google_cloud_run_v2_service.function["ingest"]]
}

run "a_public_query_round_its_load_balancer" {
  command = plan
  variables {
    query_access       = { mode = "public", domain = "ask.example.com", ingress = "all" }
    allow_public_query = true
  }
  expect_failures = [var.query_access]
}

run "public_without_a_domain" {
  command = plan
  variables {
    query_access       = { mode = "public" }
    allow_public_query = true
  }
  expect_failures = [var.query_access]
}

run "an_ingress_that_cloud_run_does_not_know" {
  command = plan
  variables {
    query_access = { ingress = "none" }
  }
  expect_failures = [var.query_access]
}

run "a_name_prefix_that_makes_names_too_long" {
  command = plan
  variables {
    name_prefix = "the-whole-company"
  }
  expect_failures = [var.name_prefix]
}

run "a_network_by_its_short_name" {
  command = plan
  variables {
    network = { existing = { network = "shared", subnetwork = "functions" } }
  }
  expect_failures = [var.network]
}

run "a_database_that_is_no_connection_name" {
  command = plan
  variables {
    database = { existing = "company" }
  }
  expect_failures = [var.database]
}

run "a_channel_that_is_no_channel" {
  command = plan
  variables {
    alerts = { channels = ["#oncall"] }
  }
  expect_failures = [var.alerts]
}

run "a_goal_that_no_service_reaches" {
  command = plan
  variables {
    alerts = { availability_goal = 1 }
  }
  expect_failures = [var.alerts]
}

run "a_thinking_level_that_gemini_does_not_know" {
  command = plan
  variables {
    settings = { GEMINI_THINKING_LEVEL = "much" }
  }
  expect_failures = [var.settings]
}

run "an_audit_log_by_halves" {
  command = plan
  variables {
    settings = { AUDIT_LOG = "yes" }
  }
  expect_failures = [var.settings]
}

run "questions_of_a_kind_that_there_is_not" {
  command = plan
  variables {
    settings = { KEEP_QUESTIONS = "some" }
  }
  expect_failures = [var.settings]
}

run "a_location_that_is_none" {
  command = plan
  variables {
    gemini = { location = "Europe" }
  }
  expect_failures = [var.gemini]
}

run "a_reranker_that_is_none" {
  command = plan
  variables {
    reranker = "cohere"
  }
  expect_failures = [var.reranker]
}

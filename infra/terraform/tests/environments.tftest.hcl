# The two examples of environments/, and the options that neither uses.
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

run "small_scales_to_zero_on_the_cheapest_database" {
  command = plan
  variables {
    database = { tier = "db-f1-micro", availability_type = "ZONAL", max_connections = 25, point_in_time_recovery = false }
    services = {
      ingest       = { max_instances = 2, pool_size = 1 }
      embed-worker = { max_instances = 2, pool_size = 2 }
      query        = { min_instances = 0, max_instances = 2, pool_size = 3 }
    }
  }

  assert {
    condition     = alltrue([for service in google_cloud_run_v2_service.function : service.scaling[0].min_instance_count == 0])
    error_message = "an instance runs although nobody asks"
  }
  assert {
    condition     = google_sql_database_instance.this[0].settings[0].tier == "db-f1-micro" && output.connections.needed <= 25
    error_message = "the pools do not fit db-f1-micro"
  }
  assert {
    condition     = google_sql_database_instance.this[0].settings[0].backup_configuration[0].enabled
    error_message = "small has no backups"
  }
}

run "production_is_regional_and_asks_people_to_sign_in" {
  command = plan
  variables {
    database     = { tier = "db-custom-4-15360", max_connections = 200, maintenance_work_mem_mb = 2048 }
    services     = { ingest = { max_instances = 10 }, embed-worker = { cpu = "4", max_instances = 5 }, query = { cpu = "2", max_instances = 10 } }
    query_access = { mode = "iap", principals = ["group:staff@example.com"] }
    alerts       = { emails = ["oncall@example.com"] }
    budget       = { billing_account = "012345-6789AB-CDEF01", amount = 500 }
  }

  assert {
    condition     = google_cloud_run_v2_service.function["query"].iap_enabled && toset(keys(google_iap_web_cloud_run_service_iam_member.person)) == toset(["group:staff@example.com", "smoke"])
    error_message = "people cannot sign in"
  }
  assert {
    condition     = length(google_cloud_run_v2_service_iam_member.caller) == 0
    error_message = "people may go round the sign-in"
  }
  assert {
    condition     = google_billing_budget.monthly[0].amount[0].specified_amount[0].units == "500"
    error_message = "no budget"
  }
  assert {
    condition     = length(google_monitoring_notification_channel.email) == 1
    error_message = "nobody is told"
  }
  assert {
    condition     = google_sql_database_instance.this[0].settings[0].availability_type == "REGIONAL"
    error_message = "one zone's failure stops the answers"
  }
}

run "iam_lets_in_those_named" {
  command = plan
  variables {
    query_access = { principals = ["group:team@example.com", "serviceAccount:app@demo-proj.iam.gserviceaccount.com"] }
  }

  assert {
    condition     = alltrue([for caller in google_cloud_run_v2_service_iam_member.caller : caller.role == "roles/run.invoker"]) && length(google_cloud_run_v2_service_iam_member.caller) == 2
    error_message = "the callers named may not ask"
  }
}

run "public_is_behind_a_load_balancer_that_limits_each_address" {
  command = plan
  variables {
    query_access       = { mode = "public", domain = "ask.example.com", requests_per_minute = 30 }
    allow_public_query = true
  }

  assert {
    condition     = google_cloud_run_v2_service.function["query"].ingress == "INGRESS_TRAFFIC_INTERNAL_LOAD_BALANCER" && google_cloud_run_v2_service.function["query"].default_uri_disabled
    error_message = "the load balancer can be gone round"
  }
  assert {
    condition = flatten([
      for rule in google_compute_security_policy.query[0].rule : rule.rate_limit_options[*].rate_limit_threshold[0].count
    ]) == [30]
    error_message = "no limit an address"
  }
  assert {
    condition     = google_compute_url_map.to_https[0].default_url_redirect[0].https_redirect
    error_message = "http is served"
  }
  assert {
    condition     = output.query_url == "https://ask.example.com"
    error_message = "questions go elsewhere"
  }
}

run "a_gemini_key_is_read_from_the_secret_by_the_query_alone" {
  command = plan
  variables {
    gemini = { access = "key", key_version = "3" }
  }

  assert {
    condition     = toset(keys(google_secret_manager_secret_iam_member.gemini_key)) == toset(["query"]) && length(google_project_iam_member.vertex) == 0
    error_message = "the key is readable by others, or Vertex AI is granted for nothing"
  }
  assert {
    condition = length([
      for variable in google_cloud_run_v2_service.function["query"].template[0].containers[0].env :
      variable if variable.name == "GEMINI_API_KEY" && try(variable.value_source[0].secret_key_ref[0].version, "") == "3"
    ]) == 1
    error_message = "the query does not read the key"
  }
}

run "reading_scanned_pages_lets_ingest_call_gemini" {
  command = plan
  variables {
    settings = { OCR_PAGE_BUDGET = "200" }
  }

  assert {
    condition     = toset(keys(google_project_iam_member.vertex)) == toset(["query", "ingest"])
    error_message = "ingest may not call Gemini"
  }
}

run "a_key_of_ones_own_encrypts_everything_that_is_kept" {
  command = plan
  variables {
    encryption = { customer_managed = true }
  }

  assert {
    condition     = toset(keys(google_kms_crypto_key_iam_member.agent)) == toset(["storage", "pubsub", "sql", "secret", "run"])
    error_message = "an agent may not use the key"
  }
  assert {
    condition     = length(google_storage_bucket.documents.encryption) == 1 && google_kms_crypto_key.this[0].rotation_period == "7776000s"
    error_message = "the bucket is not encrypted with the key, or the key never changes"
  }
}

run "the_page_shows_originals" {
  command = plan

  assert {
    condition     = google_storage_bucket_iam_member.reader["query"].role == "roles/storage.objectViewer"
    error_message = "the query cannot read the file behind a citation"
  }
}

run "uploads_on_the_page_let_the_query_write_documents" {
  command = plan
  variables {
    query_access = { uploads = true }
  }

  assert {
    condition     = google_storage_bucket_iam_member.uploads[0].role == "roles/storage.objectUser"
    error_message = "the page cannot upload"
  }
}

run "the_ranking_api_is_called_by_the_query_alone" {
  command = plan
  variables {
    reranker = "vertex"
  }

  assert {
    condition     = length(google_project_iam_member.ranking) == 1 && google_project_iam_member.ranking[0].role == "roles/discoveryengine.viewer"
    error_message = "the query function may not rank"
  }
  assert {
    condition     = contains(keys(google_project_service.api), "discoveryengine.googleapis.com")
    error_message = "the API is not enabled"
  }
}

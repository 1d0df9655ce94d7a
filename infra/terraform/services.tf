locals {
  # functions-framework serves one target a process, so the recorder of dead letters is a service of its own,
  # from the embed worker's image. One request in flight where a request may fill the memory or all cores.
  service_defaults = {
    ingest = {
      image     = var.images.ingest, source = "functions/ingest/main.py", target = "ingest", signature = "cloudevent"
      cpu       = "2", memory = "3Gi", concurrency = 1, min_instances = 0, max_instances = 10
      pool_size = 2, timeout_seconds = 570
    }
    embed-worker = {
      image     = var.images.embed_worker, source = "functions/embed_worker/main.py", target = "embed_chunks", signature = "cloudevent"
      cpu       = "2", memory = "2Gi", concurrency = 2, min_instances = 0, max_instances = 10
      pool_size = 2, timeout_seconds = 120
    }
    dead-letters = {
      image     = var.images.embed_worker, source = "functions/embed_worker/main.py", target = "record_dead_letter", signature = "cloudevent"
      cpu       = "1", memory = "1Gi", concurrency = 8, min_instances = 0, max_instances = 1
      pool_size = 1, timeout_seconds = 60
    }
    query = {
      image     = var.images.query, source = "functions/query/main.py", target = "query", signature = "http"
      cpu       = "1", memory = "1Gi", concurrency = 8, min_instances = 1, max_instances = 10
      pool_size = 4, timeout_seconds = 60
    }
  }
  services = {
    for name, defaults in local.service_defaults : name => merge(
      defaults,
      { for key, value in try(var.services[name], {}) : key => value if value != null },
    )
  }

  environment = {
    for account in keys(local.database_users) : account => {
      GOOGLE_CLOUD_PROJECT = var.project_id
      DATABASE_URL         = local.database_urls[account]
      DATABASE_IAM_AUTH    = "true"
      LOG_LEVEL            = lookup(var.settings, "LOG_LEVEL", "INFO")
      LOG_FORMAT           = "json"
    }
  }
  topic_environment = {
    DOCUMENTS_BUCKET    = google_storage_bucket.documents.name
    OBJECT_EVENTS_TOPIC = google_pubsub_topic.this["object_events"].name
    CHUNK_JOBS_TOPIC    = google_pubsub_topic.this["chunk_jobs"].name
    DEAD_LETTERS_TOPIC  = google_pubsub_topic.this["dead_letters"].name
  }
  model_environment  = { EMBEDDING_MODEL_NAME = var.embedding_model_name }
  limits_environment = { for name, value in var.settings : name => value if name != "LOG_LEVEL" }
  gemini_environment = merge(
    { GEMINI_MODEL = var.gemini.model },
    var.gemini.access != "vertex" ? {} : {
      GOOGLE_GENAI_USE_VERTEXAI = "true"
      GOOGLE_CLOUD_LOCATION     = var.gemini.location
    },
  )
  query_environment = merge(
    {
      DAILY_TOKEN_BUDGET = tostring(var.gemini.daily_token_budget)
      # Who adds to X-Forwarded-For: Cloud Run's front end, or the load balancer (client, balancer).
      TRUSTED_PROXIES = var.query_access.mode == "public" ? "2" : "1"
    },
    length(var.query_access.api_key_digests) == 0 ? {} : { API_KEYS = join(",", var.query_access.api_key_digests) },
    length(var.query_access.cors_allowed_origins) == 0 ? {} : { CORS_ALLOWED_ORIGINS = join(",", var.query_access.cors_allowed_origins) },
    var.query_access.mode != "public" ? {} : { ALLOWED_HOSTS = var.query_access.domain },
    var.query_access.uploads ? { UPLOADS_ENABLED = "true" } : {},
    var.query_access.metrics ? { METRICS_ENABLED = "true" } : {},
  )

  trace_environment = var.tracing.enabled ? {
    TRACE_EXPORTER          = "google"
    OTEL_TRACES_SAMPLER     = "parentbased_traceidratio"
    OTEL_TRACES_SAMPLER_ARG = tostring(var.tracing.sample_ratio)
  } : {}

  # Who asks, by a token that is checked here too: Cloud Run removes the signature of the one that it checks.
  # https://cloud.google.com/run/docs/troubleshooting#signature-removed
  # https://cloud.google.com/iap/docs/signed-headers-howto#verifying_the_jwt_payload
  identity_environment = merge(
    var.query_access.mode != "iap" ? {
      QUERY_AUDIENCE = var.query_access.mode == "public" ? "https://${var.query_access.domain}" : local.audiences["query"]
      } : {
      QUERY_AUDIENCE     = "/projects/${data.google_project.this.number}/locations/${var.region}/services/kaydang-query"
      QUERY_ISSUERS      = "https://cloud.google.com/iap"
      QUERY_CERTS_URL    = "https://www.gstatic.com/iap/verify/public_key-jwk"
      QUERY_TOKEN_HEADER = "X-Goog-IAP-JWT-Assertion"
    },
    length(var.query_access.callers) == 0 ? {} : { QUERY_CALLERS = join(",", var.query_access.callers) },
  )

  # Names that a token may be meant for beside the service's address, which the service cannot know of itself.
  # https://cloud.google.com/run/docs/configuring/custom-audiences
  audiences = { for name in keys(local.service_defaults) : name => "${var.project_id}/kaydang-${name}" }

  # Only the push account may call these services, so a token that has passed Cloud Run is what it says.
  push_environment = {
    for name in keys(local.service_defaults) : name => {
      PUSH_AUDIENCE               = local.audiences[name]
      PUSH_SERVICE_ACCOUNT        = google_service_account.this["push"].email
      TOKENS_CHECKED_BY_CLOUD_RUN = "true"
    } if name != "query"
  }

  service_environment = {
    for name, service in local.services : name => merge(
      local.environment[name],
      local.limits_environment,
      local.model_environment,
      local.trace_environment,
      {
        DATABASE_POOL_SIZE = tostring(service.pool_size)
        # As many threads as requests are let in: none waits inside the instance.
        THREADS = tostring(service.concurrency)
      },
      name == "ingest" ? merge(local.topic_environment, { PARSE_CONCURRENCY = tostring(service.concurrency) }) : {},
      # A message that is let in finds a place at once: its lease is not taken while it waits.
      name == "embed-worker" ? { BATCHES_AT_ONCE = tostring(service.concurrency) } : {},
      contains(local.gemini_callers, name) ? local.gemini_environment : {},
      lookup(local.push_environment, name, {}),
      name == "query" && var.query_access.identify_callers ? local.identity_environment : {},
      name == "query" ? merge(local.query_environment, { DOCUMENTS_BUCKET = google_storage_bucket.documents.name }) : {},
    )
  }
}

resource "google_cloud_run_v2_service" "function" {
  for_each = local.services

  name                = "kaydang-${each.key}"
  location            = var.region
  deletion_protection = var.deletion_protection
  custom_audiences    = [local.audiences[each.key]]

  # Pushes of this project's Pub/Sub are internal: https://cloud.google.com/run/docs/securing/ingress
  ingress = (
    each.key != "query" ? "INGRESS_TRAFFIC_INTERNAL_ONLY"
    : var.query_access.mode == "public" ? "INGRESS_TRAFFIC_INTERNAL_LOAD_BALANCER"
    : "INGRESS_TRAFFIC_ALL"
  )
  default_uri_disabled = each.key == "query" && var.query_access.mode == "public"
  iap_enabled          = each.key == "query" && var.query_access.mode == "iap"

  # Counted over all revisions, so that a roll-out does not open twice the connections.
  scaling {
    min_instance_count = each.value.min_instances
    max_instance_count = each.value.max_instances
  }

  template {
    service_account                  = google_service_account.this[each.key].email
    execution_environment            = "EXECUTION_ENVIRONMENT_GEN2"
    timeout                          = "${each.value.timeout_seconds}s"
    max_instance_request_concurrency = each.value.concurrency
    encryption_key                   = var.encryption.customer_managed ? google_kms_crypto_key.this[0].id : null
    labels                           = local.labels

    scaling {
      max_instance_count = each.value.max_instances
    }

    vpc_access {
      egress = "PRIVATE_RANGES_ONLY"
      network_interfaces {
        network    = google_compute_network.this.name
        subnetwork = google_compute_subnetwork.functions.name
      }
    }

    volumes {
      name = "cloudsql"
      cloud_sql_instance {
        instances = [google_sql_database_instance.this.connection_name]
      }
    }

    containers {
      image   = each.value.image
      command = ["functions-framework"]
      args = [
        "--source=${each.value.source}",
        "--target=${each.value.target}",
        "--signature-type=${each.value.signature}",
      ]

      ports {
        container_port = 8080
      }

      resources {
        limits            = { cpu = each.value.cpu, memory = each.value.memory }
        cpu_idle          = true
        startup_cpu_boost = true
      }

      volume_mounts {
        name       = "cloudsql"
        mount_path = "/cloudsql"
      }

      dynamic "env" {
        for_each = local.service_environment[each.key]
        content {
          name  = env.key
          value = env.value
        }
      }

      dynamic "env" {
        for_each = var.gemini.access == "key" && contains(local.gemini_callers, each.key) ? [1] : []
        content {
          name = "GEMINI_API_KEY"
          value_source {
            secret_key_ref {
              secret  = google_secret_manager_secret.gemini_key.secret_id
              version = var.gemini.key_version
            }
          }
        }
      }

      # An event function answers GET with 405, so its port is asked; the query says when it is up.
      # https://cloud.google.com/run/docs/configuring/healthchecks
      startup_probe {
        period_seconds    = 2
        timeout_seconds   = 2
        failure_threshold = 60

        dynamic "tcp_socket" {
          for_each = each.key == "query" ? [] : [1]
          content {
            port = 8080
          }
        }
        dynamic "http_get" {
          for_each = each.key == "query" ? [1] : []
          content {
            path = "/healthz"
          }
        }
      }

      dynamic "liveness_probe" {
        for_each = each.key == "query" ? [1] : []
        content {
          period_seconds    = 30
          timeout_seconds   = 5
          failure_threshold = 3
          http_get {
            path = "/healthz"
          }
        }
      }
    }
  }

  # All that a revision needs before its first request, so that one apply is enough.
  depends_on = [
    google_compute_firewall.to_database,
    google_kms_crypto_key_iam_member.agent,
    google_project_iam_member.sql_client,
    google_project_iam_member.sql_user,
    google_project_iam_member.vertex,
    google_pubsub_topic_iam_member.publisher,
    google_secret_manager_secret_iam_member.gemini_key,
    google_sql_user.account,
    google_storage_bucket_iam_member.reader,
  ]
}

locals {
  # As many as SPARE_THREADS of the query function.
  spare_threads = 8

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
  # The accounts that record that a document is ready, failed or gone.
  announcers = var.document_events ? ["ingest", "embed-worker", "dead-letters", "maintenance"] : []
  announcement_environment = {
    for account in local.announcers : account => { DOCUMENT_EVENTS_TOPIC = google_pubsub_topic.this["document_events"].name }
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
      TRUSTED_PROXIES = local.balanced == 1 ? "2" : "1"
      # What Cloud Run lets in is worked on; var.settings may set it lower or higher.
      MAX_CONCURRENT_REQUESTS = lookup(var.settings, "MAX_CONCURRENT_REQUESTS", tostring(local.services["query"].concurrency))
    },
    length(var.query_access.api_key_digests) == 0 ? {} : { API_KEYS = join(",", var.query_access.api_key_digests) },
    length(var.query_access.cors_allowed_origins) == 0 ? {} : { CORS_ALLOWED_ORIGINS = join(",", var.query_access.cors_allowed_origins) },
    var.query_access.mode != "public" ? {} : { ALLOWED_HOSTS = var.query_access.domain },
    var.query_access.uploads ? { UPLOADS_ENABLED = "true" } : {},
    var.query_access.metrics ? { METRICS_ENABLED = "true" } : {},
    var.reranker == "none" ? {} : { RERANKER = var.reranker },
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
      QUERY_AUDIENCE     = "/projects/${data.google_project.this.number}/locations/${var.region}/services/${local.prefix}-query"
      QUERY_ISSUERS      = "https://cloud.google.com/iap"
      QUERY_CERTS_URL    = "https://www.gstatic.com/iap/verify/public_key-jwk"
      QUERY_TOKEN_HEADER = "X-Goog-IAP-JWT-Assertion"
    },
    length(var.query_access.callers) == 0 ? {} : { QUERY_CALLERS = join(",", concat(var.query_access.callers, ["email:${google_service_account.this["smoke"].email}"])) },
  )

  # Names that a token may be meant for beside the service's address, which the service cannot know of itself.
  # https://cloud.google.com/run/docs/configuring/custom-audiences
  audiences = { for name in keys(local.service_defaults) : name => "${var.project_id}/${local.prefix}-${name}" }

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
        # More threads than requests are let in: probes are answered while every place is taken, else Cloud Run
        # ends a full instance with all its answers.
        THREADS = tostring(max(service.concurrency, tonumber(lookup(var.settings, "MAX_CONCURRENT_REQUESTS", "0"))) + local.spare_threads)
      },
      name == "ingest" ? local.topic_environment : {},
      lookup(local.announcement_environment, name, {}),
      contains(local.gemini_callers, name) ? local.gemini_environment : {},
      lookup(local.push_environment, name, {}),
      name == "query" && var.query_access.identify_callers ? local.identity_environment : {},
      name == "query" ? merge(local.query_environment, { DOCUMENTS_BUCKET = google_storage_bucket.documents.name }) : {},
    )
  }
}

resource "google_cloud_run_v2_service" "function" {
  for_each = local.services

  project             = var.project_id
  labels              = local.labels
  name                = "${local.prefix}-${each.key}"
  location            = var.region
  deletion_protection = var.deletion_protection
  custom_audiences = concat(
    [local.audiences[each.key]],
    each.key == "query" && local.balanced == 1 ? ["https://${var.query_access.domain}"] : [],
  )

  # Pushes of this project's Pub/Sub are internal: https://cloud.google.com/run/docs/securing/ingress
  ingress = (
    each.key != "query" ? "INGRESS_TRAFFIC_INTERNAL_ONLY"
    : {
      all                         = "INGRESS_TRAFFIC_ALL"
      internal                    = "INGRESS_TRAFFIC_INTERNAL_ONLY"
      internal-and-load-balancing = "INGRESS_TRAFFIC_INTERNAL_LOAD_BALANCER"
    }[coalesce(var.query_access.ingress, local.balanced == 1 ? "internal-and-load-balancing" : "all")]
  )
  default_uri_disabled = each.key == "query" && var.query_access.mode == "public"
  # A load balancer signs no request. No grant to allUsers, which iam.allowedPolicyMemberDomains refuses:
  # https://cloud.google.com/run/docs/authenticating/public#disable-invoker-check
  invoker_iam_disabled = each.key == "query" && var.query_access.mode == "public" && var.allow_public_query
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
        network    = local.network_name
        subnetwork = local.subnetwork_name
      }
    }

    volumes {
      name = "cloudsql"
      cloud_sql_instance {
        instances = [local.instance.connection_name]
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

      # Until the database answers: a new instance has no network for up to 80 s, so two minutes are allowed.
      # https://docs.cloud.google.com/run/docs/configuring/vpc-direct-vpc
      startup_probe {
        period_seconds    = 2
        timeout_seconds   = 2
        failure_threshold = 60

        http_get {
          path = "/readyz"
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

  lifecycle {
    # infra/deploy.sh moves the traffic to a new revision in steps, and ends with "to the latest".
    ignore_changes = [traffic]

    precondition {
      condition     = each.value.max_instances * tonumber(each.value.cpu) <= var.quota.vcpus_per_service
      error_message = "${each.key} may grow to ${each.value.max_instances} instances of ${each.value.cpu} vCPU, and the project's quota is ${var.quota.vcpus_per_service} vCPU a service: lower services.${each.key}.max_instances, or have the quota raised (https://console.cloud.google.com/iam-admin/quotas, CpuAllocPerProjectRegion) and set quota.vcpus_per_service."
    }
    precondition {
      condition     = each.value.max_instances * (endswith(each.value.memory, "Gi") ? tonumber(trimsuffix(each.value.memory, "Gi")) : tonumber(trimsuffix(each.value.memory, "Mi")) / 1024) <= var.quota.memory_gib_per_service
      error_message = "${each.key} may grow to ${each.value.max_instances} instances of ${each.value.memory}, and the project's quota is ${var.quota.memory_gib_per_service} GiB a service: lower services.${each.key}.max_instances, or have the quota raised (https://console.cloud.google.com/iam-admin/quotas, MemAllocPerProjectRegion) and set quota.memory_gib_per_service."
    }
  }

  # All that a revision needs before its first request, so that one apply is enough.
  depends_on = [
    google_compute_firewall.to_database,
    google_kms_crypto_key_iam_member.agent,
    google_sql_database.this,
    google_sql_user.account,
    time_sleep.grants,
  ]
}

locals {
  channels = [for channel in google_monitoring_notification_channel.email : channel.id]

  query_service_filter = "resource.type = \"cloud_run_revision\" AND resource.labels.service_name = \"kaydang-query\""
  database_filter      = "resource.type = \"cloudsql_database\" AND resource.labels.database_id = \"${var.project_id}:${var.database.instance_name}\""

  # Metrics: https://cloud.google.com/monitoring/api/metrics_gcp
  thresholds = {
    dead-letters = {
      name      = "A message was given up", severity = "ERROR"
      filter    = "resource.type = \"pubsub_subscription\" AND metric.type = \"pubsub.googleapis.com/subscription/dead_letter_message_count\""
      aligner   = "ALIGN_DELTA", reducer = "REDUCE_SUM", group = ["resource.labels.subscription_id"]
      threshold = 0, duration = "0s", period = "300s"
      advice    = "The document is failed with reason attempts_exhausted: GET /documents?state=failed. docs/operations.md, \"Redrive dead letters\"."
    }
    oldest-message = {
      name      = "A message waits too long", severity = "WARNING"
      filter    = "resource.type = \"pubsub_subscription\" AND resource.labels.subscription_id != \"dead-letters-kept\" AND metric.type = \"pubsub.googleapis.com/subscription/oldest_unacked_message_age\""
      aligner   = "ALIGN_MAX", reducer = "REDUCE_MAX", group = ["resource.labels.subscription_id"]
      threshold = var.alerts.oldest_message_minutes * 60, duration = "300s", period = "60s"
      advice    = "Either a function fails (see its logs) or more arrives than max_instances can do (services.embed-worker.max_instances)."
    }
    oldest-batch = {
      name      = "A document waits too long for its embedding", severity = "WARNING"
      filter    = "resource.type = \"cloud_run_job\" AND metric.type = \"logging.googleapis.com/user/${google_logging_metric.measured["oldest_batch"].name}\""
      aligner   = "ALIGN_PERCENTILE_99", reducer = "REDUCE_MAX", group = []
      threshold = var.alerts.oldest_message_minutes * 60, duration = "0s", period = "900s"
      advice    = "Its batch is published again by each sweep and fails each time: the log of kaydang-embed-worker says why. python -m admin doctor looks at all that it needs."
    }
    generation-failures = {
      name      = "Gemini gives no answers", severity = "WARNING"
      filter    = "${local.query_service_filter} AND metric.type = \"logging.googleapis.com/user/${google_logging_metric.counted["generation_failures"].name}\""
      aligner   = "ALIGN_DELTA", reducer = "REDUCE_SUM", group = ["metric.labels.failure"]
      threshold = var.alerts.generation_failures, duration = "0s", period = "600s"
      advice    = "Questions are answered by extracts meanwhile. The label says why: rejected (key, model or permission), quota_exhausted, rate_limited, timeout. docs/operations.md, \"Slow or failing questions\"."
    }
    query-latency = {
      name      = "Questions are slow (95th percentile)", severity = "WARNING"
      filter    = "${local.query_service_filter} AND metric.type = \"run.googleapis.com/request_latencies\""
      aligner   = "ALIGN_PERCENTILE_95", reducer = "REDUCE_MAX", group = []
      threshold = var.alerts.query_latency_seconds * 1000, duration = "600s", period = "300s"
      advice    = "timings in the answer says which part: embed_ms, retrieve_ms or generate_ms. docs/operations.md, \"Slow or failing questions\"."
    }
    connections = {
      name      = "The database is running out of connections", severity = "WARNING"
      filter    = "${local.database_filter} AND metric.type = \"cloudsql.googleapis.com/database/postgresql/num_backends\""
      aligner   = "ALIGN_MAX", reducer = "REDUCE_SUM", group = ["resource.labels.database_id"]
      threshold = floor(var.alerts.connection_ratio * var.database.max_connections), duration = "300s", period = "60s"
      advice    = "Lower max_instances or pool_size, or raise database.max_connections."
    }
    disk = {
      name      = "The database's disk fills", severity = "WARNING"
      filter    = "${local.database_filter} AND metric.type = \"cloudsql.googleapis.com/database/disk/utilization\""
      aligner   = "ALIGN_MAX", reducer = "REDUCE_MAX", group = []
      threshold = var.alerts.disk_ratio, duration = "300s", period = "60s"
      advice    = "It grows by itself up to database.disk_limit_gb; raise that."
    }
    memory = {
      name      = "The database's memory fills", severity = "WARNING"
      filter    = "${local.database_filter} AND metric.type = \"cloudsql.googleapis.com/database/memory/components\" AND metric.labels.component = \"Usage\""
      aligner   = "ALIGN_MAX", reducer = "REDUCE_MAX", group = []
      threshold = 95, duration = "900s", period = "300s"
      advice    = "Take a larger database.tier: https://cloud.google.com/sql/docs/postgres/manage-memory-usage-best-practices"
    }
    failed-jobs = {
      name      = "A maintenance or migration job failed", severity = "ERROR"
      filter    = "resource.type = \"cloud_run_job\" AND metric.type = \"run.googleapis.com/job/completed_execution_count\" AND metric.labels.result = \"failed\""
      aligner   = "ALIGN_DELTA", reducer = "REDUCE_SUM", group = ["resource.labels.job_name"]
      threshold = 0, duration = "0s", period = "600s"
      advice    = "gcloud run jobs executions list --job=JOB, then its logs. Until sweep runs, lost messages stay lost."
    }
    worker-memory = {
      name      = "A function is close to its memory limit", severity = "WARNING"
      filter    = "resource.type = \"cloud_run_revision\" AND resource.labels.service_name = monitoring.regex.full_match(\"kaydang-.*\") AND metric.type = \"run.googleapis.com/container/memory/utilizations\""
      aligner   = "ALIGN_PERCENTILE_99", reducer = "REDUCE_MAX", group = ["resource.labels.service_name"]
      threshold = 0.95, duration = "600s", period = "300s"
      advice    = "Raise services.NAME.memory, or lower MAX_FILE_BYTES or PARSE_MEMORY_BYTES in settings."
    }
  }
}

resource "google_monitoring_notification_channel" "email" {
  for_each = toset(var.alerts.emails)

  display_name = "KaydangPT ${each.value}"
  type         = "email"
  labels       = { email_address = each.value }

  depends_on = [google_project_service.api]
}

resource "google_monitoring_alert_policy" "threshold" {
  for_each = local.thresholds

  display_name          = "KaydangPT: ${each.value.name}"
  combiner              = "OR"
  severity              = each.value.severity
  notification_channels = local.channels
  user_labels           = local.labels

  conditions {
    display_name = each.value.name
    condition_threshold {
      filter          = each.value.filter
      comparison      = "COMPARISON_GT"
      threshold_value = each.value.threshold
      duration        = each.value.duration
      aggregations {
        alignment_period     = each.value.period
        per_series_aligner   = each.value.aligner
        cross_series_reducer = each.value.reducer
        group_by_fields      = each.value.group
      }
    }
  }

  alert_strategy {
    auto_close = "86400s"
  }

  documentation {
    mime_type = "text/markdown"
    content   = each.value.advice
  }

  depends_on = [google_project_service.api]
}

# A ratio, which the thresholds above cannot say: 5xx of all requests.
resource "google_monitoring_alert_policy" "query_errors" {
  display_name          = "KaydangPT: Questions fail"
  combiner              = "OR"
  severity              = "ERROR"
  notification_channels = local.channels
  user_labels           = local.labels

  conditions {
    display_name = "5xx of all requests"
    condition_threshold {
      filter             = "${local.query_service_filter} AND metric.type = \"run.googleapis.com/request_count\" AND metric.labels.response_code_class = \"5xx\""
      denominator_filter = "${local.query_service_filter} AND metric.type = \"run.googleapis.com/request_count\""
      comparison         = "COMPARISON_GT"
      threshold_value    = var.alerts.query_error_ratio
      duration           = "300s"
      aggregations {
        alignment_period     = "300s"
        per_series_aligner   = "ALIGN_RATE"
        cross_series_reducer = "REDUCE_SUM"
      }
      denominator_aggregations {
        alignment_period     = "300s"
        per_series_aligner   = "ALIGN_RATE"
        cross_series_reducer = "REDUCE_SUM"
      }
    }
  }

  alert_strategy {
    auto_close = "86400s"
  }

  documentation {
    mime_type = "text/markdown"
    content   = "503: the database is away. 502 and 504: Gemini fails after retries; passages are still returned. docs/operations.md, \"Slow or failing questions\"."
  }

  depends_on = [google_project_service.api]
}

resource "google_monitoring_uptime_check_config" "query" {
  count = local.public

  display_name = "KaydangPT answers"
  timeout      = "10s"
  period       = "300s"

  # Not /healthz: Cloud Run keeps some paths that end in z for itself.
  # https://cloud.google.com/run/docs/known-issues#ah
  http_check {
    path         = "/openapi.json"
    port         = 443
    use_ssl      = true
    validate_ssl = true
  }

  monitored_resource {
    type = "uptime_url"
    labels = {
      project_id = var.project_id
      host       = var.query_access.domain
    }
  }

  depends_on = [google_project_service.api]
}

locals {
  channels = concat([for channel in google_monitoring_notification_channel.email : channel.id], var.alerts.channels)
  title    = local.prefix == "kaydang" ? "KaydangPT" : "KaydangPT ${local.prefix}"

  # This deployment's alone: the project may hold others.
  # https://cloud.google.com/monitoring/api/v3/filters#filter_syntax
  our_services      = "one_of(${join(",", [for name in keys(local.services) : "\"${local.prefix}-${name}\""])})"
  our_jobs          = "one_of(${join(",", [for name in keys(local.jobs) : "\"${local.prefix}-${name}\""])})"
  our_pushes        = "one_of(${join(",", [for push in local.pushes : "\"${push.name}\""])})"
  our_subscriptions = "resource.type = \"pubsub_subscription\" AND resource.labels.subscription_id = ${local.our_pushes}"

  query_service_filter = "resource.type = \"cloud_run_revision\" AND resource.labels.service_name = \"${local.prefix}-query\""
  database_filter      = "resource.type = \"cloudsql_database\" AND resource.labels.database_id = \"${local.instance_project}:${local.instance_name}\""

  # Metrics: https://cloud.google.com/monitoring/api/metrics_gcp
  thresholds = {
    dead-letters = {
      section   = "redrive-dead-letters"
      name      = "A message was given up", severity = "ERROR"
      filter    = "${local.our_subscriptions} AND metric.type = \"pubsub.googleapis.com/subscription/dead_letter_message_count\""
      aligner   = "ALIGN_DELTA", reducer = "REDUCE_SUM", group = ["resource.labels.subscription_id"]
      threshold = 0, duration = "0s", period = "300s"
      advice    = "The document is failed with reason attempts_exhausted: GET /documents?state=failed."
    }
    oldest-message = {
      section   = "a-message-waits-too-long"
      name      = "A message waits too long", severity = "WARNING"
      filter    = "${local.our_subscriptions} AND metric.type = \"pubsub.googleapis.com/subscription/oldest_unacked_message_age\""
      aligner   = "ALIGN_MAX", reducer = "REDUCE_MAX", group = ["resource.labels.subscription_id"]
      threshold = var.alerts.oldest_message_minutes * 60, duration = "300s", period = "60s"
      advice    = "Either a function fails (see its logs), or more arrives than max_instances can process (services.embed-worker.max_instances)."
    }
    oldest-batch = {
      section   = "a-message-waits-too-long"
      name      = "A document waits too long for its embedding", severity = "WARNING"
      filter    = "resource.type = \"cloud_run_job\" AND resource.labels.job_name = ${local.our_jobs} AND metric.type = \"logging.googleapis.com/user/${google_logging_metric.measured["oldest_batch"].name}\""
      aligner   = "ALIGN_PERCENTILE_99", reducer = "REDUCE_MAX", group = []
      threshold = var.alerts.oldest_message_minutes * 60, duration = "0s", period = "900s"
      advice    = "Each sweep publishes its batch again, and it fails each time. The log of kaydang-embed-worker says why; kaydangpt doctor checks everything it needs."
    }
    generation-failures = {
      section   = "gemini-gives-no-answers"
      name      = "Gemini gives no answers", severity = "WARNING"
      filter    = "${local.query_service_filter} AND metric.type = \"logging.googleapis.com/user/${google_logging_metric.counted["generation_failures"].name}\""
      aligner   = "ALIGN_DELTA", reducer = "REDUCE_SUM", group = ["metric.labels.failure"]
      threshold = var.alerts.generation_failures, duration = "0s", period = "600s"
      advice    = "Until then, answers are extracts. The label says why: rejected (key, model or permission), quota_exhausted, rate_limited, timeout."
    }
    query-latency = {
      section   = "slow-or-failing-questions"
      name      = "Questions are slow (95th percentile)", severity = "WARNING"
      filter    = "${local.query_service_filter} AND metric.type = \"run.googleapis.com/request_latencies\""
      aligner   = "ALIGN_PERCENTILE_95", reducer = "REDUCE_MAX", group = []
      threshold = var.alerts.query_latency_seconds * 1000, duration = "600s", period = "300s"
      advice    = "timings in an answer shows which part is slow: embed_ms, retrieve_ms or generate_ms."
    }
    connections = {
      section   = "connections"
      name      = "The database is running out of connections", severity = "WARNING"
      filter    = "${local.database_filter} AND metric.type = \"cloudsql.googleapis.com/database/postgresql/num_backends\""
      aligner   = "ALIGN_MAX", reducer = "REDUCE_SUM", group = ["resource.labels.database_id"]
      threshold = floor(var.alerts.connection_ratio * var.database.max_connections), duration = "300s", period = "60s"
      advice    = "Lower max_instances or pool_size, or raise database.max_connections."
    }
    disk = {
      section   = "the-database-fills"
      name      = "The database's disk fills", severity = "WARNING"
      filter    = "${local.database_filter} AND metric.type = \"cloudsql.googleapis.com/database/disk/utilization\""
      aligner   = "ALIGN_MAX", reducer = "REDUCE_MAX", group = []
      threshold = var.alerts.disk_ratio, duration = "300s", period = "60s"
      advice    = "It grows by itself up to database.disk_limit_gb; raise that."
    }
    memory = {
      section   = "the-database-fills"
      name      = "The database's memory fills", severity = "WARNING"
      filter    = "${local.database_filter} AND metric.type = \"cloudsql.googleapis.com/database/memory/components\" AND metric.labels.component = \"Usage\""
      aligner   = "ALIGN_MAX", reducer = "REDUCE_MAX", group = []
      threshold = 95, duration = "900s", period = "300s"
      advice    = "Choose a larger database.tier: https://cloud.google.com/sql/docs/postgres/manage-memory-usage-best-practices"
    }
    failed-jobs = {
      section   = "a-job-failed-or-none-ran"
      name      = "A maintenance or migration job failed", severity = "ERROR"
      filter    = "resource.type = \"cloud_run_job\" AND resource.labels.job_name = ${local.our_jobs} AND metric.type = \"run.googleapis.com/job/completed_execution_count\" AND metric.labels.result = \"failed\""
      aligner   = "ALIGN_DELTA", reducer = "REDUCE_SUM", group = ["resource.labels.job_name"]
      threshold = 0, duration = "0s", period = "600s"
      advice    = "gcloud run jobs executions list --job=JOB, then its logs. Until sweep runs, lost messages stay lost."
    }
    worker-memory = {
      section   = "a-function-is-close-to-its-memory-limit"
      name      = "A function is close to its memory limit", severity = "WARNING"
      filter    = "resource.type = \"cloud_run_revision\" AND resource.labels.service_name = ${local.our_services} AND metric.type = \"run.googleapis.com/container/memory/utilizations\""
      aligner   = "ALIGN_PERCENTILE_99", reducer = "REDUCE_MAX", group = ["resource.labels.service_name"]
      threshold = 0.95, duration = "600s", period = "300s"
      advice    = "Raise services.NAME.memory, or lower MAX_FILE_BYTES or PARSE_MEMORY_BYTES in settings."
    }
  }
}

resource "google_monitoring_notification_channel" "email" {
  for_each = toset(var.alerts.emails)

  project      = var.project_id
  display_name = "${local.title} ${each.value}"
  type         = "email"
  labels       = { email_address = each.value }

  depends_on = [time_sleep.apis]
}

resource "google_monitoring_alert_policy" "threshold" {
  for_each = local.thresholds

  project               = var.project_id
  display_name          = "${local.title}: ${each.value.name}"
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
    content   = "${each.value.advice}\n\nRunbook: ${var.alert_documentation_url}#${each.value.section}"
  }

  depends_on = [time_sleep.apis, time_sleep.log_metrics]
}

# Questions answered without a 5xx, over 28 days.
# https://cloud.google.com/stackdriver/docs/solutions/slo-monitoring
resource "google_monitoring_custom_service" "query" {
  project      = var.project_id
  service_id   = "${local.prefix}-query"
  display_name = "${local.title} questions"

  depends_on = [time_sleep.apis]
}

resource "google_monitoring_slo" "availability" {
  project             = var.project_id
  service             = google_monitoring_custom_service.query.service_id
  slo_id              = "${local.prefix}-availability"
  display_name        = "Questions are answered"
  goal                = var.alerts.availability_goal
  rolling_period_days = 28

  request_based_sli {
    good_total_ratio {
      total_service_filter = "${local.query_service_filter} AND metric.type = \"run.googleapis.com/request_count\""
      bad_service_filter   = "${local.query_service_filter} AND metric.type = \"run.googleapis.com/request_count\" AND metric.labels.response_code_class = \"5xx\""
    }
  }
}

# Both windows must burn, so that the alert ends soon after the cause; the third condition keeps one 503 at night
# from waking anyone. https://sre.google/workbook/alerting-on-slos/#6-multiwindow-multi-burn-rate-alerts
resource "google_monitoring_alert_policy" "burn_rate" {
  for_each = {
    fast = { severity = "CRITICAL", rate = 14.4, long = "3600s", short = "300s", requests = 5, about = "2 % of four weeks' errors in an hour" }
    slow = { severity = "WARNING", rate = 6, long = "21600s", short = "1800s", requests = 10, about = "5 % of four weeks' errors in six hours" }
  }

  project               = var.project_id
  display_name          = "${local.title}: Questions fail (${each.key} burn)"
  combiner              = "AND"
  severity              = each.value.severity
  notification_channels = local.channels
  user_labels           = local.labels

  dynamic "conditions" {
    for_each = [each.value.long, each.value.short]
    content {
      display_name = "errors over ${conditions.value}"
      condition_threshold {
        filter          = "select_slo_burn_rate(\"${google_monitoring_slo.availability.name}\", \"${conditions.value}\")"
        comparison      = "COMPARISON_GT"
        threshold_value = each.value.rate
        duration        = "0s"
      }
    }
  }

  conditions {
    display_name = "more than ${each.value.requests} failed questions"
    condition_threshold {
      filter          = "${local.query_service_filter} AND metric.type = \"run.googleapis.com/request_count\" AND metric.labels.response_code_class = \"5xx\""
      comparison      = "COMPARISON_GT"
      threshold_value = each.value.requests
      duration        = "0s"
      aggregations {
        alignment_period     = each.value.long
        per_series_aligner   = "ALIGN_DELTA"
        cross_series_reducer = "REDUCE_SUM"
      }
    }
  }

  alert_strategy {
    auto_close = "86400s"
  }

  documentation {
    mime_type = "text/markdown"
    content   = "${each.value.about}. 503: the database is away or full. 502 and 504: Gemini fails after retries; passages are still returned.\n\nRunbook: ${var.alert_documentation_url}#slow-or-failing-questions"
  }
}

# Silence is no failure that a threshold sees: a paused scheduler, a lost permission.
resource "google_monitoring_alert_policy" "no_sweep" {
  project               = var.project_id
  display_name          = "${local.title}: No sweep has succeeded"
  combiner              = "OR"
  severity              = "ERROR"
  notification_channels = local.channels
  user_labels           = local.labels
  enabled               = !var.schedules.paused

  conditions {
    display_name = "no successful sweep for ${var.alerts.silent_sweep_minutes} minutes"
    condition_absent {
      filter   = "resource.type = \"cloud_run_job\" AND resource.labels.job_name = \"${local.prefix}-sweep\" AND metric.type = \"run.googleapis.com/job/completed_execution_count\" AND metric.labels.result = \"succeeded\""
      duration = "${var.alerts.silent_sweep_minutes * 60}s"
      aggregations {
        alignment_period     = "300s"
        per_series_aligner   = "ALIGN_DELTA"
        cross_series_reducer = "REDUCE_SUM"
      }
    }
  }

  alert_strategy {
    auto_close = "86400s"
  }

  documentation {
    mime_type = "text/markdown"
    content   = "Until sweep runs, work that stopped half-way stays stopped. Check whether the scheduler job ${local.prefix}-sweep is paused or refused.\n\nRunbook: ${var.alert_documentation_url}#a-job-failed-or-none-ran"
  }

  depends_on = [time_sleep.apis]
}

resource "google_monitoring_uptime_check_config" "query" {
  count = var.query_access.mode == "public" ? 1 : 0

  project      = var.project_id
  display_name = "${local.title} answers"
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

  depends_on = [time_sleep.apis]
}

resource "google_monitoring_alert_policy" "uptime" {
  count = var.query_access.mode == "public" ? 1 : 0

  project               = var.project_id
  display_name          = "${local.title}: The address does not answer"
  combiner              = "OR"
  severity              = "CRITICAL"
  notification_channels = local.channels
  user_labels           = local.labels

  conditions {
    display_name = "two regions or more fail"
    condition_threshold {
      filter          = "resource.type = \"uptime_url\" AND metric.type = \"monitoring.googleapis.com/uptime_check/check_passed\" AND metric.labels.check_id = \"${google_monitoring_uptime_check_config.query[0].uptime_check_id}\""
      comparison      = "COMPARISON_GT"
      threshold_value = 1
      duration        = "300s"
      aggregations {
        alignment_period     = "600s"
        per_series_aligner   = "ALIGN_NEXT_OLDER"
        cross_series_reducer = "REDUCE_COUNT_FALSE"
        group_by_fields      = ["resource.label.host"]
      }
    }
  }

  alert_strategy {
    auto_close = "86400s"
  }

  documentation {
    mime_type = "text/markdown"
    content   = "The domain, its certificate or the load balancer is at fault. Try it with curl, and check that the A record names the output query_address.\n\nRunbook: ${var.alert_documentation_url}#slow-or-failing-questions"
  }
}

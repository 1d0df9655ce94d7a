locals {
  # One chart each: a title, the metric, how a series is made a point, and what is drawn apart.
  charts = [
    { title = "Messages waiting", filter = "${local.our_subscriptions} metric.type=\"pubsub.googleapis.com/subscription/num_undelivered_messages\"", aligner = "ALIGN_MEAN", reducer = "REDUCE_SUM", group = "resource.label.subscription_id" },
    { title = "Oldest message (s)", filter = "${local.our_subscriptions} metric.type=\"pubsub.googleapis.com/subscription/oldest_unacked_message_age\"", aligner = "ALIGN_MAX", reducer = "REDUCE_MAX", group = "resource.label.subscription_id" },
    { title = "Dead letters", filter = "${local.our_subscriptions} metric.type=\"pubsub.googleapis.com/subscription/dead_letter_message_count\"", aligner = "ALIGN_DELTA", reducer = "REDUCE_SUM", group = "resource.label.subscription_id" },
    { title = "Requests by service", filter = "resource.type=\"cloud_run_revision\" resource.label.service_name=${local.our_services} metric.type=\"run.googleapis.com/request_count\"", aligner = "ALIGN_RATE", reducer = "REDUCE_SUM", group = "resource.label.service_name" },
    { title = "Answers by status of the query", filter = "resource.type=\"cloud_run_revision\" resource.label.service_name=\"${local.prefix}-query\" metric.type=\"run.googleapis.com/request_count\"", aligner = "ALIGN_RATE", reducer = "REDUCE_SUM", group = "metric.label.response_code_class" },
    { title = "Latency, 95th percentile (ms)", filter = "resource.type=\"cloud_run_revision\" resource.label.service_name=${local.our_services} metric.type=\"run.googleapis.com/request_latencies\"", aligner = "ALIGN_PERCENTILE_95", reducer = "REDUCE_MAX", group = "resource.label.service_name" },
    { title = "Instances", filter = "resource.type=\"cloud_run_revision\" resource.label.service_name=${local.our_services} metric.type=\"run.googleapis.com/container/instance_count\"", aligner = "ALIGN_MAX", reducer = "REDUCE_SUM", group = "resource.label.service_name" },
    { title = "Oldest batch not embedded (s)", filter = "resource.type=\"cloud_run_job\" resource.label.job_name=${local.our_jobs} metric.type=\"logging.googleapis.com/user/${google_logging_metric.measured["oldest_batch"].name}\"", aligner = "ALIGN_PERCENTILE_99", reducer = "REDUCE_MAX", group = "resource.label.job_name" },
    { title = "Oldest generation not parsed (s)", filter = "resource.type=\"cloud_run_job\" resource.label.job_name=${local.our_jobs} metric.type=\"logging.googleapis.com/user/${google_logging_metric.measured["oldest_build"].name}\"", aligner = "ALIGN_PERCENTILE_99", reducer = "REDUCE_MAX", group = "resource.label.job_name" },
    { title = "Documents that answer", filter = "resource.type=\"cloud_run_job\" resource.label.job_name=${local.our_jobs} metric.type=\"logging.googleapis.com/user/${google_logging_metric.measured["documents_ready"].name}\"", aligner = "ALIGN_PERCENTILE_99", reducer = "REDUCE_MAX", group = "resource.label.job_name" },
    { title = "Embedding of a batch, 95th percentile (s)", filter = "resource.type=\"cloud_run_revision\" resource.label.service_name=${local.our_services} metric.type=\"logging.googleapis.com/user/${google_logging_metric.measured["embed_seconds"].name}\"", aligner = "ALIGN_PERCENTILE_95", reducer = "REDUCE_MAX", group = "resource.label.service_name" },
    { title = "Search, 95th percentile (ms)", filter = "resource.type=\"cloud_run_revision\" resource.label.service_name=${local.our_services} metric.type=\"logging.googleapis.com/user/${google_logging_metric.measured["retrieve_ms"].name}\"", aligner = "ALIGN_PERCENTILE_95", reducer = "REDUCE_MAX", group = "resource.label.service_name" },
    { title = "Writing of an answer, 95th percentile (ms)", filter = "resource.type=\"cloud_run_revision\" resource.label.service_name=${local.our_services} metric.type=\"logging.googleapis.com/user/${google_logging_metric.measured["generate_ms"].name}\"", aligner = "ALIGN_PERCENTILE_95", reducer = "REDUCE_MAX", group = "resource.label.service_name" },
    { title = "Tokens of an answer, 95th percentile", filter = "resource.type=\"cloud_run_revision\" resource.label.service_name=${local.our_services} metric.type=\"logging.googleapis.com/user/${google_logging_metric.measured["tokens"].name}\"", aligner = "ALIGN_PERCENTILE_95", reducer = "REDUCE_MAX", group = "resource.label.service_name" },
    { title = "Questions refused", filter = "resource.type=\"cloud_run_revision\" resource.label.service_name=${local.our_services} metric.type=\"logging.googleapis.com/user/${google_logging_metric.counted["refusals"].name}\"", aligner = "ALIGN_RATE", reducer = "REDUCE_SUM", group = "resource.label.service_name" },
    { title = "Answers that Gemini did not give, by reason", filter = "resource.type=\"cloud_run_revision\" resource.label.service_name=${local.our_services} metric.type=\"logging.googleapis.com/user/${google_logging_metric.counted["generation_failures"].name}\"", aligner = "ALIGN_RATE", reducer = "REDUCE_SUM", group = "metric.label.failure" },
    { title = "Documents that failed, by reason", filter = "resource.type=\"cloud_run_revision\" resource.label.service_name=${local.our_services} metric.type=\"logging.googleapis.com/user/${google_logging_metric.counted["failures"].name}\"", aligner = "ALIGN_DELTA", reducer = "REDUCE_SUM", group = "metric.label.code" },
    { title = "Database: connections", filter = "${local.database_filter} metric.type=\"cloudsql.googleapis.com/database/postgresql/num_backends\"", aligner = "ALIGN_MAX", reducer = "REDUCE_SUM", group = "resource.label.database_id" },
    { title = "Database: processor", filter = "${local.database_filter} metric.type=\"cloudsql.googleapis.com/database/cpu/utilization\"", aligner = "ALIGN_MEAN", reducer = "REDUCE_MAX", group = "resource.label.database_id" },
    { title = "Database: disk", filter = "${local.database_filter} metric.type=\"cloudsql.googleapis.com/database/disk/utilization\"", aligner = "ALIGN_MAX", reducer = "REDUCE_MAX", group = "resource.label.database_id" },
  ]
}

resource "google_monitoring_dashboard" "this" {
  project = var.project_id
  dashboard_json = jsonencode({
    displayName = local.title
    labels      = { kaydang = "" }
    mosaicLayout = {
      columns = 48
      tiles = [
        for index, chart in local.charts : {
          xPos   = (index % 2) * 24
          yPos   = floor(index / 2) * 16
          width  = 24
          height = 16
          widget = {
            title = chart.title
            xyChart = {
              dataSets = [{
                plotType           = "LINE"
                minAlignmentPeriod = "60s"
                timeSeriesQuery = {
                  timeSeriesFilter = {
                    filter = chart.filter
                    aggregation = {
                      alignmentPeriod    = "60s"
                      perSeriesAligner   = chart.aligner
                      crossSeriesReducer = chart.reducer
                      groupByFields      = [chart.group]
                    }
                  }
                }
              }]
            }
          }
        }
      ]
    }
  })

  depends_on = [time_sleep.apis, time_sleep.log_metrics]
}

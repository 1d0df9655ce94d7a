# What only the functions know, made of the lines that they log: an event function answers GET with 405, so nothing
# can scrape it, and an instance without a request has no processor to push from.
locals {
  # jsonPayload.message, and what is drawn out of the line; a line without the field is not counted.
  # https://cloud.google.com/logging/docs/logs-based-metrics/distribution-metrics
  measured = {
    embed_seconds    = { line = "batch embedded", field = "seconds", unit = "s", about = "Embedding of one batch of chunks" }
    embedded_chunks  = { line = "batch embedded", field = "chunks", unit = "1", about = "Chunks embedded" }
    embedded_tokens  = { line = "tokens embedded", field = "tokens", unit = "1", about = "Tokens of documents that Gemini embedded" }
    retrieve_ms      = { line = "answered", field = "retrieve_ms", unit = "ms", about = "Search for the passages of a question" }
    generate_ms      = { line = "answered", field = "generate_ms", unit = "ms", about = "Writing of an answer" }
    tokens           = { line = "answered", field = "tokens", unit = "1", about = "Tokens that Gemini counted" }
    figure_tokens    = { line = "figures described", field = "tokens", unit = "1", about = "Tokens that descriptions of a document's pictures took" }
    oldest_batch     = { line = "backlog", field = "oldest_batch_seconds", unit = "s", about = "Age of the oldest batch that waits for its embedding" }
    oldest_build     = { line = "backlog", field = "oldest_build_seconds", unit = "s", about = "Age of the oldest generation that waits for its parsing" }
    batches_waiting  = { line = "backlog", field = "batches_waiting", unit = "1", about = "Batches that wait for their embedding" }
    documents_failed = { line = "backlog", field = "documents.failed", unit = "1", about = "Documents that failed" }
    documents_ready  = { line = "backlog", field = "documents.ready", unit = "1", about = "Documents that answer" }
    dead_letters     = { line = "backlog", field = "dead_letters", unit = "1", about = "Dead letters that wait to be replayed" }
  }
  # The lines are counted; *more* narrows them, *label* is a field that a series is made for.
  counted = {
    refusals            = { line = "answered", more = "jsonPayload.grounded=false", label = null, about = "Questions that the documents do not answer" }
    cache_hits          = { line = "answered from the cache", more = "", label = null, about = "Answers kept from before" }
    generation_failures = { line = "answered", more = "jsonPayload.failure=~\".\"", label = "failure", about = "Answers that Gemini did not give" }
    failures            = { line = "document failed", more = "", label = "code", about = "Documents that failed, by reason" }
  }
  # The services and the jobs of this deployment.
  our_lines     = "(resource.labels.service_name=(${local.service_names}) OR resource.labels.job_name=(${local.job_names}))"
  service_names = join(" OR ", [for name in keys(local.services) : "\"${local.prefix}-${name}\""])
  job_names     = join(" OR ", [for name in keys(local.jobs) : "\"${local.prefix}-${name}\""])
}

resource "google_logging_metric" "measured" {
  for_each = local.measured

  project         = var.project_id
  name            = "${local.prefix}/${each.key}"
  description     = "${each.value.about}. From the line \"${each.value.line}\"."
  filter          = "${local.our_lines} AND jsonPayload.message=\"${each.value.line}\" AND jsonPayload.${each.value.field}:*"
  value_extractor = "EXTRACT(jsonPayload.${each.value.field})"

  metric_descriptor {
    metric_kind  = "DELTA"
    value_type   = "DISTRIBUTION"
    unit         = each.value.unit
    display_name = each.value.about
  }

  bucket_options {
    exponential_buckets {
      num_finite_buckets = 40
      growth_factor      = 1.6
      scale              = 0.005
    }
  }

  depends_on = [time_sleep.apis]
}

resource "google_logging_metric" "counted" {
  for_each = local.counted

  project     = var.project_id
  name        = "${local.prefix}/${each.key}"
  description = "${each.value.about}. From the line \"${each.value.line}\"."
  filter = join(" AND ", compact([
    local.our_lines, "jsonPayload.message=\"${each.value.line}\"", each.value.more,
  ]))
  label_extractors = each.value.label == null ? {} : { (each.value.label) = "EXTRACT(jsonPayload.${each.value.label})" }

  metric_descriptor {
    metric_kind  = "DELTA"
    value_type   = "INT64"
    unit         = "1"
    display_name = each.value.about

    dynamic "labels" {
      for_each = each.value.label == null ? [] : [each.value.label]
      content {
        key         = labels.value
        value_type  = "STRING"
        description = "The code, as docs/api.md lists them"
      }
    }
  }

  depends_on = [time_sleep.apis]
}

data "google_project" "this" {
  project_id = var.project_id
}

locals {
  prefix = var.name_prefix
  labels = merge(var.labels, { app = "kaydang", deployment = var.name_prefix, managed-by = "terraform" })

  # The multi-region that holds a region; London and Zurich are in none.
  # https://cloud.google.com/storage/docs/locations#location-mr
  multi_region = (
    contains(["europe-west2", "europe-west6"], var.region) ? null
    : startswith(var.region, "europe-") ? "EU"
    : startswith(var.region, "us-") ? "US"
    : startswith(var.region, "asia-") ? "ASIA"
    : null
  )
  bucket_name     = coalesce(var.bucket.name, "${var.project_id}-${local.prefix}-documents")
  bucket_location = upper(coalesce(var.bucket.location, var.region))

  topics = merge(
    {
      object_events = "${local.prefix}-object-events"
      chunk_jobs    = "${local.prefix}-chunk-jobs"
      dead_letters  = "${local.prefix}-dead-letters"
    },
    var.document_events ? { document_events = "${local.prefix}-document-events" } : {},
  )

  # Who calls Gemini: the query, ingest when it reads scanned pages or describes pictures, and the embed worker with a
  # model that Google runs.
  reads_pictures = anytrue([
    for name in ["OCR_PAGE_BUDGET", "FIGURE_BUDGET"] : tonumber(lookup(var.settings, name, "0")) > 0
  ])
  gemini_embeds = startswith(var.embedding_model_name, "gemini-")
  gemini_callers = var.gemini.access == "off" ? [] : concat(
    ["query"], local.reads_pictures ? ["ingest"] : [], local.gemini_embeds ? ["embed-worker"] : []
  )
}

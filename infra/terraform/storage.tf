data "google_storage_project_service_account" "this" {
  depends_on = [time_sleep.apis]
}

resource "google_storage_bucket" "documents" {
  project       = var.project_id
  labels        = local.labels
  name          = local.bucket_name
  location      = local.bucket_location
  storage_class = "STANDARD"
  force_destroy = var.bucket.delete_with_deployment

  uniform_bucket_level_access = true
  public_access_prevention    = "enforced"

  versioning {
    enabled = true
  }

  soft_delete_policy {
    retention_duration_seconds = var.bucket.soft_delete_days * 86400
  }

  lifecycle_rule {
    action {
      type = "Delete"
    }
    condition {
      days_since_noncurrent_time = var.bucket.noncurrent_days
      with_state                 = "ARCHIVED"
    }
  }

  lifecycle_rule {
    action {
      type = "AbortIncompleteMultipartUpload"
    }
    condition {
      age = 1
    }
  }

  dynamic "logging" {
    for_each = var.bucket.request_log_bucket == null ? [] : [1]
    content {
      log_bucket = var.bucket.request_log_bucket
    }
  }

  dynamic "encryption" {
    for_each = var.encryption.customer_managed ? [1] : []
    content {
      default_kms_key_name = google_kms_crypto_key.this[0].id
    }
  }

  lifecycle {
    precondition {
      condition     = contains(compact([upper(var.region), local.multi_region]), local.bucket_location)
      error_message = "The bucket is in ${local.bucket_location} and the functions in ${var.region}: every read would cross regions. Use ${join(" or ", compact([upper(var.region), local.multi_region]))}."
    }
  }

  depends_on = [time_sleep.apis, google_kms_crypto_key_iam_member.agent]
}

resource "google_storage_notification" "object_events" {
  bucket         = google_storage_bucket.documents.name
  topic          = google_pubsub_topic.this["object_events"].id
  payload_format = "JSON_API_V1"
  # In a bucket with versioning, deleting or replacing the live object is OBJECT_ARCHIVE.
  # https://cloud.google.com/storage/docs/pubsub-notifications#events
  event_types = ["OBJECT_FINALIZE", "OBJECT_DELETE", "OBJECT_ARCHIVE", "OBJECT_METADATA_UPDATE"]

  depends_on = [google_pubsub_topic_iam_member.storage_agent]
}

# Add, read, list and delete documents: https://cloud.google.com/storage/docs/access-control/iam-roles
resource "google_storage_bucket_iam_member" "writer" {
  for_each = toset(var.bucket.writers)

  bucket = google_storage_bucket.documents.name
  role   = "roles/storage.objectUser"
  member = each.value
}

# Uploads on the page are begun by the query: https://cloud.google.com/storage/docs/access-control/iam-roles
resource "google_storage_bucket_iam_member" "uploads" {
  count = var.query_access.uploads ? 1 : 0

  bucket = google_storage_bucket.documents.name
  role   = "roles/storage.objectUser"
  member = google_service_account.this["query"].member
}

locals {
  # Which service takes the messages of which topic; each subscription is named TOPIC-SUFFIX.
  pushes = {
    object_events = { service = "ingest", name = "${local.prefix}-object-events-ingest" }
    chunk_jobs    = { service = "embed-worker", name = "${local.prefix}-chunk-jobs-embed" }
    dead_letters  = { service = "dead-letters", name = "${local.prefix}-dead-letters-record" }
  }
  # Those whose messages become dead letters: all but the dead letters themselves.
  sources = { for topic, push in local.pushes : topic => push if topic != "dead_letters" }
}

resource "google_pubsub_topic" "this" {
  for_each = local.topics

  project = var.project_id
  labels  = local.labels
  name    = each.value
  # Longer than any outage that is noticed: with it a subscription can be sought back (docs/runbooks.md).
  message_retention_duration = "604800s"
  kms_key_name               = var.encryption.customer_managed ? google_kms_crypto_key.this[0].id : null

  message_storage_policy {
    allowed_persistence_regions = [var.region]
  }

  depends_on = [time_sleep.apis, google_kms_crypto_key_iam_member.agent]
}

resource "google_pubsub_subscription" "push" {
  for_each = local.pushes

  project = var.project_id
  labels  = local.labels
  name    = each.value.name
  topic   = google_pubsub_topic.this[each.key].id

  # A handler slower than the deadline is redelivered while it still works; 600 s is the longest.
  ack_deadline_seconds       = 600
  message_retention_duration = "604800s"

  # Never expires, however long no document arrives.
  expiration_policy {
    ttl = ""
  }

  retry_policy {
    minimum_backoff = "10s"
    maximum_backoff = "600s"
  }

  push_config {
    push_endpoint = google_cloud_run_v2_service.function[each.value.service].uri

    oidc_token {
      service_account_email = google_service_account.this["push"].email
      audience              = local.audiences[each.value.service]
    }
  }

  dynamic "dead_letter_policy" {
    for_each = contains(keys(local.sources), each.key) ? [1] : []
    content {
      dead_letter_topic     = google_pubsub_topic.this["dead_letters"].id
      max_delivery_attempts = var.max_delivery_attempts
    }
  }

  depends_on = [google_cloud_run_v2_service_iam_member.push]
}

# Keeps each dead letter for a month, whatever the recorder does: the source for redriving by hand.
resource "google_pubsub_subscription" "dead_letters_kept" {
  project                    = var.project_id
  labels                     = local.labels
  name                       = "${local.prefix}-dead-letters-kept"
  topic                      = google_pubsub_topic.this["dead_letters"].id
  ack_deadline_seconds       = 60
  message_retention_duration = "2678400s"

  expiration_policy {
    ttl = ""
  }
}

# Cloud Storage publishes its notifications itself.
# https://cloud.google.com/storage/docs/reporting-changes#prereqs
resource "google_pubsub_topic_iam_member" "storage_agent" {
  project = var.project_id
  topic   = google_pubsub_topic.this["object_events"].name
  role    = "roles/pubsub.publisher"
  member  = data.google_storage_project_service_account.this.member
}

# Pub/Sub forwards dead letters itself: it publishes them and acknowledges them at the source.
# https://cloud.google.com/pubsub/docs/handling-failures#grant_forwarding_permissions
resource "google_pubsub_topic_iam_member" "forward_dead_letters" {
  project = var.project_id
  topic   = google_pubsub_topic.this["dead_letters"].name
  role    = "roles/pubsub.publisher"
  member  = google_project_service_identity.agent["pubsub.googleapis.com"].member

  depends_on = [time_sleep.agents]
}

# https://cloud.google.com/pubsub/docs/handling-failures#grant_forwarding_permissions
resource "google_pubsub_subscription_iam_member" "forward_dead_letters" {
  for_each = local.sources

  project      = var.project_id
  subscription = google_pubsub_subscription.push[each.key].name
  role         = "roles/pubsub.subscriber"
  member       = google_project_service_identity.agent["pubsub.googleapis.com"].member

  depends_on = [time_sleep.agents]
}

# Pub/Sub signs the pushes as the push account.
# https://cloud.google.com/pubsub/docs/authenticate-push-subscriptions#configure_for_push_authentication
resource "google_service_account_iam_member" "sign_pushes" {
  service_account_id = google_service_account.this["push"].name
  role               = "roles/iam.serviceAccountOpenIdTokenCreator"
  member             = google_project_service_identity.agent["pubsub.googleapis.com"].member

  depends_on = [time_sleep.agents]
}

locals {
  # The agents that read and write with the key.
  key_users = var.encryption.customer_managed ? {
    storage = data.google_storage_project_service_account.this.member
    pubsub  = google_project_service_identity.agent["pubsub.googleapis.com"].member
    sql     = google_project_service_identity.agent["sqladmin.googleapis.com"].member
    secret  = google_project_service_identity.agent["secretmanager.googleapis.com"].member
    run     = google_project_service_identity.agent["run.googleapis.com"].member
  } : {}
}

resource "google_kms_key_ring" "this" {
  count = var.encryption.customer_managed ? 1 : 0

  project  = var.project_id
  name     = local.prefix
  location = var.region

  depends_on = [time_sleep.apis]
}

resource "google_kms_crypto_key" "this" {
  count = var.encryption.customer_managed ? 1 : 0

  labels                     = local.labels
  name                       = local.prefix
  key_ring                   = google_kms_key_ring.this[0].id
  purpose                    = "ENCRYPT_DECRYPT"
  rotation_period            = "${var.encryption.rotation_days * 86400}s"
  destroy_scheduled_duration = "2592000s"

  lifecycle {
    # Without the key every document, chunk and backup is lost.
    prevent_destroy = true
  }
}

# https://cloud.google.com/kms/docs/cmek#service-agents
resource "google_kms_crypto_key_iam_member" "agent" {
  for_each = local.key_users

  crypto_key_id = google_kms_crypto_key.this[0].id
  role          = "roles/cloudkms.cryptoKeyEncrypterDecrypter"
  member        = each.value

  depends_on = [time_sleep.agents]
}

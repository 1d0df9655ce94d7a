locals {
  # The agents that read and write with the key.
  key_users = var.encryption.customer_managed ? {
    storage = data.google_storage_project_service_account.this.member
    pubsub  = google_project_service_identity.agent["pubsub.googleapis.com"].member
    sql     = google_project_service_identity.agent["sqladmin.googleapis.com"].member
    secret  = google_project_service_identity.agent["secretmanager.googleapis.com"].member
    run     = local.run_agent
  } : {}
}

resource "google_kms_key_ring" "this" {
  count = var.encryption.customer_managed ? 1 : 0

  name     = "kaydang"
  location = var.region

  depends_on = [google_project_service.api]
}

resource "google_kms_crypto_key" "this" {
  count = var.encryption.customer_managed ? 1 : 0

  name                       = "kaydang"
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
}

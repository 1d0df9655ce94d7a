# The container alone: the key itself is added by `gcloud secrets versions add` and never is in Terraform's
# state. It exists with every gemini.access, so that the key can be there before the switch.
resource "google_secret_manager_secret" "gemini_key" {
  project   = var.project_id
  labels    = local.labels
  secret_id = "${local.prefix}-gemini-api-key"

  replication {
    user_managed {
      replicas {
        location = var.region

        dynamic "customer_managed_encryption" {
          for_each = var.encryption.customer_managed ? [1] : []
          content {
            kms_key_name = google_kms_crypto_key.this[0].id
          }
        }
      }
    }
  }

  # A version destroyed by mistake can be brought back for a day.
  version_destroy_ttl = "86400s"

  depends_on = [time_sleep.apis, google_kms_crypto_key_iam_member.agent]
}

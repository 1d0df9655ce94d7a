# What infra/deploy.sh applies: the module with a state in a bucket. Another configuration calls the module itself
# (../terraform/examples).
terraform {
  required_version = ">= 1.9, < 2.0"

  # Partial: `terraform init -backend-config=bucket=... -backend-config=prefix=...` (infra/deploy.sh does).
  backend "gcs" {}

  required_providers {
    google = {
      source  = "hashicorp/google"
      version = ">= 7.41, < 9.0"
    }
    google-beta = {
      source  = "hashicorp/google-beta"
      version = ">= 7.41, < 9.0"
    }
    time = {
      source  = "hashicorp/time"
      version = ">= 0.12, < 1.0"
    }
  }
}

provider "google" {
  project = var.project_id
  region  = var.region

  # The Budget API refuses a user's own credentials unless a project is billed for the call.
  # https://cloud.google.com/docs/authentication/troubleshoot-adc#user-creds-client-based
  user_project_override = true
  billing_project       = var.project_id
}

provider "google-beta" {
  project = var.project_id
  region  = var.region
}

module "kaydangpt" {
  source = "../terraform"

  project_id              = var.project_id
  region                  = var.region
  name_prefix             = var.name_prefix
  quota                   = var.quota
  labels                  = var.labels
  images                  = var.images
  bucket                  = var.bucket
  database                = var.database
  services                = var.services
  settings                = var.settings
  embedding_model_name    = var.embedding_model_name
  gemini                  = var.gemini
  reranker                = var.reranker
  query_access            = var.query_access
  allow_public_query      = var.allow_public_query
  document_events         = var.document_events
  tracing                 = var.tracing
  schedules               = var.schedules
  max_delivery_attempts   = var.max_delivery_attempts
  network                 = var.network
  alert_documentation_url = var.alert_documentation_url
  encryption              = var.encryption
  alerts                  = var.alerts
  budget                  = var.budget
  deletion_protection     = var.deletion_protection
}

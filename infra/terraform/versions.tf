terraform {
  required_version = ">= 1.9, < 2.0"

  # Partial: `terraform init -backend-config=bucket=...` names the bucket (infra/deploy.sh does).
  backend "gcs" {
    prefix = "kaydang"
  }

  required_providers {
    google = {
      source  = "hashicorp/google"
      version = ">= 7.41, < 9.0"
    }
    # Only for google_project_service_identity, which the google provider does not have.
    google-beta = {
      source  = "hashicorp/google-beta"
      version = ">= 7.41, < 9.0"
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

  default_labels = local.labels
}

provider "google-beta" {
  project = var.project_id
  region  = var.region
}

terraform {
  required_version = ">= 1.9, < 2.0"

  # No provider and no backend: the configuration that calls this module has them (infra/deployment,
  # examples), so that for_each, count and depends_on work on it.
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
    # Waits where Google is eventually consistent.
    time = {
      source  = "hashicorp/time"
      version = ">= 0.12, < 1.0"
    }
  }
}

# Lets the workflows of one GitHub repository deploy, without a key that is stored anywhere.
# https://cloud.google.com/iam/docs/workload-identity-federation-with-deployment-pipelines
terraform {
  required_version = ">= 1.9, < 2.0"

  required_providers {
    google = {
      source  = "hashicorp/google"
      version = ">= 7.41, < 9.0"
    }
  }
}

variable "project_id" {
  type        = string
  description = "The project that is deployed to."
}

variable "repository" {
  type        = string
  description = "OWNER/NAME of the repository on GitHub."

  validation {
    condition     = can(regex("^[A-Za-z0-9-]+/[A-Za-z0-9._-]+$", var.repository))
    error_message = "repository is OWNER/NAME."
  }
}

variable "environment" {
  type        = string
  description = "The GitHub environment whose jobs may deploy; its rules decide who approves."
  default     = "production"

  validation {
    condition     = can(regex("^[A-Za-z0-9._-]+$", var.environment))
    error_message = "environment is the name of a GitHub environment."
  }
}

locals {
  # As infra/deploy.sh --check names them.
  roles = toset([
    "roles/artifactregistry.admin", "roles/cloudbuild.builds.editor", "roles/cloudscheduler.admin",
    "roles/cloudsql.admin", "roles/compute.admin", "roles/iam.serviceAccountAdmin", "roles/iam.serviceAccountUser",
    "roles/logging.configWriter", "roles/monitoring.admin", "roles/pubsub.admin",
    "roles/resourcemanager.projectIamAdmin", "roles/run.admin", "roles/secretmanager.admin",
    "roles/servicenetworking.networksAdmin", "roles/serviceusage.serviceUsageAdmin", "roles/storage.admin",
  ])
}

resource "google_service_account" "deployer" {
  project      = var.project_id
  account_id   = "kaydang-deployer"
  display_name = "KaydangPT deployer"
}

# What infra/deploy.sh does: https://cloud.google.com/iam/docs/roles-permissions
resource "google_project_iam_member" "deployer" {
  for_each = local.roles

  project = var.project_id
  role    = each.value
  member  = google_service_account.deployer.member
}

resource "google_iam_workload_identity_pool" "github" {
  project                   = var.project_id
  workload_identity_pool_id = "kaydang-github"
}

resource "google_iam_workload_identity_pool_provider" "github" {
  project                            = var.project_id
  workload_identity_pool_id          = google_iam_workload_identity_pool.github.workload_identity_pool_id
  workload_identity_pool_provider_id = "github"
  attribute_mapping = {
    "google.subject" = "assertion.sub"
  }
  # Without it every repository of GitHub gets a token of this pool.
  attribute_condition = "assertion.repository == '${var.repository}'"
  oidc {
    issuer_uri = "https://token.actions.githubusercontent.com"
  }
}

# Jobs of that environment alone: https://docs.github.com/en/actions/reference/security/oidc
resource "google_service_account_iam_member" "github" {
  service_account_id = google_service_account.deployer.name
  role               = "roles/iam.workloadIdentityUser"
  member             = "principal://iam.googleapis.com/${google_iam_workload_identity_pool.github.name}/subject/repo:${var.repository}:environment:${var.environment}"
}

output "provider" {
  description = "workload_identity_provider of google-github-actions/auth."
  value       = google_iam_workload_identity_pool_provider.github.name
}

output "service_account" {
  description = "service_account of google-github-actions/auth."
  value       = google_service_account.deployer.email
}

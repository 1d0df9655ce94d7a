# In a Shared VPC, with a Cloud SQL instance that is there already; reached from inside alone.
terraform {
  required_version = ">= 1.9, < 2.0"

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
  region  = "europe-west1"

  user_project_override = true
  billing_project       = var.project_id
}

provider "google-beta" {
  project = var.project_id
  region  = "europe-west1"
}

variable "project_id" {
  type        = string
  description = "The Google Cloud project."
}

variable "images" {
  type        = object({ ingest = string, embed_worker = string, query = string })
  description = "The images by digest, as infra/deploy.sh build prints them."
}

variable "host_project" {
  type        = string
  description = "The project of the Shared VPC and of the Cloud SQL instance."
}

module "kaydangpt" {
  source = "../.."

  project_id = var.project_id
  region     = "europe-west1"
  images     = var.images

  network = {
    existing = {
      network    = "projects/${var.host_project}/global/networks/shared"
      subnetwork = "projects/${var.host_project}/regions/europe-west1/subnetworks/functions"
    }
  }
  database = {
    existing        = "${var.host_project}:europe-west1:company"
    max_connections = 200
  }
  query_access = {
    principals = ["serviceAccount:app@${var.project_id}.iam.gserviceaccount.com"]
    ingress    = "internal"
  }
}

output "query_url" {
  description = "Where questions go, from inside the network."
  value       = module.kaydangpt.query_url
}

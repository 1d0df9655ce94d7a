# Failover, backups in another place, people who sign in under a domain of yours, alerts to a channel that is there.
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

module "kaydangpt" {
  source = "../.."

  project_id = var.project_id
  region     = "europe-west1"
  images     = var.images

  database = {
    tier            = "db-custom-4-15360"
    max_connections = 200
    backup_location = "eu"
  }
  services = {
    embed-worker = { cpu = "4", max_instances = 5 }
    query        = { cpu = "2", memory = "2Gi", max_instances = 10, concurrency = 16 }
  }
  bucket = { location = "EU", writers = ["group:editors@example.com"] }
  gemini = { daily_token_budget = 20000000 }
  query_access = {
    mode       = "iap"
    principals = ["group:staff@example.com"]
    domain     = "ask.example.com"
  }
  alerts = {
    channels = ["projects/${var.project_id}/notificationChannels/1234567890"]
  }
}

output "query_url" {
  description = "Where people ask."
  value       = module.kaydangpt.query_url
}

output "query_address" {
  description = "What the domain's A record must name."
  value       = module.kaydangpt.query_address
}

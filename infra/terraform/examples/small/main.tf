# Two small deployments in one project, scaled to zero: for trying out, for a team each.
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
  # From another repository: source = "git::https://HOST/OWNER/kaydangpt.git//infra/terraform?ref=TAG"
  source   = "../.."
  for_each = toset(["law", "sales"])

  project_id  = var.project_id
  region      = "europe-west1"
  name_prefix = "kaydang-${each.key}"
  images      = var.images

  database = {
    tier                   = "db-f1-micro"
    availability_type      = "ZONAL"
    disk_gb                = 10
    disk_limit_gb          = 50
    max_connections        = 25
    point_in_time_recovery = false
  }
  services = {
    ingest       = { max_instances = 2, pool_size = 1 }
    embed-worker = { max_instances = 2, pool_size = 2 }
    query        = { min_instances = 0, max_instances = 2, pool_size = 3 }
  }
  network = {
    # Each has a network of its own, so the ranges may be the same.
    flow_logs = false
  }
}

output "query_urls" {
  description = "Where questions go, by deployment."
  value       = { for name, deployment in module.kaydangpt : name => deployment.query_url }
}

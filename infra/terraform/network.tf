locals {
  own_network = var.network.existing == null ? 1 : 0
  # Both are full names where the network is another project's (Shared VPC):
  # https://cloud.google.com/run/docs/configuring/shared-vpc-direct-vpc
  network_name    = local.own_network == 1 ? google_compute_network.this[0].name : var.network.existing.network
  network_id      = local.own_network == 1 ? google_compute_network.this[0].id : var.network.existing.network
  subnetwork_name = local.own_network == 1 ? google_compute_subnetwork.functions[0].name : var.network.existing.subnetwork
}

resource "google_compute_network" "this" {
  count = local.own_network

  project                 = var.project_id
  name                    = local.prefix
  auto_create_subnetworks = false

  depends_on = [time_sleep.apis]
}

resource "google_compute_subnetwork" "functions" {
  count = local.own_network

  project                  = var.project_id
  name                     = "${local.prefix}-functions"
  network                  = google_compute_network.this[0].id
  region                   = var.region
  ip_cidr_range            = var.network.subnet_cidr
  private_ip_google_access = true

  dynamic "log_config" {
    for_each = var.network.flow_logs ? [1] : []
    content {
      aggregation_interval = "INTERVAL_10_MIN"
      flow_sampling        = 0.1
      metadata             = "INCLUDE_ALL_METADATA"
    }
  }
}

# The database's private address: https://cloud.google.com/sql/docs/postgres/configure-private-services-access
resource "google_compute_global_address" "services" {
  count = local.own_network

  project       = var.project_id
  labels        = local.labels
  name          = "${local.prefix}-services"
  network       = google_compute_network.this[0].id
  purpose       = "VPC_PEERING"
  address_type  = "INTERNAL"
  address       = split("/", var.network.services_cidr)[0]
  prefix_length = tonumber(split("/", var.network.services_cidr)[1])
}

resource "google_service_networking_connection" "services" {
  count = local.own_network

  network                 = google_compute_network.this[0].id
  service                 = "servicenetworking.googleapis.com"
  reserved_peering_ranges = [google_compute_global_address.services[0].name]
  # Google refuses to end the peering for hours after the database is gone; infra/deploy.sh uninstall ends it,
  # and the network after it. https://github.com/GoogleCloudPlatform/magic-modules/pull/18476
  deletion_policy = "ABANDON"
}

# From this network the functions reach the database and nothing else. Google's APIs and Gemini are on
# public addresses, which PRIVATE_RANGES_ONLY keeps out of the network.
resource "google_compute_firewall" "to_database" {
  count = local.own_network

  project            = var.project_id
  name               = "${local.prefix}-to-database"
  network            = google_compute_network.this[0].id
  direction          = "EGRESS"
  priority           = 1000
  destination_ranges = [var.network.services_cidr]

  # 3307 is the port of Cloud SQL's connectors: https://cloud.google.com/sql/docs/postgres/configure-ip
  allow {
    protocol = "tcp"
    ports    = ["3307", "5432"]
  }
}

resource "google_compute_firewall" "deny_egress" {
  count = local.own_network

  project            = var.project_id
  name               = "${local.prefix}-deny-egress"
  network            = google_compute_network.this[0].id
  direction          = "EGRESS"
  priority           = 65000
  destination_ranges = ["0.0.0.0/0"]

  deny {
    protocol = "all"
  }
}

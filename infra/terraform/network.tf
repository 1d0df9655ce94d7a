resource "google_compute_network" "this" {
  name                    = "kaydang"
  auto_create_subnetworks = false

  depends_on = [google_project_service.api]
}

resource "google_compute_subnetwork" "functions" {
  name                     = "kaydang-functions"
  network                  = google_compute_network.this.id
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
  name          = "kaydang-services"
  network       = google_compute_network.this.id
  purpose       = "VPC_PEERING"
  address_type  = "INTERNAL"
  address       = split("/", var.network.services_cidr)[0]
  prefix_length = tonumber(split("/", var.network.services_cidr)[1])
}

resource "google_service_networking_connection" "services" {
  network                 = google_compute_network.this.id
  service                 = "servicenetworking.googleapis.com"
  reserved_peering_ranges = [google_compute_global_address.services.name]
  # The peering cannot be deleted for hours after the database is: leave it to the network's end.
  deletion_policy = "ABANDON"
}

# From this network the functions reach the database and nothing else. Google's APIs and Gemini are on
# public addresses, which PRIVATE_RANGES_ONLY keeps out of the network.
resource "google_compute_firewall" "to_database" {
  name               = "kaydang-to-database"
  network            = google_compute_network.this.id
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
  name               = "kaydang-deny-egress"
  network            = google_compute_network.this.id
  direction          = "EGRESS"
  priority           = 65000
  destination_ranges = ["0.0.0.0/0"]

  deny {
    protocol = "all"
  }
}

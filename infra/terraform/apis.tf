locals {
  apis = toset(concat(
    [
      "artifactregistry.googleapis.com",
      "cloudscheduler.googleapis.com",
      "compute.googleapis.com",
      "iam.googleapis.com",
      "logging.googleapis.com",
      "monitoring.googleapis.com",
      "pubsub.googleapis.com",
      "run.googleapis.com",
      "secretmanager.googleapis.com",
      "servicenetworking.googleapis.com",
      "sqladmin.googleapis.com",
      "storage.googleapis.com",
    ],
    length(local.gemini_callers) > 0 && var.gemini.access == "vertex" ? ["aiplatform.googleapis.com"] : [],
    startswith(var.reranker, "vertex") ? ["discoveryengine.googleapis.com"] : [],
    var.query_access.mode == "iap" ? ["iap.googleapis.com"] : [],
    var.encryption.customer_managed ? ["cloudkms.googleapis.com"] : [],
    var.tracing.enabled ? ["cloudtrace.googleapis.com", "telemetry.googleapis.com"] : [],
    var.budget == null ? [] : ["billingbudgets.googleapis.com"],
  ))
}

resource "google_project_service" "api" {
  for_each = local.apis

  project = var.project_id
  service = each.value
  # Another deployment of the project may use the API.
  disable_on_destroy = false
}

# An API that was enabled a moment ago still refuses calls now and then.
# https://cloud.google.com/service-usage/docs/enable-disable#propagation
resource "time_sleep" "apis" {
  create_duration = "30s"
  triggers        = { apis = join(",", sort(local.apis)) }

  depends_on = [google_project_service.api]
}

# Service agents that a fresh project lacks until they are asked for; a grant to a missing one fails.
# https://cloud.google.com/iam/docs/create-service-agents
resource "google_project_service_identity" "agent" {
  provider = google-beta
  for_each = toset(concat(
    ["pubsub.googleapis.com"],
    var.query_access.mode == "iap" ? ["iap.googleapis.com"] : [],
    var.encryption.customer_managed ? ["run.googleapis.com", "sqladmin.googleapis.com", "secretmanager.googleapis.com"] : [],
  ))

  project = var.project_id
  service = each.value

  depends_on = [time_sleep.apis]
}

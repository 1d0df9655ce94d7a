locals {
  accounts = {
    ingest       = "Reads documents, writes their chunks"
    embed-worker = "Embeds chunks"
    dead-letters = "Records what was given up"
    query        = "Answers questions"
    migrate      = "Changes the database's schema"
    maintenance  = "Sweeps and reconciles"
    push         = "Signs Pub/Sub's pushes"
    scheduler    = "Starts the maintenance jobs"
    smoke        = "Asks the question that a deployment must answer"
  }
}

resource "google_service_account" "this" {
  for_each = local.accounts

  project      = var.project_id
  account_id   = "${local.prefix}-${each.key}"
  display_name = "KaydangPT ${local.prefix} ${each.key}"
  description  = each.value

  depends_on = [time_sleep.apis]
}

# Connect to the database through Cloud Run's connector, to this instance only.
# https://cloud.google.com/sql/docs/postgres/connect-run and https://cloud.google.com/sql/docs/postgres/iam-conditions
resource "google_project_iam_member" "sql_client" {
  for_each = local.database_users

  project = local.instance_project
  role    = "roles/cloudsql.client"
  member  = google_service_account.this[each.key].member

  condition {
    title      = "${local.prefix}-instance"
    expression = "resource.service == 'sqladmin.googleapis.com' && resource.name == 'projects/${local.instance_project}/instances/${local.instance_name}'"
  }
}

# Log in with an IAM token: https://cloud.google.com/sql/docs/postgres/iam-logins
resource "google_project_iam_member" "sql_user" {
  for_each = local.database_users

  project = local.instance_project
  role    = "roles/cloudsql.instanceUser"
  member  = google_service_account.this[each.key].member

  condition {
    title      = "${local.prefix}-instance"
    expression = "resource.service == 'sqladmin.googleapis.com' && resource.name == 'projects/${local.instance_project}/instances/${local.instance_name}'"
  }
}

# Download a document by its generation; list them to reconcile; show the original behind a citation.
# https://cloud.google.com/storage/docs/access-control/iam-roles
resource "google_storage_bucket_iam_member" "reader" {
  for_each = toset(["ingest", "maintenance", "query"])

  bucket = google_storage_bucket.documents.name
  role   = "roles/storage.objectViewer"
  member = google_service_account.this[each.key].member
}

# ingest publishes chunk jobs and, for a newer generation, an event to itself; sweep and reconcile both again.
# https://cloud.google.com/pubsub/docs/access-control
resource "google_pubsub_topic_iam_member" "publisher" {
  for_each = {
    for pair in setproduct(["ingest", "maintenance"], ["object_events", "chunk_jobs"]) :
    "${pair[0]}-${pair[1]}" => { account = pair[0], topic = pair[1] }
  }

  project = var.project_id
  topic   = google_pubsub_topic.this[each.value.topic].name
  role    = "roles/pubsub.publisher"
  member  = google_service_account.this[each.value.account].member
}

# Events of documents: from each function that records one, and from the sweeper for the rest.
# https://cloud.google.com/pubsub/docs/access-control
resource "google_pubsub_topic_iam_member" "announcer" {
  for_each = toset(local.announcers)

  project = var.project_id
  topic   = google_pubsub_topic.this["document_events"].name
  role    = "roles/pubsub.publisher"
  member  = google_service_account.this[each.key].member
}

# Pub/Sub's pushes may call the three event functions, and no other account may.
# https://cloud.google.com/run/docs/triggering/pubsub-push
resource "google_cloud_run_v2_service_iam_member" "push" {
  for_each = toset([for push in local.pushes : push.service])

  project  = var.project_id
  name     = google_cloud_run_v2_service.function[each.key].name
  location = var.region
  role     = "roles/run.invoker"
  member   = google_service_account.this["push"].member
}

# Cloud Scheduler starts the two maintenance jobs.
# https://cloud.google.com/run/docs/execute/jobs-on-schedule
resource "google_cloud_run_v2_job_iam_member" "scheduler" {
  for_each = google_cloud_scheduler_job.maintenance

  project  = var.project_id
  name     = google_cloud_run_v2_job.job[each.key].name
  location = var.region
  role     = "roles/run.invoker"
  member   = google_service_account.this["scheduler"].member
}

# Traces by OTLP to Cloud Trace: https://cloud.google.com/iam/docs/roles-permissions/telemetry#telemetry.tracesWriter
resource "google_project_iam_member" "traces" {
  for_each = var.tracing.enabled ? local.services : {}

  project = var.project_id
  role    = "roles/telemetry.tracesWriter"
  member  = google_service_account.this[each.key].member
}

# Gemini by Vertex AI: https://cloud.google.com/vertex-ai/docs/general/access-control#aiplatform.user
resource "google_project_iam_member" "vertex" {
  for_each = toset(var.gemini.access == "vertex" ? local.gemini_callers : [])

  project = var.project_id
  role    = "roles/aiplatform.user"
  member  = google_service_account.this[each.key].member
}

# The ranking API alone takes discoveryengine.rankingConfigs.rank, which no narrower role has.
# https://cloud.google.com/generative-ai-app-builder/docs/access-control#discoveryengine.viewer
resource "google_project_iam_member" "ranking" {
  count = startswith(var.reranker, "vertex") ? 1 : 0

  project = var.project_id
  role    = "roles/discoveryengine.viewer"
  member  = google_service_account.this["query"].member
}

# Gemini by key: this secret alone. https://cloud.google.com/secret-manager/docs/access-control
resource "google_secret_manager_secret_iam_member" "gemini_key" {
  for_each = toset(var.gemini.access == "key" ? local.gemini_callers : [])

  project   = var.project_id
  secret_id = google_secret_manager_secret.gemini_key.secret_id
  role      = "roles/secretmanager.secretAccessor"
  member    = google_service_account.this[each.key].member
}

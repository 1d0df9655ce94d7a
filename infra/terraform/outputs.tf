output "query_url" {
  description = "The address for questions. In mode iam, send `Authorization: Bearer $(gcloud auth print-identity-token)`."
  value       = local.balanced == 1 ? "https://${var.query_access.domain}" : google_cloud_run_v2_service.function["query"].uri
}

output "query_mode" {
  description = "Who may ask: iam, iap or public; identified: iam, and callers send a second token for the service."
  value       = var.query_access.mode == "iam" && var.query_access.identify_callers ? "identified" : var.query_access.mode
}

output "query_address" {
  description = "With query_access.domain: the address that the domain's A record must name before the certificate is issued."
  value       = one(google_compute_global_address.query[*].address)
}

output "bucket" {
  description = "The bucket for documents."
  value       = "gs://${google_storage_bucket.documents.name}"
}

output "services" {
  description = "The Cloud Run services by function."
  value       = { for name, service in google_cloud_run_v2_service.function : name => service.name }
}

output "jobs" {
  description = "The Cloud Run jobs: migrate before each upgrade, sweep and reconcile by schedule."
  value       = { for name, job in google_cloud_run_v2_job.job : name => job.name }
}

output "images" {
  description = "The images that run, for a rollback (infra/deploy.sh reads them)."
  value       = var.images
}

output "subscriptions" {
  description = "The subscriptions by topic."
  value = merge(
    { for topic, subscription in google_pubsub_subscription.push : topic => subscription.name },
    { dead_letters_kept = google_pubsub_subscription.dead_letters_kept.name },
  )
}

output "document_events_topic" {
  description = "With document_events: the topic to subscribe to."
  value       = var.document_events ? google_pubsub_topic.this["document_events"].id : null
}

output "database" {
  description = "The instance's connection name, for gcloud sql and the Cloud SQL Auth Proxy."
  value       = local.instance.connection_name
}

output "connections" {
  description = "How many connections the pools can take, and how many there are."
  value       = { needed = local.needed_connections, maximum = var.database.max_connections }
}

output "service_accounts" {
  description = "The service accounts by role."
  value       = { for name, account in google_service_account.this : name => account.email }
}

output "gemini_secret" {
  description = "Where the API key goes with gemini.access key: gcloud secrets versions add NAME --data-file=-"
  value       = google_secret_manager_secret.gemini_key.secret_id
}

output "audience" {
  description = "The audience of identity tokens for the query function."
  value       = local.audiences["query"]
}

output "smoke_account" {
  description = "The service account that infra/deploy.sh uses to ask its question."
  value       = google_service_account.this["smoke"].email
}

output "deployment" {
  description = "What infra/deploy.sh needs to know about a deployment."
  value = {
    prefix   = local.prefix
    domain   = var.query_access.domain
    api_keys = length(var.query_access.api_key_digests) > 0
    network  = local.own_network == 1 ? local.network_name : null
  }
}

# Those of the module, for infra/deploy.sh and `terraform output`.
output "query_url" {
  description = "Where questions go. Mode iam: with `Authorization: Bearer $(gcloud auth print-identity-token)`."
  value       = module.kaydangpt.query_url
}

output "query_mode" {
  description = "Who may ask: iam, iap or public; identified: iam, and callers send a second token for the service."
  value       = module.kaydangpt.query_mode
}

output "query_address" {
  description = "With query_access.domain: the address that the domain's A record must name, before the certificate is given out."
  value       = module.kaydangpt.query_address
}

output "bucket" {
  description = "Where documents are put."
  value       = module.kaydangpt.bucket
}

output "services" {
  description = "The Cloud Run services by function."
  value       = module.kaydangpt.services
}

output "jobs" {
  description = "The Cloud Run jobs: migrate before each upgrade, sweep and reconcile by schedule."
  value       = module.kaydangpt.jobs
}

output "images" {
  description = "The images that run, for a rollback (infra/deploy.sh reads them)."
  value       = module.kaydangpt.images
}

output "subscriptions" {
  description = "The subscriptions by topic."
  value       = module.kaydangpt.subscriptions
}

output "document_events_topic" {
  description = "With document_events: the topic to subscribe to."
  value       = module.kaydangpt.document_events_topic
}

output "database" {
  description = "The instance's connection name, for gcloud sql and the Cloud SQL Auth Proxy."
  value       = module.kaydangpt.database
}

output "connections" {
  description = "How many connections the pools can take, and how many there are."
  value       = module.kaydangpt.connections
}

output "service_accounts" {
  description = "The service accounts by role."
  value       = module.kaydangpt.service_accounts
}

output "gemini_secret" {
  description = "Where the API key goes with gemini.access key: gcloud secrets versions add NAME --data-file=-"
  value       = module.kaydangpt.gemini_secret
}

output "audience" {
  description = "What an identity token for the query function is for."
  value       = module.kaydangpt.audience
}

output "smoke_account" {
  description = "The service account that infra/deploy.sh asks its question as."
  value       = module.kaydangpt.smoke_account
}

output "deployment" {
  description = "What infra/deploy.sh has to know of a deployment."
  value       = module.kaydangpt.deployment
}

# Values that Google would compute, in the form its own validators accept.
mock_data "google_project" {
  defaults = { number = "123456789012", project_id = "demo-proj" }
}

mock_data "google_storage_project_service_account" {
  defaults = { member = "serviceAccount:service-123456789012@gs-project-accounts.iam.gserviceaccount.com" }
}

mock_resource "google_project_service_identity" {
  defaults = { member = "serviceAccount:service-123456789012@gcp-sa-pubsub.iam.gserviceaccount.com" }
}

mock_resource "google_service_account" {
  defaults = {
    email  = "kaydang@demo-proj.iam.gserviceaccount.com"
    member = "serviceAccount:kaydang@demo-proj.iam.gserviceaccount.com"
    name   = "projects/demo-proj/serviceAccounts/kaydang@demo-proj.iam.gserviceaccount.com"
  }
}

mock_resource "google_cloud_run_v2_service" {
  defaults = { uri = "https://kaydang-123456789012.europe-west1.run.app" }
}

mock_resource "google_cloud_run_v2_job" {
  defaults = { id = "projects/demo-proj/locations/europe-west1/jobs/kaydang" }
}

mock_resource "google_sql_database_instance" {
  defaults = { connection_name = "demo-proj:europe-west1:kaydang" }
}

mock_resource "google_pubsub_topic" {
  defaults = { id = "projects/demo-proj/topics/topic" }
}

mock_resource "google_compute_network" {
  defaults = { id = "projects/demo-proj/global/networks/kaydang" }
}

mock_resource "google_monitoring_notification_channel" {
  defaults = { id = "projects/demo-proj/notificationChannels/1" }
}

mock_resource "google_compute_global_address" {
  defaults = { id = "projects/demo-proj/global/addresses/kaydang", address = "203.0.113.10" }
}

mock_resource "google_monitoring_slo" {
  defaults = { name = "projects/123456789012/services/kaydang-query/serviceLevelObjectives/kaydang-availability" }
}

mock_resource "google_monitoring_custom_service" {
  defaults = { name = "projects/123456789012/services/kaydang-query" }
}

mock_resource "google_compute_subnetwork" {
  defaults = { id = "projects/demo-proj/regions/europe-west1/subnetworks/kaydang-functions" }
}

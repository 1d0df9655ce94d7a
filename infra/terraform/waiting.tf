# What Google knows only after a while. Each wait runs once, when what it waits for is made: a second apply
# changes nothing.

# A grant is known everywhere after a minute or two: https://cloud.google.com/iam/docs/access-change-propagation
resource "time_sleep" "grants" {
  create_duration = "90s"
  triggers = {
    accounts = join(",", sort([for account in google_service_account.this : account.email]))
  }

  depends_on = [
    google_project_iam_member.sql_client,
    google_project_iam_member.sql_user,
    google_project_iam_member.vertex,
    google_pubsub_topic_iam_member.publisher,
    google_secret_manager_secret_iam_member.gemini_key,
    google_storage_bucket_iam_member.reader,
  ]
}

# A service agent that was asked for a moment ago cannot be granted anything yet.
resource "time_sleep" "agents" {
  create_duration = "60s"
  triggers        = { agents = join(",", sort(keys(google_project_service_identity.agent))) }
}

# A new instance refuses its first IAM users while its flags take hold.
# https://github.com/hashicorp/terraform-provider-google/issues/14233
resource "time_sleep" "database" {
  create_duration = "60s"
  triggers        = { instance = local.instance.connection_name }
}

# "Cannot find metric(s) that match type ... could take up to 10 minutes to become available": most take less
# than two, and infra/deploy.sh applies again where one takes longer.
# https://github.com/hashicorp/terraform-provider-google/issues/11102
resource "time_sleep" "log_metrics" {
  create_duration = "120s"
  triggers = {
    metrics = join(",", sort(concat(
      [for metric in google_logging_metric.measured : metric.name],
      [for metric in google_logging_metric.counted : metric.name],
    )))
  }
}

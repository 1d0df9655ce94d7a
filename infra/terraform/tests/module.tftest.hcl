# Used by others: beside what is there, several times, under a name of their own.
mock_provider "google" {
  source = "./tests/mocks"
}
mock_provider "google-beta" {
  source = "./tests/mocks"
}
mock_provider "time" {}
variables {
  project_id = "demo-proj"
  images = {
    ingest       = "europe-west1-docker.pkg.dev/demo-proj/kaydang/ingest@sha256:0000000000000000000000000000000000000000000000000000000000000000"
    embed_worker = "europe-west1-docker.pkg.dev/demo-proj/kaydang/embed_worker@sha256:1111111111111111111111111111111111111111111111111111111111111111"
    query        = "europe-west1-docker.pkg.dev/demo-proj/kaydang/query@sha256:2222222222222222222222222222222222222222222222222222222222222222"
  }
}

run "every_name_begins_with_the_prefix" {
  command = plan
  variables {
    name_prefix = "law"
  }

  assert {
    condition = alltrue(concat(
      [for account in google_service_account.this : startswith(account.account_id, "law-")],
      [for topic in google_pubsub_topic.this : startswith(topic.name, "law-")],
      [for subscription in google_pubsub_subscription.push : startswith(subscription.name, "law-")],
      [for service in google_cloud_run_v2_service.function : startswith(service.name, "law-")],
      [for job in google_cloud_run_v2_job.job : startswith(job.name, "law-")],
      [for metric in google_logging_metric.measured : startswith(metric.name, "law/")],
      [startswith(google_secret_manager_secret.gemini_key.secret_id, "law-")],
      [google_sql_database_instance.this[0].name == "law", google_compute_network.this[0].name == "law"],
    ))
    error_message = "two deployments of one project would take each other's names"
  }
  assert {
    condition     = google_storage_bucket.documents.name == "demo-proj-law-documents"
    error_message = "the bucket's name is another deployment's"
  }
}

run "an_existing_network_gets_no_resource" {
  command = plan
  variables {
    network = {
      existing = {
        network    = "projects/host/global/networks/shared"
        subnetwork = "projects/host/regions/europe-west1/subnetworks/functions"
      }
    }
  }

  assert {
    condition     = length(google_compute_network.this) + length(google_compute_subnetwork.functions) + length(google_compute_firewall.to_database) + length(google_service_networking_connection.services) == 0
    error_message = "something is made in a network that belongs to others"
  }
  assert {
    condition = alltrue([
      for service in google_cloud_run_v2_service.function :
      service.template[0].vpc_access[0].network_interfaces[0].subnetwork == "projects/host/regions/europe-west1/subnetworks/functions"
    ])
    error_message = "a function is not in the network"
  }
  assert {
    condition     = google_sql_database_instance.this[0].settings[0].ip_configuration[0].private_network == "projects/host/global/networks/shared"
    error_message = "the database is not in the network"
  }
}

run "an_existing_instance_gets_a_database_and_users" {
  command = plan
  variables {
    database = { existing = "host-proj:europe-west1:company", max_connections = 200 }
  }

  assert {
    condition     = length(google_sql_database_instance.this) == 0 && google_sql_database.this.instance == "company" && google_sql_database.this.project == "host-proj"
    error_message = "the database is not made in the instance that is there"
  }
  assert {
    condition     = alltrue([for user in google_sql_user.account : user.instance == "company" && user.project == "host-proj"])
    error_message = "the users are elsewhere"
  }
  assert {
    condition = alltrue([
      for grant in google_project_iam_member.sql_client :
      grant.project == "host-proj" && strcontains(grant.condition[0].expression, "projects/host-proj/instances/company'")
    ])
    error_message = "the accounts may not connect, or to every instance"
  }
}

run "people_sign_in_under_a_domain" {
  command = plan
  variables {
    query_access = { mode = "iap", principals = ["group:staff@example.com"], domain = "ask.example.com" }
  }

  assert {
    condition     = output.query_url == "https://ask.example.com" && google_cloud_run_v2_service.function["query"].iap_enabled
    error_message = "the domain is not asked, or without a sign-in"
  }
  assert {
    condition     = google_cloud_run_v2_service.function["query"].ingress == "INGRESS_TRAFFIC_INTERNAL_LOAD_BALANCER" && !google_cloud_run_v2_service.function["query"].invoker_iam_disabled
    error_message = "the service can be reached past the load balancer, or without its check"
  }
}

run "a_caller_with_a_token_may_use_the_domain" {
  command = plan
  variables {
    query_access = { domain = "ask.example.com" }
  }

  assert {
    condition     = contains(google_cloud_run_v2_service.function["query"].custom_audiences, "https://ask.example.com")
    error_message = "a token for the domain is refused"
  }
}

run "the_query_from_inside_alone" {
  command = plan
  variables {
    query_access = { ingress = "internal" }
  }

  assert {
    condition     = google_cloud_run_v2_service.function["query"].ingress == "INGRESS_TRAFFIC_INTERNAL_ONLY"
    error_message = "the query can be reached from the internet"
  }
}

run "a_full_instance_answers_its_probes" {
  command = plan
  variables {
    services = { query = { concurrency = 80 } }
  }

  assert {
    condition = alltrue([
      for service in google_cloud_run_v2_service.function : contains([
        for variable in service.template[0].containers[0].env : "${variable.name}=${variable.value}"
      ], "THREADS=${service.template[0].max_instance_request_concurrency + 8}")
    ])
    error_message = "requests take the threads that answer probes"
  }
}

run "more_places_than_requests_need_more_threads" {
  command = plan
  variables {
    settings = { MAX_CONCURRENT_REQUESTS = "120" }
  }

  assert {
    condition = contains([
      for variable in google_cloud_run_v2_service.function["query"].template[0].containers[0].env : "${variable.name}=${variable.value}"
    ], "THREADS=128")
    error_message = "places without threads"
  }
}

run "an_instance_waits_for_its_network_two_minutes" {
  command = plan

  assert {
    condition = alltrue([
      for service in google_cloud_run_v2_service.function :
      service.template[0].containers[0].startup_probe[0].http_get[0].path == "/readyz"
      && service.template[0].containers[0].startup_probe[0].period_seconds * service.template[0].containers[0].startup_probe[0].failure_threshold >= 120
    ])
    error_message = "an instance gets requests before it reaches the database, or is given up too early"
  }
  assert {
    condition     = alltrue([for job in google_cloud_run_v2_job.job : job.template[0].template[0].max_retries == 3])
    error_message = "a job gives up before it has a network"
  }
}

run "channels_that_are_there_are_notified" {
  command = plan
  variables {
    alerts = { channels = ["projects/demo-proj/notificationChannels/42"] }
  }

  assert {
    condition     = alltrue([for policy in google_monitoring_alert_policy.threshold : contains(policy.notification_channels, "projects/demo-proj/notificationChannels/42")])
    error_message = "an alert reaches only the console"
  }
  assert {
    condition     = google_monitoring_alert_policy.no_sweep.conditions[0].condition_absent[0].duration == "3600s"
    error_message = "silence raises no alert"
  }
}

run "backups_survive_the_region" {
  command = plan
  variables {
    database = { backup_location = "eu" }
  }

  assert {
    condition     = google_sql_database_instance.this[0].settings[0].backup_configuration[0].location == "eu"
    error_message = "the backups are lost with the region"
  }
}

run "document_events_are_published_by_the_accounts_that_record_them" {
  command = plan
  variables {
    document_events = true
  }

  assert {
    condition     = toset(keys(google_pubsub_topic_iam_member.announcer)) == toset(["ingest", "embed-worker", "dead-letters", "maintenance"])
    error_message = "an account that records events may not publish them, or another may"
  }
  assert {
    condition = alltrue([
      for name in ["ingest", "embed-worker", "dead-letters"] :
      contains([for variable in google_cloud_run_v2_service.function[name].template[0].containers[0].env : "${variable.name}=${variable.value}"], "DOCUMENT_EVENTS_TOPIC=kaydang-document-events")
    ])
    error_message = "a function does not know the topic"
  }
}

run "without_document_events_there_is_no_topic_for_them" {
  command = plan

  assert {
    condition     = !contains([for topic in google_pubsub_topic.this : topic.name], "kaydang-document-events") && length(google_pubsub_topic_iam_member.announcer) == 0
    error_message = "a topic that was not asked for"
  }
}

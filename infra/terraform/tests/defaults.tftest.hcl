# With mock_provider these run with the genuine provider and with tfcheck's stand-in alike.
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

run "the_bucket_is_private_and_keeps_what_is_replaced" {
  command = plan

  assert {
    condition     = google_storage_bucket.documents.public_access_prevention == "enforced" && google_storage_bucket.documents.uniform_bucket_level_access
    error_message = "the bucket can be made public"
  }
  assert {
    condition     = google_storage_bucket.documents.versioning[0].enabled && google_storage_bucket.documents.soft_delete_policy[0].retention_duration_seconds == 604800
    error_message = "a replaced document is lost at once"
  }
  assert {
    condition     = google_storage_bucket.documents.location == "EUROPE-WEST1" && google_storage_bucket.documents.name == "demo-proj-kaydang-documents"
    error_message = "the bucket is not where the functions are"
  }
  assert {
    # With versioning a deletion of the live object is OBJECT_ARCHIVE, not OBJECT_DELETE.
    condition     = length(setsubtract(["OBJECT_FINALIZE", "OBJECT_DELETE", "OBJECT_ARCHIVE"], google_storage_notification.object_events.event_types)) == 0
    error_message = "a deletion would not be seen"
  }
}

run "every_source_has_a_dead_letter_topic_and_that_topic_has_subscribers" {
  command = plan

  assert {
    condition = alltrue([
      for topic in ["object_events", "chunk_jobs"] :
      google_pubsub_subscription.push[topic].dead_letter_policy[0].max_delivery_attempts == 100
    ])
    error_message = "a subscription has no dead letters, or a bulk load becomes some"
  }
  assert {
    condition     = length(google_pubsub_subscription.push["dead_letters"].dead_letter_policy) == 0
    error_message = "dead letters would be published to their own topic"
  }
  assert {
    condition     = google_pubsub_subscription.push["dead_letters"].name == "kaydang-dead-letters-record" && google_pubsub_subscription.dead_letters_kept.message_retention_duration == "2678400s"
    error_message = "dead letters are lost"
  }
}

run "pushes_wait_long_enough_back_off_never_expire_and_are_signed" {
  command = apply

  assert {
    condition = alltrue([
      for push in google_pubsub_subscription.push :
      push.ack_deadline_seconds == 600 && push.expiration_policy[0].ttl == ""
      && push.retry_policy[0].minimum_backoff == "10s" && push.retry_policy[0].maximum_backoff == "600s"
    ])
    error_message = "a push is redelivered too early, too often, or its subscription expires"
  }
  assert {
    condition = alltrue([
      for topic, push in google_pubsub_subscription.push :
      push.push_config[0].oidc_token[0].service_account_email == google_service_account.this["push"].email
      && contains(google_cloud_run_v2_service.function[local.pushes[topic].service].custom_audiences, push.push_config[0].oidc_token[0].audience)
      && contains(
        [for env in google_cloud_run_v2_service.function[local.pushes[topic].service].template[0].containers[0].env : "${env.name}=${env.value}"],
        "PUSH_AUDIENCE=${push.push_config[0].oidc_token[0].audience}",
      )
    ])
    error_message = "a push is not signed for the service it goes to"
  }
  assert {
    condition     = google_service_account_iam_member.sign_pushes.service_account_id == google_service_account.this["push"].name
    error_message = "Pub/Sub may not sign as the push account"
  }
}

run "nobody_but_pub_sub_and_the_scheduler_may_call" {
  command = plan

  assert {
    condition     = toset(keys(google_cloud_run_v2_service_iam_member.push)) == toset(["ingest", "embed-worker", "dead-letters"])
    error_message = "the push account may call what it should not, or not what it should"
  }
  assert {
    condition     = length(google_cloud_run_v2_service_iam_member.caller) == 0 && !google_cloud_run_v2_service.function["query"].invoker_iam_disabled
    error_message = "without query_access.principals somebody may ask"
  }
  assert {
    condition = alltrue([
      for name in ["ingest", "embed-worker", "dead-letters"] :
      google_cloud_run_v2_service.function[name].ingress == "INGRESS_TRAFFIC_INTERNAL_ONLY"
    ])
    error_message = "an event function can be reached from the internet"
  }
}

run "the_database_is_private_backed_up_and_protected" {
  command = plan

  assert {
    condition     = google_sql_database_instance.this[0].settings[0].ip_configuration[0].ipv4_enabled == false
    error_message = "the database has a public address"
  }
  assert {
    condition     = google_sql_database_instance.this[0].settings[0].edition == "ENTERPRISE" && google_sql_database_instance.this[0].settings[0].availability_type == "REGIONAL"
    error_message = "the database is of another edition or in one zone"
  }
  assert {
    condition     = google_sql_database_instance.this[0].deletion_protection && google_sql_database_instance.this[0].settings[0].deletion_protection_enabled
    error_message = "one of the two protections against deletion is off"
  }
  assert {
    condition     = google_sql_database_instance.this[0].settings[0].backup_configuration[0].point_in_time_recovery_enabled
    error_message = "no recovery to a point in time"
  }
  assert {
    condition = contains([
      for flag in google_sql_database_instance.this[0].settings[0].database_flags : "${flag.name}=${flag.value}"
    ], "cloudsql.iam_authentication=on")
    error_message = "the functions cannot log in"
  }
}

run "services_log_in_without_a_password" {
  command = apply

  assert {
    condition     = alltrue([for user in google_sql_user.account : user.type == "CLOUD_IAM_SERVICE_ACCOUNT" && !endswith(user.name, ".gserviceaccount.com")])
    error_message = "a database user has a password or the wrong name"
  }
  assert {
    condition = alltrue(flatten([
      for service in google_cloud_run_v2_service.function : [
        for variable in service.template[0].containers[0].env :
        variable.name != "DATABASE_URL" || can(regex("^postgresql://[^:@/]+@/kaydang\\?host=/cloudsql/", variable.value))
      ]
    ]))
    error_message = "a DATABASE_URL has a password or does not use the socket"
  }
  assert {
    condition = alltrue([
      for job in google_cloud_run_v2_job.job : anytrue([
        for variable in job.template[0].template[0].containers[0].env : variable.name == "DATABASE_URL" && endswith(variable.value, "&connect_timeout=60")
      ])
    ])
    error_message = "a job gives up before it has a network"
  }
}

run "functions_framework_is_the_command_and_digests_are_the_images" {
  command = plan

  assert {
    condition = alltrue([
      for service in google_cloud_run_v2_service.function :
      service.template[0].containers[0].command[0] == "functions-framework" && strcontains(service.template[0].containers[0].image, "@sha256:")
    ])
    error_message = "a service runs something else"
  }
  assert {
    condition     = contains(google_cloud_run_v2_service.function["dead-letters"].template[0].containers[0].args, "--target=record_dead_letter")
    error_message = "dead letters are not recorded"
  }
  assert {
    condition     = google_cloud_run_v2_service.function["dead-letters"].template[0].containers[0].image == var.images.embed_worker
    error_message = "the recorder is not in the embed worker's image"
  }
  assert {
    condition     = toset(values(output.jobs)) == toset(["kaydang-migrate", "kaydang-sweep", "kaydang-reconcile"])
    error_message = "a job is missing"
  }
}

run "gemini_by_vertex_needs_no_secret" {
  command = plan

  assert {
    condition     = toset(keys(google_project_iam_member.vertex)) == toset(["query"]) && length(google_secret_manager_secret_iam_member.gemini_key) == 0
    error_message = "somebody else may call Gemini, or the secret is granted for nothing"
  }
  assert {
    condition     = !contains([for variable in google_cloud_run_v2_service.function["query"].template[0].containers[0].env : variable.name], "GEMINI_API_KEY")
    error_message = "the query waits for a secret version that nobody made"
  }
}

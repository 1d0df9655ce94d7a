locals {
  # Run from ingest's image, which has the clients of Storage, Pub/Sub and the database.
  jobs = {
    migrate = {
      account = "migrate", command = "admin", args = ["migrate"]
      # Membership does not pass CREATEROLE on: the migration works as the role that has it.
      environment = { DATABASE_OWNER_ROLE = "cloudsqlsuperuser", DATABASE_ROLE_MEMBERS = local.role_members }
      pool_size   = 1, timeout_seconds = 3600
    }
    sweep = {
      account     = "maintenance", command = "admin", args = ["sweep"]
      environment = local.topic_environment
      pool_size   = 1, timeout_seconds = 600
    }
    reconcile = {
      account     = "maintenance", command = "admin", args = ["reconcile"]
      environment = local.topic_environment
      pool_size   = 1, timeout_seconds = 3600
    }
  }
  # Whom the migration grants which group role: ROLE=USER[,USER...][;ROLE=...].
  role_members = join(";", [
    for role in ["kaydang_query", "kaydang_worker"] : "${role}=${join(",", [
      for account, granted in local.database_users : local.database_user_names[account] if granted == role
    ])}"
  ])
}

resource "google_cloud_run_v2_job" "job" {
  for_each = local.jobs

  project             = var.project_id
  labels              = local.labels
  name                = "${local.prefix}-${each.key}"
  location            = var.region
  deletion_protection = var.deletion_protection

  template {
    template {
      service_account       = google_service_account.this[each.value.account].email
      execution_environment = "EXECUTION_ENVIRONMENT_GEN2"
      timeout               = "${each.value.timeout_seconds}s"
      # Cloud Run ends tasks of its own accord now and then: https://cloud.google.com/run/docs/known-issues
      max_retries    = 3
      encryption_key = var.encryption.customer_managed ? google_kms_crypto_key.this[0].id : null

      vpc_access {
        egress = "PRIVATE_RANGES_ONLY"
        network_interfaces {
          network    = local.network_name
          subnetwork = local.subnetwork_name
        }
      }

      volumes {
        name = "cloudsql"
        cloud_sql_instance {
          instances = [local.instance.connection_name]
        }
      }

      containers {
        image   = var.images.ingest
        command = ["python", "-m", each.value.command]
        args    = each.value.args

        resources {
          limits = { cpu = "1", memory = "1Gi" }
        }

        volume_mounts {
          name       = "cloudsql"
          mount_path = "/cloudsql"
        }

        dynamic "env" {
          for_each = merge(
            local.environment[each.value.account],
            local.model_environment,
            each.value.environment,
            lookup(local.announcement_environment, each.value.account, {}),
            {
              DATABASE_POOL_SIZE = tostring(each.value.pool_size)
              # A new instance has no network for up to 80 s; a job waits twice this long for a connection.
              # https://docs.cloud.google.com/run/docs/configuring/vpc-direct-vpc
              DATABASE_URL = "${local.database_urls[each.value.account]}&connect_timeout=60"
            },
          )
          content {
            name  = env.key
            value = env.value
          }
        }
      }
    }
  }

  depends_on = [
    google_compute_firewall.to_database,
    google_kms_crypto_key_iam_member.agent,
    google_sql_database.this,
    google_sql_user.account,
    time_sleep.grants,
  ]
}

resource "google_cloud_scheduler_job" "maintenance" {
  for_each = { sweep = var.schedules.sweep, reconcile = var.schedules.reconcile }

  project          = var.project_id
  name             = "${local.prefix}-${each.key}"
  region           = var.region
  schedule         = each.value
  time_zone        = "Etc/UTC"
  paused           = var.schedules.paused
  attempt_deadline = "60s"

  retry_config {
    retry_count = 2
  }

  http_target {
    http_method = "POST"
    uri         = "https://run.googleapis.com/v2/${google_cloud_run_v2_job.job[each.key].id}:run"

    oauth_token {
      service_account_email = google_service_account.this["scheduler"].email
      scope                 = "https://www.googleapis.com/auth/cloud-platform"
    }
  }
}

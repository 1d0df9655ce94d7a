locals {
  # Cloud SQL keeps some of max_connections for itself: superuser_reserved_connections is 3, and its agents
  # hold up to five. https://cloud.google.com/sql/docs/postgres/quotas#connections
  reserved_connections = 8
  service_connections  = sum([for service in local.services : service.max_instances * service.pool_size])
  job_connections      = sum([for job in local.jobs : job.pool_size])
  needed_connections   = local.service_connections + local.job_connections + local.reserved_connections

  database_flags = merge(
    {
      "cloudsql.iam_authentication" = "on"
      "max_connections"             = tostring(var.database.max_connections)
      # A question never runs this long; a session that sits in a transaction blocks the flip of a document.
      "idle_in_transaction_session_timeout" = "60000"
      "log_lock_waits"                      = "on"
      "log_temp_files"                      = "10240"
      "log_connections"                     = "on"
      "log_disconnections"                  = "on"
      "log_checkpoints"                     = "on"
      "log_min_duration_statement"          = "-1"
    },
    var.database.maintenance_work_mem_mb == null ? {} : {
      "maintenance_work_mem" = tostring(var.database.maintenance_work_mem_mb * 1024)
    },
  )

  # The accounts that log in to the database, and the group role of shared/migrations that each is granted.
  database_users = {
    ingest       = "kaydang_worker"
    embed-worker = "kaydang_worker"
    dead-letters = "kaydang_worker"
    maintenance  = "kaydang_worker"
    query        = "kaydang_query"
    migrate      = null
  }
  # The user's name is the account's e-mail without the last part.
  # https://cloud.google.com/sql/docs/postgres/add-manage-iam-users#creating-a-database-user
  database_user_names = {
    for account in keys(local.database_users) :
    account => trimsuffix(google_service_account.this[account].email, ".gserviceaccount.com")
  }
  # The socket is a volume; the password is an IAM token, which shared.store asks for (DATABASE_IAM_AUTH).
  database_urls = {
    for account, name in local.database_user_names :
    account => join("", [
      "postgresql://${urlencode(name)}@/${google_sql_database.this.name}",
      "?host=/cloudsql/${local.instance.connection_name}",
    ])
  }
}

locals {
  own_database = var.database.existing == null ? 1 : 0
  instance = local.own_database == 1 ? {
    project         = var.project_id
    name            = google_sql_database_instance.this[0].name
    connection_name = google_sql_database_instance.this[0].connection_name
    } : {
    project         = split(":", var.database.existing)[0]
    name            = split(":", var.database.existing)[2]
    connection_name = var.database.existing
  }
  # Known before the instance is made, for conditions and filters.
  instance_project = local.own_database == 1 ? var.project_id : split(":", var.database.existing)[0]
  instance_name    = local.own_database == 1 ? coalesce(var.database.instance_name, local.prefix) : split(":", var.database.existing)[2]
}

resource "google_sql_database_instance" "this" {
  count = local.own_database

  project             = var.project_id
  name                = local.instance_name
  region              = var.region
  database_version    = var.database.version
  deletion_protection = var.database.deletion_protection
  encryption_key_name = var.encryption.customer_managed ? google_kms_crypto_key.this[0].id : null

  settings {
    tier = var.database.tier
    # From PostgreSQL 16 the default is ENTERPRISE_PLUS, which has no shared-core or custom tier.
    # https://cloud.google.com/sql/docs/postgres/editions-intro
    edition                     = "ENTERPRISE"
    availability_type           = var.database.availability_type
    disk_type                   = "PD_SSD"
    disk_size                   = var.database.disk_gb
    disk_autoresize             = true
    disk_autoresize_limit       = var.database.disk_limit_gb
    deletion_protection_enabled = var.database.deletion_protection
    user_labels                 = local.labels

    ip_configuration {
      # No public address: Cloud Run's connector prefers it where there is one, and only without it takes
      # the private one. https://github.com/GoogleCloudPlatform/cloud-sql-proxy/issues/848
      ipv4_enabled    = false
      private_network = local.network_id
      ssl_mode        = "ENCRYPTED_ONLY"
      # The one that Cloud Run's connector accepts: https://cloud.google.com/sql/docs/postgres/connect-run
      server_ca_mode                                = "GOOGLE_MANAGED_INTERNAL_CA"
      enable_private_path_for_google_cloud_services = false
    }

    backup_configuration {
      enabled                        = true
      start_time                     = "01:00"
      location                       = coalesce(var.database.backup_location, var.region)
      point_in_time_recovery_enabled = var.database.point_in_time_recovery
      transaction_log_retention_days = var.database.point_in_time_recovery ? var.database.transaction_log_days : null

      backup_retention_settings {
        retained_backups = var.database.backups_kept
        retention_unit   = "COUNT"
      }
    }

    maintenance_window {
      day          = var.database.maintenance_day
      hour         = var.database.maintenance_hour
      update_track = "stable"
    }

    dynamic "insights_config" {
      for_each = var.database.query_insights ? [1] : []
      content {
        query_insights_enabled  = true
        query_string_length     = 2048
        record_application_tags = false
        record_client_address   = false
      }
    }

    dynamic "database_flags" {
      for_each = local.database_flags
      content {
        name  = database_flags.key
        value = database_flags.value
      }
    }
  }

  lifecycle {
    # The disk grows by itself.
    ignore_changes = [settings[0].disk_size]
  }

  depends_on = [google_service_networking_connection.services, google_kms_crypto_key_iam_member.agent]
}

resource "google_sql_database" "this" {
  project  = local.instance.project
  name     = local.prefix
  instance = local.instance.name
  # The instance takes it along; dropping it first fails while a session is open.
  deletion_policy = "ABANDON"

  lifecycle {
    precondition {
      condition     = local.needed_connections <= var.database.max_connections
      error_message = "The pools need ${local.needed_connections} connections (services ${local.service_connections}, jobs ${local.job_connections}, kept for Cloud SQL ${local.reserved_connections}) and database.max_connections is ${var.database.max_connections}: raise it, or lower max_instances or pool_size."
    }
  }
}

resource "google_sql_user" "account" {
  for_each = local.database_users

  project  = local.instance.project
  instance = local.instance.name
  name     = local.database_user_names[each.key]
  type     = "CLOUD_IAM_SERVICE_ACCOUNT"
  # Makes extensions and roles: https://cloud.google.com/sql/docs/postgres/users#cloudsqlsuperuser
  # The others get theirs from the migration job, which first makes the group roles.
  database_roles = each.key == "migrate" ? ["cloudsqlsuperuser"] : null
  # A user that owns a grant cannot be dropped; the instance takes it along.
  deletion_policy = "ABANDON"

  depends_on = [time_sleep.database]
}

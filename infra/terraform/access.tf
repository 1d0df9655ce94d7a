# Who may ask the query service, and under which name.
locals {
  balanced = var.query_access.domain != null ? 1 : 0
  # With this header a request goes to the revision tagged candidate: infra/deploy.sh asks it before others do.
  candidate = "candidate"
}

# iam: callers send an identity token of theirs.
# https://cloud.google.com/run/docs/authenticating/overview
resource "google_cloud_run_v2_service_iam_member" "caller" {
  for_each = toset(var.query_access.mode == "iam" ? var.query_access.principals : [])

  project  = var.project_id
  name     = google_cloud_run_v2_service.function["query"].name
  location = var.region
  role     = "roles/run.invoker"
  member   = each.value
}

# The account that infra/deploy.sh asks its question as: https://cloud.google.com/run/docs/authenticating/overview
resource "google_cloud_run_v2_service_iam_member" "smoke" {
  project  = var.project_id
  name     = google_cloud_run_v2_service.function["query"].name
  location = var.region
  role     = "roles/run.invoker"
  member   = google_service_account.this["smoke"].member
}

# iap: people sign in with Google, and Identity-Aware Proxy calls the service for them.
# https://cloud.google.com/run/docs/securing/identity-aware-proxy-cloud-run
resource "google_cloud_run_v2_service_iam_member" "iap_agent" {
  count = var.query_access.mode == "iap" ? 1 : 0

  project  = var.project_id
  name     = google_cloud_run_v2_service.function["query"].name
  location = var.region
  role     = "roles/run.invoker"
  member   = google_project_service_identity.agent["iap.googleapis.com"].member

  depends_on = [time_sleep.agents]
}

# https://cloud.google.com/iap/docs/managing-access#roles
resource "google_iap_web_cloud_run_service_iam_member" "person" {
  for_each = var.query_access.mode != "iap" ? {} : merge(
    { for principal in var.query_access.principals : principal => principal },
    { smoke = google_service_account.this["smoke"].member },
  )

  project                = var.project_id
  location               = var.region
  cloud_run_service_name = google_cloud_run_v2_service.function["query"].name
  role                   = "roles/iap.httpsResourceAccessor"
  member                 = each.value
}

# A domain of your own, with a certificate and a limit an address, in every mode. In mode iap Cloud Run itself asks
# Identity-Aware Proxy, on this way too; in mode public the service takes unsigned requests (services.tf).
# https://cloud.google.com/load-balancing/docs/https/setup-global-ext-https-serverless
resource "google_compute_global_address" "query" {
  count = local.balanced

  project = var.project_id
  labels  = local.labels
  name    = "${local.prefix}-query"

  depends_on = [time_sleep.apis]
}

resource "google_compute_region_network_endpoint_group" "query" {
  count = local.balanced

  project               = var.project_id
  name                  = "${local.prefix}-query"
  region                = var.region
  network_endpoint_type = "SERVERLESS"
  cloud_run {
    service = google_cloud_run_v2_service.function["query"].name
  }
}

resource "google_compute_region_network_endpoint_group" "candidate" {
  count = local.balanced

  project               = var.project_id
  name                  = "${local.prefix}-query-candidate"
  region                = var.region
  network_endpoint_type = "SERVERLESS"
  cloud_run {
    service = google_cloud_run_v2_service.function["query"].name
    tag     = local.candidate
  }
}

resource "google_compute_security_policy" "query" {
  count = local.balanced

  project     = var.project_id
  labels      = local.labels
  name        = "${local.prefix}-query"
  description = "Limits how often one address may ask"

  rule {
    priority    = 1000
    action      = "throttle"
    description = "requests a minute from one address"
    match {
      versioned_expr = "SRC_IPS_V1"
      config {
        src_ip_ranges = ["*"]
      }
    }
    rate_limit_options {
      conform_action = "allow"
      exceed_action  = "deny(429)"
      enforce_on_key = "IP"
      rate_limit_threshold {
        count        = var.query_access.requests_per_minute
        interval_sec = 60
      }
    }
  }

  # A policy must have this last rule; the throttle before it matches every request.
  rule {
    priority    = 2147483647
    action      = "deny(403)"
    description = "default"
    match {
      versioned_expr = "SRC_IPS_V1"
      config {
        src_ip_ranges = ["*"]
      }
    }
  }

  # What Log4j's hole looks like in a header or a question.
  # https://cloud.google.com/armor/docs/waf-rules#cves_and_other_vulnerabilities
  rule {
    priority    = 900
    action      = "deny(403)"
    description = "CVE-2021-44228 and its kin"
    match {
      expr {
        expression = "evaluatePreconfiguredWaf('cve-canary', {'sensitivity': 1})"
      }
    }
  }
}

resource "google_compute_backend_service" "query" {
  count = local.balanced

  project               = var.project_id
  name                  = "${local.prefix}-query"
  load_balancing_scheme = "EXTERNAL_MANAGED"
  protocol              = "HTTPS"
  security_policy       = google_compute_security_policy.query[0].id

  backend {
    group = google_compute_region_network_endpoint_group.query[0].id
  }

  log_config {
    enable      = true
    sample_rate = 0.1
  }
}

resource "google_compute_backend_service" "candidate" {
  count = local.balanced

  project               = var.project_id
  name                  = "${local.prefix}-query-candidate"
  load_balancing_scheme = "EXTERNAL_MANAGED"
  protocol              = "HTTPS"
  security_policy       = google_compute_security_policy.query[0].id

  backend {
    group = google_compute_region_network_endpoint_group.candidate[0].id
  }

  log_config {
    enable      = true
    sample_rate = 0.1
  }
}

resource "google_compute_managed_ssl_certificate" "query" {
  count = local.balanced

  project = var.project_id
  name    = "kaydang-query-${substr(sha256(var.query_access.domain), 0, 8)}"
  managed {
    domains = [var.query_access.domain]
  }

  lifecycle {
    # The proxy uses the old one until it has the new one.
    create_before_destroy = true
  }

  depends_on = [time_sleep.apis]
}

resource "google_compute_url_map" "query" {
  count = local.balanced

  project         = var.project_id
  name            = "${local.prefix}-query"
  default_service = google_compute_backend_service.query[0].id

  host_rule {
    hosts        = [var.query_access.domain]
    path_matcher = "revisions"
  }
  path_matcher {
    name            = "revisions"
    default_service = google_compute_backend_service.query[0].id
    route_rules {
      priority = 1
      service  = google_compute_backend_service.candidate[0].id
      match_rules {
        prefix_match = "/"
        header_matches {
          header_name = "x-kaydang-revision"
          exact_match = local.candidate
        }
      }
    }
  }
}

resource "google_compute_target_https_proxy" "query" {
  count = local.balanced

  project          = var.project_id
  name             = "${local.prefix}-query"
  url_map          = google_compute_url_map.query[0].id
  ssl_certificates = [google_compute_managed_ssl_certificate.query[0].id]
}

resource "google_compute_global_forwarding_rule" "query" {
  count = local.balanced

  project               = var.project_id
  name                  = "${local.prefix}-query"
  load_balancing_scheme = "EXTERNAL_MANAGED"
  ip_address            = google_compute_global_address.query[0].id
  port_range            = "443"
  target                = google_compute_target_https_proxy.query[0].id
  labels                = local.labels
}

resource "google_compute_url_map" "to_https" {
  count = local.balanced

  project = var.project_id
  name    = "${local.prefix}-to-https"
  default_url_redirect {
    https_redirect         = true
    redirect_response_code = "MOVED_PERMANENTLY_DEFAULT"
    strip_query            = false
  }
}

resource "google_compute_target_http_proxy" "to_https" {
  count = local.balanced

  project = var.project_id
  name    = "${local.prefix}-to-https"
  url_map = google_compute_url_map.to_https[0].id
}

resource "google_compute_global_forwarding_rule" "to_https" {
  count = local.balanced

  project               = var.project_id
  name                  = "${local.prefix}-to-https"
  load_balancing_scheme = "EXTERNAL_MANAGED"
  ip_address            = google_compute_global_address.query[0].id
  port_range            = "80"
  target                = google_compute_target_http_proxy.to_https[0].id
  labels                = local.labels
}

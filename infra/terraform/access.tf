# Who may ask the query service: query_access.mode is iam, iap or public.
locals {
  public = var.query_access.mode == "public" ? 1 : 0
}

# iam: callers send an identity token of theirs.
# https://cloud.google.com/run/docs/authenticating/overview
resource "google_cloud_run_v2_service_iam_member" "caller" {
  for_each = toset(var.query_access.mode == "iam" ? var.query_access.principals : [])

  name     = google_cloud_run_v2_service.function["query"].name
  location = var.region
  role     = "roles/run.invoker"
  member   = each.value
}

# iap: people sign in with Google, and Identity-Aware Proxy calls the service for them.
# https://cloud.google.com/run/docs/securing/identity-aware-proxy-cloud-run
resource "google_cloud_run_v2_service_iam_member" "iap_agent" {
  count = var.query_access.mode == "iap" ? 1 : 0

  name     = google_cloud_run_v2_service.function["query"].name
  location = var.region
  role     = "roles/run.invoker"
  member   = google_project_service_identity.agent["iap.googleapis.com"].member
}

# https://cloud.google.com/iap/docs/managing-access#roles
resource "google_iap_web_cloud_run_service_iam_member" "person" {
  for_each = toset(var.query_access.mode == "iap" ? var.query_access.principals : [])

  location               = var.region
  cloud_run_service_name = google_cloud_run_v2_service.function["query"].name
  role                   = "roles/iap.httpsResourceAccessor"
  member                 = each.value
}

# public: a load balancer signs no request, so the service must take unsigned ones; its ingress lets only
# the load balancer in. https://cloud.google.com/load-balancing/docs/https/setup-global-ext-https-serverless
resource "google_cloud_run_v2_service_iam_member" "everyone" {
  count = local.public * (var.allow_public_query ? 1 : 0)

  name     = google_cloud_run_v2_service.function["query"].name
  location = var.region
  role     = "roles/run.invoker"
  member   = "allUsers"
}

resource "google_compute_global_address" "query" {
  count = local.public
  name  = "kaydang-query"

  depends_on = [google_project_service.api]
}

resource "google_compute_region_network_endpoint_group" "query" {
  count = local.public

  name                  = "kaydang-query"
  region                = var.region
  network_endpoint_type = "SERVERLESS"
  cloud_run {
    service = google_cloud_run_v2_service.function["query"].name
  }
}

resource "google_compute_security_policy" "query" {
  count = local.public

  name        = "kaydang-query"
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
  count = local.public

  name                  = "kaydang-query"
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

resource "google_compute_managed_ssl_certificate" "query" {
  count = local.public

  name = "kaydang-query-${substr(sha256(var.query_access.domain), 0, 8)}"
  managed {
    domains = [var.query_access.domain]
  }

  lifecycle {
    # The proxy uses the old one until it has the new one.
    create_before_destroy = true
  }

  depends_on = [google_project_service.api]
}

resource "google_compute_url_map" "query" {
  count = local.public

  name            = "kaydang-query"
  default_service = google_compute_backend_service.query[0].id
}

resource "google_compute_target_https_proxy" "query" {
  count = local.public

  name             = "kaydang-query"
  url_map          = google_compute_url_map.query[0].id
  ssl_certificates = [google_compute_managed_ssl_certificate.query[0].id]
}

resource "google_compute_global_forwarding_rule" "query" {
  count = local.public

  name                  = "kaydang-query"
  load_balancing_scheme = "EXTERNAL_MANAGED"
  ip_address            = google_compute_global_address.query[0].id
  port_range            = "443"
  target                = google_compute_target_https_proxy.query[0].id
  labels                = local.labels
}

resource "google_compute_url_map" "to_https" {
  count = local.public

  name = "kaydang-to-https"
  default_url_redirect {
    https_redirect         = true
    redirect_response_code = "MOVED_PERMANENTLY_DEFAULT"
    strip_query            = false
  }
}

resource "google_compute_target_http_proxy" "to_https" {
  count = local.public

  name    = "kaydang-to-https"
  url_map = google_compute_url_map.to_https[0].id
}

resource "google_compute_global_forwarding_rule" "to_https" {
  count = local.public

  name                  = "kaydang-to-https"
  load_balancing_scheme = "EXTERNAL_MANAGED"
  ip_address            = google_compute_global_address.query[0].id
  port_range            = "80"
  target                = google_compute_target_http_proxy.to_https[0].id
  labels                = local.labels
}

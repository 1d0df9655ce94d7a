variable "project_id" {
  type        = string
  description = "The Google Cloud project."

  validation {
    condition     = can(regex("^[a-z][a-z0-9-]{4,28}[a-z0-9]$", var.project_id))
    error_message = "project_id is 6 to 30 lower-case letters, digits and hyphens (the id, not the number or the name)."
  }
}

variable "region" {
  type        = string
  description = "Where the functions, the database and, unless bucket.location says otherwise, the documents live."
  default     = "europe-west1"

  validation {
    condition     = can(regex("^[a-z]+-[a-z]+[0-9]+$", var.region))
    error_message = "region is a region such as europe-west1, not a zone or a multi-region."
  }
}

variable "name_prefix" {
  type        = string
  description = "The first part of every resource name, so that a project can contain several deployments."
  default     = "kaydang"

  validation {
    condition     = can(regex("^[a-z][a-z0-9-]{1,13}[a-z0-9]$", var.name_prefix))
    error_message = "name_prefix is 3 to 15 lower-case letters, digits and hyphens: a service account's name has 30 at most."
  }
}

variable "quota" {
  type = object({
    vcpus_per_service      = optional(number, 20)
    memory_gib_per_service = optional(number, 40)
  })
  description = "The limits that the project's quota sets for one Cloud Run service; the defaults are those of a new project."
  default     = {}

  validation {
    condition     = var.quota.vcpus_per_service >= 1 && var.quota.memory_gib_per_service >= 1
    error_message = "quota has whole numbers of vCPU and GiB."
  }
}

variable "labels" {
  type        = map(string)
  description = "Labels for every resource that takes them, in addition to app and managed-by."
  default     = {}

  validation {
    condition = alltrue([
      for key, value in var.labels :
      can(regex("^[a-z][a-z0-9_-]{0,62}$", key)) && can(regex("^[a-z0-9_-]{0,63}$", value))
    ])
    error_message = "Label keys start with a letter; keys and values are at most 63 lower-case letters, digits, _ and -."
  }
}

variable "images" {
  type = object({
    ingest       = string
    embed_worker = string
    query        = string
  })
  description = "The images of the three functions, each by digest (infra/deploy.sh fills this in)."

  validation {
    condition     = alltrue([for image in values(var.images) : can(regex("@sha256:[0-9a-f]{64}$", image))])
    error_message = "Each image is named by digest (...@sha256:...): a tag can change under a running revision."
  }
}

variable "bucket" {
  type = object({
    name                   = optional(string)
    location               = optional(string)
    noncurrent_days        = optional(number, 30)
    soft_delete_days       = optional(number, 7)
    delete_with_deployment = optional(bool, false)
    writers                = optional(list(string), [])
    request_log_bucket     = optional(string)
  })
  description = <<-EOT
    The documents bucket. name: PROJECT-PREFIX-documents unless given. location: the region unless given; a
    dual- or multi-region must contain the region. noncurrent_days: how long a replaced or deleted
    generation is kept. soft_delete_days: 0 or 7 to 90. delete_with_deployment: `terraform destroy`
    deletes the documents too. writers: principals that may add, read and delete documents.
    request_log_bucket: bucket for usage logs.
  EOT
  default     = {}

  validation {
    condition     = var.bucket.soft_delete_days == 0 || (var.bucket.soft_delete_days >= 7 && var.bucket.soft_delete_days <= 90)
    error_message = "bucket.soft_delete_days is 0 (off) or 7 to 90: https://cloud.google.com/storage/docs/soft-delete."
  }

  validation {
    condition     = var.bucket.noncurrent_days >= 1 && floor(var.bucket.noncurrent_days) == var.bucket.noncurrent_days
    error_message = "bucket.noncurrent_days is a whole number of days, 1 or more."
  }

  validation {
    condition = alltrue([
      for writer in var.bucket.writers : can(regex("^(user|group|serviceAccount|principal|principalSet|domain):.+", writer))
    ])
    error_message = "bucket.writers are principals such as user:ada@example.com; allUsers and allAuthenticatedUsers are refused."
  }
}

variable "database" {
  type = object({
    existing                = optional(string)
    instance_name           = optional(string)
    version                 = optional(string, "POSTGRES_18")
    tier                    = optional(string, "db-custom-2-7680")
    availability_type       = optional(string, "REGIONAL")
    disk_gb                 = optional(number, 20)
    disk_limit_gb           = optional(number, 500)
    max_connections         = optional(number, 100)
    point_in_time_recovery  = optional(bool, true)
    transaction_log_days    = optional(number, 7)
    backups_kept            = optional(number, 14)
    backup_location         = optional(string)
    maintenance_day         = optional(number, 7)
    maintenance_hour        = optional(number, 3)
    deletion_protection     = optional(bool, true)
    query_insights          = optional(bool, true)
    maintenance_work_mem_mb = optional(number)
  })
  description = <<-EOT
    Cloud SQL for PostgreSQL, edition ENTERPRISE. existing: the connection name PROJECT:REGION:INSTANCE of an
    existing instance, with a private address in the network, the flag cloudsql.iam_authentication and the
    max_connections given here; then only a database and users are created in it. instance_name: name_prefix
    unless given; a deleted instance's name is taken for a week. backup_location: the region unless given; a
    multi-region such as eu keeps the backups when the region is lost. tier: db-f1-micro, db-g1-small or db-custom-CPUS-MB.
    max_connections is set as a flag, so that the sum of all pools can be checked against it.
    maintenance_work_mem_mb: memory for building an HNSW index.
  EOT
  default     = {}

  validation {
    condition     = var.database.existing == null || can(regex("^[a-z0-9.:-]+:[a-z0-9-]+:[a-z0-9-]+$", var.database.existing))
    error_message = "database.existing is a connection name, PROJECT:REGION:INSTANCE."
  }

  validation {
    condition     = var.database.instance_name == null || can(regex("^[a-z][a-z0-9-]{0,60}[a-z0-9]$", var.database.instance_name))
    error_message = "database.instance_name is lower-case letters, digits and hyphens and starts with a letter."
  }

  validation {
    condition     = contains(["POSTGRES_16", "POSTGRES_17", "POSTGRES_18"], var.database.version)
    error_message = "database.version is POSTGRES_16, POSTGRES_17 or POSTGRES_18: the query needs pgvector 0.8."
  }

  validation {
    condition     = can(regex("^db-(f1-micro|g1-small|custom-[0-9]+-[0-9]+)$", var.database.tier))
    error_message = "database.tier is db-f1-micro, db-g1-small or db-custom-CPUS-MB (edition ENTERPRISE)."
  }

  validation {
    condition     = contains(["ZONAL", "REGIONAL"], var.database.availability_type)
    error_message = "database.availability_type is ZONAL or REGIONAL."
  }

  validation {
    condition     = !(var.database.availability_type == "REGIONAL" && can(regex("^db-(f1-micro|g1-small)$", var.database.tier)))
    error_message = "A shared-core tier is not covered by the Cloud SQL SLA: use db-custom-... with REGIONAL, or ZONAL."
  }

  validation {
    condition     = var.database.max_connections >= 20 && var.database.max_connections <= 1000
    error_message = "database.max_connections is 20 to 1000."
  }

  validation {
    condition     = var.database.disk_gb >= 10 && var.database.disk_limit_gb >= var.database.disk_gb
    error_message = "database.disk_gb is 10 or more and database.disk_limit_gb not below it."
  }

  validation {
    condition     = var.database.transaction_log_days >= 1 && var.database.transaction_log_days <= 7
    error_message = "database.transaction_log_days is 1 to 7 in edition ENTERPRISE."
  }

  validation {
    condition     = var.database.backups_kept >= 1 && var.database.backups_kept <= 365
    error_message = "database.backups_kept is 1 to 365."
  }

  validation {
    condition = (var.database.maintenance_day >= 1 && var.database.maintenance_day <= 7
    && var.database.maintenance_hour >= 0 && var.database.maintenance_hour <= 23)
    error_message = "database.maintenance_day is 1 (Monday) to 7, database.maintenance_hour 0 to 23 (UTC)."
  }
}

variable "services" {
  type = map(object({
    cpu             = optional(string)
    memory          = optional(string)
    concurrency     = optional(number)
    min_instances   = optional(number)
    max_instances   = optional(number)
    pool_size       = optional(number)
    timeout_seconds = optional(number)
  }))
  description = "Overrides for ingest, embed-worker, dead-letters and query; anything left out stays as in services.tf."
  default     = {}

  validation {
    condition     = length(setsubtract(keys(var.services), ["ingest", "embed-worker", "dead-letters", "query"])) == 0
    error_message = "services has the keys ingest, embed-worker, dead-letters and query only."
  }

  validation {
    condition = alltrue([
      for service in values(var.services) : service.concurrency == null ? true : service.concurrency >= 1 && service.concurrency <= 80
    ])
    error_message = "concurrency is 1 to 80: each request in flight holds a thread."
  }

  validation {
    condition = alltrue([
      for service in values(var.services) : service.pool_size == null ? true : service.pool_size >= 1 && service.pool_size <= 20
    ])
    error_message = "pool_size is 1 to 20 connections an instance."
  }

  validation {
    condition = alltrue([
      for service in values(var.services) : service.memory == null ? true : can(regex("^[0-9]+(Mi|Gi)$", service.memory))
    ])
    error_message = "memory is a number of Mi or Gi, such as 2Gi."
  }

  validation {
    condition = alltrue([
      for service in values(var.services) : service.cpu == null ? true : contains(["1", "2", "4", "8"], service.cpu)
    ])
    error_message = "cpu is 1, 2, 4 or 8: https://cloud.google.com/run/docs/configuring/services/cpu."
  }

  validation {
    condition = alltrue([
      for service in values(var.services) :
      service.timeout_seconds == null ? true : service.timeout_seconds >= 10 && service.timeout_seconds <= 600
    ])
    error_message = "timeout_seconds is 10 to 600: a push is redelivered after the ack deadline of 600 s."
  }
}

variable "settings" {
  type        = map(string)
  description = "Settings of the functions by their names in .env.example, such as { MAX_FILE_BYTES = \"134217728\" }."
  default     = {}

  validation {
    condition = length(setsubtract(keys(var.settings), [
      "MAX_FILE_BYTES", "MAX_PAGES", "MAX_DECOMPRESSED_BYTES", "PARSE_TIMEOUT_SECONDS", "PARSE_MEMORY_BYTES",
      "OCR_PAGE_BUDGET", "FIGURE_BUDGET", "FIGURE_BUDGET_BYTES", "FIGURE_BUDGET_TOKENS", "RATE_LIMIT_PER_MINUTE", "LOG_LEVEL", "GEMINI_TIMEOUT_SECONDS", "GEMINI_MAX_OUTPUT_TOKENS",
      "GEMINI_THINKING_BUDGET", "GEMINI_THINKING_LEVEL", "ANSWER_CACHE_SECONDS", "MAX_CONCURRENT_REQUESTS",
      "CHUNKS_PER_JOB", "LEASE_SECONDS", "DATABASE_ANSWER_TIMEOUT_SECONDS", "KEEP_QUESTIONS", "KEEP_QUESTIONS_DAYS",
      "AUDIT_LOG",
    ])) == 0
    error_message = "settings names a variable that no function reads, or that Terraform sets itself."
  }

  validation {
    condition     = alltrue([for name, value in var.settings : name == "LOG_LEVEL" ? contains(["DEBUG", "INFO", "WARNING", "ERROR"], value) : name == "GEMINI_THINKING_LEVEL" ? contains(["minimal", "low", "medium", "high"], value) : name == "KEEP_QUESTIONS" ? contains(["none", "unanswered", "all"], value) : name == "AUDIT_LOG" ? contains(["true", "false"], value) : can(regex("^[0-9]+$", value))])
    error_message = "Every setting is a whole number, but LOG_LEVEL (DEBUG, INFO, WARNING, ERROR), GEMINI_THINKING_LEVEL (minimal, low, medium, high), KEEP_QUESTIONS (none, unanswered, all) and AUDIT_LOG (true, false)."
  }
}

variable "embedding_model_name" {
  type        = string
  description = "The model in the images (build argument EMBEDDING_MODEL_NAME). It is compared with the database at start."
  default     = "sentence-transformers/all-MiniLM-L6-v2"

  validation {
    condition     = can(regex("^[A-Za-z0-9._-]+/[A-Za-z0-9._-]+$", var.embedding_model_name))
    error_message = "embedding_model_name is OWNER/MODEL."
  }
}

# The order of passages by a model that reads question and passage together.
variable "reranker" {
  type        = string
  description = "none, vertex (Vertex AI's ranking API), vertex:MODEL, or the folder of a cross-encoder in the query function's image."
  default     = "none"

  validation {
    condition     = can(regex("^(none|vertex(:[a-z0-9@.-]+)?|/[A-Za-z0-9._/-]+)$", var.reranker))
    error_message = "reranker is none, vertex, vertex:MODEL or an absolute path."
  }
}

variable "gemini" {
  type = object({
    access             = optional(string, "vertex")
    model              = optional(string, "gemini-3.5-flash-lite")
    location           = optional(string, "global")
    key_version        = optional(string, "latest")
    daily_token_budget = optional(number, 0)
  })
  description = <<-EOT
    How answers are written. access: vertex (Vertex AI by the query's service account, no key), key (an
    API key in the secret PREFIX-gemini-api-key, which must have a version first) or off (answers are extracts).
    model: retires within about a year; infra/deploy.sh checks that it answers before it changes anything.
    location: where Vertex AI processes questions and passages. global may be any location of Google, without a
    promise of residency; eu, us or a region keeps them there, where the model is offered
    (https://docs.cloud.google.com/gemini-enterprise-agent-platform/resources/data-residency).
    key_version: latest is read when an instance starts; a number pins it. daily_token_budget: 0 is none.
  EOT
  default     = {}

  validation {
    condition     = contains(["vertex", "key", "off"], var.gemini.access)
    error_message = "gemini.access is vertex, key or off."
  }

  validation {
    condition     = can(regex("^[a-z0-9][a-z0-9.-]+$", var.gemini.model))
    error_message = "gemini.model is a model's id, such as gemini-3.5-flash-lite."
  }

  validation {
    condition     = can(regex("^(global|eu|us|[a-z]+-[a-z]+[0-9]+)$", var.gemini.location))
    error_message = "gemini.location is global, eu, us or a region."
  }

  validation {
    condition     = can(regex("^(latest|[1-9][0-9]*)$", var.gemini.key_version))
    error_message = "gemini.key_version is latest or a version number."
  }

  validation {
    condition     = var.gemini.daily_token_budget >= 0
    error_message = "gemini.daily_token_budget is 0 (none) or a number of tokens."
  }
}

variable "query_access" {
  type = object({
    mode                 = optional(string, "iam")
    principals           = optional(list(string), [])
    domain               = optional(string)
    ingress              = optional(string)
    requests_per_minute  = optional(number, 60)
    api_key_digests      = optional(list(string), [])
    cors_allowed_origins = optional(list(string), [])
    uploads              = optional(bool, false)
    metrics              = optional(bool, false)
    identify_callers     = optional(bool, false)
    callers              = optional(list(string), [])
  })
  description = <<-EOT
    Who may ask. mode iam: callers send an identity token, and principals get roles/run.invoker. mode iap:
    people of principals sign in with Google in the browser. mode public: everyone; needs domain and
    allow_public_query. domain: in every mode, a load balancer with a certificate for this name and Cloud Armor
    (requests_per_minute for each address). ingress: all, internal or internal-and-load-balancing; all unless given,
    and internal-and-load-balancing with a domain. api_key_digests: sha256, hex.
    uploads: callers may also add and delete documents, on the page. metrics: callers may read GET /metrics.
    identify_callers: the service reads the identity token of the caller, so that closed collections can be granted
    to people and accounts (docs/access.md). callers: only these may ask, such as email:a@example.com.
  EOT
  default     = {}

  validation {
    condition     = contains(["iam", "iap", "public"], var.query_access.mode)
    error_message = "query_access.mode is iam, iap or public."
  }

  validation {
    condition = alltrue([
      for principal in var.query_access.principals :
      can(regex("^(user|group|serviceAccount|principal|principalSet|domain):.+", principal))
    ])
    error_message = "query_access.principals are such as group:team@example.com; for the whole world set mode public and allow_public_query."
  }

  validation {
    condition     = var.query_access.domain == null ? var.query_access.mode != "public" : can(regex("^([a-z0-9-]+\\.)+[a-z]{2,}$", var.query_access.domain))
    error_message = "query_access.domain is a name such as ask.example.com, the one the certificate is for; mode public needs it."
  }

  validation {
    condition     = var.query_access.ingress == null ? true : contains(["all", "internal", "internal-and-load-balancing"], var.query_access.ingress)
    error_message = "query_access.ingress is all, internal or internal-and-load-balancing."
  }

  validation {
    condition     = !(var.query_access.mode == "public" && var.query_access.ingress == "all")
    error_message = "query_access.mode public takes unsigned requests: with ingress all they would come round the load balancer and its limits."
  }

  validation {
    condition     = var.query_access.mode != "public" || var.allow_public_query
    error_message = "query_access.mode public lets everyone ask at your cost: set allow_public_query = true as well."
  }

  validation {
    condition     = var.query_access.requests_per_minute >= 1 && var.query_access.requests_per_minute <= 10000
    error_message = "query_access.requests_per_minute is 1 to 10000."
  }

  validation {
    condition = alltrue([
      for digest in var.query_access.api_key_digests :
      can(regex("^([A-Za-z0-9][A-Za-z0-9._-]{0,62}=)?[0-9a-f]{64}$", digest))
    ])
    error_message = "query_access.api_key_digests are sha256 digests in hex (printf %s KEY | sha256sum), never the keys; with a name: NAME=DIGEST."
  }

  validation {
    condition     = !(var.query_access.mode == "public" && var.query_access.identify_callers && length(var.query_access.callers) == 0)
    error_message = "query_access.identify_callers in mode public admits every account that Google knows: set callers."
  }

  validation {
    condition = alltrue([
      for caller in var.query_access.callers : can(regex("^(email|domain|subject|key):[^,\\s]+$", caller))
    ])
    error_message = "query_access.callers are such as email:a@example.com or domain:example.com."
  }

  validation {
    condition     = !(var.query_access.mode == "public" && var.query_access.uploads && length(var.query_access.api_key_digests) == 0)
    error_message = "query_access.uploads in mode public lets everyone delete documents: set api_key_digests."
  }

  validation {
    condition     = !(var.query_access.mode == "public" && var.query_access.metrics && length(var.query_access.api_key_digests) == 0)
    error_message = "query_access.metrics in mode public shows everyone how much is asked: set api_key_digests."
  }

  validation {
    condition     = alltrue([for origin in var.query_access.cors_allowed_origins : can(regex("^https?://[^/*]+$", origin))])
    error_message = "query_access.cors_allowed_origins are origins such as https://app.example.com, without a path or *."
  }
}

variable "allow_public_query" {
  type        = bool
  description = "Confirms that everyone may call the query service, through the load balancer of query_access.mode public."
  default     = false
}

variable "document_events" {
  type        = bool
  description = "Whether there is a topic for events of documents (ready, failed, gone), for subscriptions of your own (docs/api.md)."
  default     = false
}

variable "tracing" {
  type = object({
    enabled      = optional(bool, false)
    sample_ratio = optional(number, 0.1)
  })
  description = "Whether the functions send traces to Cloud Trace, and for which share of requests and uploads."
  default     = {}

  validation {
    condition     = var.tracing.sample_ratio > 0 && var.tracing.sample_ratio <= 1
    error_message = "tracing.sample_ratio is above 0, and 1 for every trace."
  }
}

variable "schedules" {
  type = object({
    sweep     = optional(string, "*/10 * * * *")
    reconcile = optional(string, "30 2 * * *")
    paused    = optional(bool, false)
  })
  description = "Cron expressions (UTC): sweep resumes work that stopped half-way, reconcile compares the bucket with the database."
  default     = {}

  validation {
    condition     = alltrue([for cron in [var.schedules.sweep, var.schedules.reconcile] : length(split(" ", cron)) == 5])
    error_message = "A schedule is a cron expression of five fields."
  }
}

variable "max_delivery_attempts" {
  type        = number
  description = "Deliveries before a message becomes a dead letter. Each 429 of a full service counts as one, so a bulk load needs many; documents that fail by themselves are given up after MAX_ATTEMPTS."
  default     = 100

  validation {
    condition     = var.max_delivery_attempts >= 5 && var.max_delivery_attempts <= 100
    error_message = "max_delivery_attempts is 5 to 100: https://cloud.google.com/pubsub/docs/handling-failures."
  }
}

variable "network" {
  type = object({
    subnet_cidr   = optional(string, "10.10.0.0/24")
    services_cidr = optional(string, "10.20.0.0/20")
    flow_logs     = optional(bool, true)
    existing = optional(object({
      network    = string
      subnetwork = string
    }))
  })
  description = <<-EOT
    subnet_cidr: the functions' addresses. services_cidr: the database's range, at least a /24. existing: a
    network that already exists, by full names (projects/P/global/networks/N, projects/P/regions/R/subnetworks/S);
    it has private services access already, and its firewall lets the subnetwork reach the database on 3307 and
    5432. In a Shared VPC the host project grants roles/compute.networkUser on the subnetwork to the Cloud Run
    service agent, service-NUMBER@serverless-robot-prod.iam.gserviceaccount.com.
  EOT
  default     = {}

  validation {
    condition = (var.network.existing == null ? true
      : can(regex("^projects/[^/]+/global/networks/[^/]+$", var.network.existing.network))
    && can(regex("^projects/[^/]+/regions/[^/]+/subnetworks/[^/]+$", var.network.existing.subnetwork)))
    error_message = "network.existing has full names: projects/P/global/networks/N and projects/P/regions/R/subnetworks/S."
  }

  validation {
    condition     = can(cidrnetmask(var.network.subnet_cidr)) && try(tonumber(split("/", var.network.subnet_cidr)[1]) <= 26, false)
    error_message = "network.subnet_cidr is a range of /26 or larger: https://cloud.google.com/run/docs/configuring/vpc-direct-vpc."
  }

  validation {
    condition     = can(cidrnetmask(var.network.services_cidr)) && try(tonumber(split("/", var.network.services_cidr)[1]) <= 24, false)
    error_message = "network.services_cidr is a range of /24 or larger: https://cloud.google.com/sql/docs/postgres/configure-private-services-access."
  }
}

variable "alert_documentation_url" {
  type        = string
  description = "The page whose sections the alerts link to."
  default     = "docs/runbooks.md"

  validation {
    condition     = length(var.alert_documentation_url) > 0
    error_message = "alert_documentation_url is an address or a path."
  }
}

variable "encryption" {
  type = object({
    customer_managed = optional(bool, false)
    rotation_days    = optional(number, 90)
  })
  description = "customer_managed: a Cloud KMS key of this project encrypts bucket, database, topics and secret. Choose before the first apply: a database cannot change its key."
  default     = {}

  validation {
    condition     = var.encryption.rotation_days >= 1 && var.encryption.rotation_days <= 365
    error_message = "encryption.rotation_days is 1 to 365."
  }
}

variable "alerts" {
  type = object({
    emails                 = optional(list(string), [])
    channels               = optional(list(string), [])
    availability_goal      = optional(number, 0.995)
    silent_sweep_minutes   = optional(number, 60)
    oldest_message_minutes = optional(number, 30)
    query_latency_seconds  = optional(number, 10)
    generation_failures    = optional(number, 20)
    connection_ratio       = optional(number, 0.8)
    disk_ratio             = optional(number, 0.8)
  })
  description = <<-EOT
    Who is notified, and the thresholds. Without e-mails, alerts still show in the console. channels:
    existing notification channels (projects/P/notificationChannels/N), such as Slack or PagerDuty.
    availability_goal: the share of questions that must be answered without a 5xx over 28 days.
    silent_sweep_minutes: how long without a successful sweep raises an alert.
  EOT
  default     = {}

  validation {
    condition     = alltrue([for email in var.alerts.emails : can(regex("^[^@ ]+@[^@ ]+\\.[^@ ]+$", email))])
    error_message = "alerts.emails are e-mail addresses."
  }

  validation {
    condition     = alltrue([for channel in var.alerts.channels : can(regex("^projects/[^/]+/notificationChannels/[0-9]+$", channel))])
    error_message = "alerts.channels are names such as projects/my-project/notificationChannels/123 (gcloud beta monitoring channels list)."
  }

  validation {
    condition     = var.alerts.availability_goal >= 0.9 && var.alerts.availability_goal <= 0.9999
    error_message = "alerts.availability_goal is 0.9 to 0.9999."
  }

  validation {
    condition     = var.alerts.silent_sweep_minutes >= 30 && var.alerts.silent_sweep_minutes <= 1380
    error_message = "alerts.silent_sweep_minutes is 30 to 1380."
  }

  validation {
    condition     = var.alerts.generation_failures >= 0
    error_message = "alerts.generation_failures is how many answers of Gemini may fail in ten minutes."
  }

  validation {
    condition = alltrue([
      for ratio in [var.alerts.connection_ratio, var.alerts.disk_ratio] : ratio > 0 && ratio < 1
    ])
    error_message = "Ratios of alerts are between 0 and 1."
  }
}

variable "budget" {
  type = object({
    billing_account = string
    amount          = number
    currency        = optional(string)
  })
  description = "A monthly budget of this project with e-mails at 50, 90 and 100 % and at a forecast of 100 %, in the billing account's currency unless currency is set. null: none."
  default     = null

  validation {
    condition     = var.budget == null ? true : can(regex("^[0-9A-F]{6}-[0-9A-F]{6}-[0-9A-F]{6}$", var.budget.billing_account))
    error_message = "budget.billing_account is XXXXXX-XXXXXX-XXXXXX (gcloud billing accounts list)."
  }

  validation {
    condition     = var.budget == null ? true : var.budget.amount >= 1 && floor(var.budget.amount) == var.budget.amount
    error_message = "budget.amount is a whole amount of the billing account's currency."
  }
}

variable "deletion_protection" {
  type        = bool
  description = "Refuse to destroy the services and jobs (the database has its own: database.deletion_protection)."
  default     = true
}

"""What every plan of infra/terraform keeps, whichever environment and provider version."""

from __future__ import annotations

import json
import re

import pytest

from infra.cost import ENVIRONMENTS
from tests.infra.conftest import ROOT, Plan

pytestmark = pytest.mark.slow

_SOURCES = {"kaydang-object-events-ingest", "kaydang-chunk-jobs-embed"}
_PROJECT_ROLES = {
    "roles/cloudsql.client",
    "roles/cloudsql.instanceUser",
    "roles/aiplatform.user",
    "roles/telemetry.tracesWriter",
}


# Every function may have it, where traces are asked for: it reads nothing.
_TRACES = {"roles/telemetry.tracesWriter"}

_RUNBOOKS = (ROOT / "docs/runbooks.md").read_text()


def _anchor(heading: str) -> str:
    """https://github.com/gjtorikian/html-pipeline: how a heading becomes the end of an address."""
    return re.sub(r"[^\w -]", "", heading.lstrip("# ").lower()).replace(" ", "-")


def _environment(service: dict[str, object]) -> dict[str, str | None]:
    template = service["template"][0]  # type: ignore[index]
    container = template.get("containers") or template["template"][0]["containers"]
    return {variable["name"]: variable.get("value") for variable in container[0]["env"]}


def test_no_grant_is_public_unless_the_variable_says_so_by_name(plan: Plan) -> None:
    """Nothing is granted to everyone; mode public with its own variable opens the query alone."""
    public = [
        grant.address
        for grant in plan.grants
        if grant.after.get("member") in ("allUsers", "allAuthenticatedUsers")
    ]
    assert public == []
    open_services = [
        r.after["name"]
        for r in plan.of("google_cloud_run_v2_service")
        if r.after["invoker_iam_disabled"]
    ]
    assert open_services == (["kaydang-query"] if plan.name.startswith("public") else [])


def test_no_role_is_basic_or_administers(plan: Plan) -> None:
    """Nobody is owner, editor, viewer or administrator of anything."""
    roles = {grant.after["role"] for grant in plan.grants}
    assert [
        role
        for role in roles
        if role in ("roles/owner", "roles/editor", "roles/viewer") or role.lower().endswith("admin")
    ] == []


def test_roles_on_the_project_are_those_that_exist_nowhere_else(plan: Plan) -> None:
    """Every other role is granted on the one bucket, topic, secret, service or job."""
    granted = [r for r in plan.grants if r.type == "google_project_iam_member"]
    assert {grant.after["role"] for grant in granted} <= _PROJECT_ROLES
    for grant in granted:
        if grant.after["role"].startswith("roles/cloudsql."):
            assert "instances/kaydang'" in grant.after["condition"][0]["expression"]


def test_each_service_has_its_own_account_and_no_default_one(plan: Plan) -> None:
    """No two services share a service account, and none runs as the project's default."""
    accounts = [
        r.after["template"][0]["service_account"] for r in plan.of("google_cloud_run_v2_service")
    ]
    assert 4 == len(accounts) == len(set(accounts))
    assert all(
        re.fullmatch(r"kaydang-[a-z-]+@[a-z-]+\.iam\.gserviceaccount\.com", a) for a in accounts
    )


def test_query_can_neither_publish_nor_write_documents(plan: Plan) -> None:
    """The function that faces people holds the database, Gemini, and the originals to read."""
    roles = {
        grant.after["role"]
        for grant in plan.grants
        if "kaydang-query@" in (grant.after.get("member") or "")
    }
    assert roles <= _PROJECT_ROLES | {
        "roles/secretmanager.secretAccessor",
        "roles/storage.objectViewer",
    }


def test_the_cost_sheet_counts_the_conditions_of_the_alerts(plan: Plan) -> None:
    """Cloud Monitoring charges for each; the public mode adds what watches its address."""
    environment = plan.name.rpartition("-")[0]
    name = {"public": "production, public"}.get(environment, environment)
    conditions = [
        condition
        for policy in plan.of("google_monitoring_alert_policy")
        for condition in policy.after["conditions"]
    ]
    assert len(conditions) == ENVIRONMENTS[name].alert_conditions


def test_embed_worker_reaches_only_the_database(plan: Plan) -> None:
    """Its account has the two Cloud SQL roles and nothing else."""
    for account in ("kaydang-embed-worker@", "kaydang-dead-letters@", "kaydang-migrate@"):
        roles = {
            grant.after["role"]
            for grant in plan.grants
            if account in (grant.after.get("member") or "")
        }
        assert {"roles/cloudsql.client", "roles/cloudsql.instanceUser"} == roles - _TRACES


def test_every_push_is_signed_backs_off_and_never_expires(plan: Plan) -> None:
    """A subscription that expires or pushes unsigned loses messages."""
    pushes = [r for r in plan.of("google_pubsub_subscription") if r.after.get("push_config")]
    assert len(pushes) == 3
    for push in pushes:
        assert push.after["push_config"][0]["oidc_token"][0]["service_account_email"].startswith(
            "kaydang-push@"
        )
        assert push.after["ack_deadline_seconds"] == 600
        assert push.after["retry_policy"][0] == {
            "minimum_backoff": "10s",
            "maximum_backoff": "600s",
        }
    assert {""} == {
        r.after["expiration_policy"][0]["ttl"] for r in plan.of("google_pubsub_subscription")
    }


def test_every_source_has_a_dead_letter_topic_with_two_subscribers(plan: Plan) -> None:
    """What is given up is recorded, and kept for a month."""
    subscriptions = {r.after["name"]: r.after for r in plan.of("google_pubsub_subscription")}
    assert _SOURCES | {"kaydang-dead-letters-record", "kaydang-dead-letters-kept"} == set(
        subscriptions
    )
    for name in _SOURCES:
        assert subscriptions[name]["dead_letter_policy"][0]["max_delivery_attempts"] == 100
    assert not subscriptions["kaydang-dead-letters-record"]["dead_letter_policy"]
    assert subscriptions["kaydang-dead-letters-kept"]["message_retention_duration"] == "2678400s"


def test_pub_sub_may_forward_dead_letters(plan: Plan) -> None:
    """Without both grants a message is redelivered for ever instead of given up."""
    forwarding = {r.address for r in plan.grants if "forward_dead_letters" in r.address}
    assert {
        "google_pubsub_topic_iam_member.forward_dead_letters",
        'google_pubsub_subscription_iam_member.forward_dead_letters["object_events"]',
        'google_pubsub_subscription_iam_member.forward_dead_letters["chunk_jobs"]',
    } == forwarding


def test_the_bucket_is_private_versioned_and_tells_of_deletions(plan: Plan) -> None:
    """With versioning a deletion is OBJECT_ARCHIVE, which the notification must name."""
    (bucket,) = plan.of("google_storage_bucket")
    assert bucket.after["public_access_prevention"] == "enforced"
    assert bucket.after["uniform_bucket_level_access"]
    assert bucket.after["versioning"][0]["enabled"]
    assert not bucket.after["force_destroy"]
    (notification,) = plan.of("google_storage_notification")
    assert {"OBJECT_FINALIZE", "OBJECT_DELETE", "OBJECT_ARCHIVE"} <= set(
        notification.after["event_types"]
    )


def test_the_database_has_no_public_address_and_speaks_tls(plan: Plan) -> None:
    """Cloud Run's connector takes the private address only if there is no public one."""
    (instance,) = plan.of("google_sql_database_instance")
    settings = instance.after["settings"][0]
    network = settings["ip_configuration"][0]
    assert network["ipv4_enabled"] is False
    assert not network["authorized_networks"]
    assert network["ssl_mode"] == "ENCRYPTED_ONLY"
    assert settings["edition"] == "ENTERPRISE"
    assert settings["backup_configuration"][0]["enabled"]
    assert instance.after["deletion_protection"]
    assert settings["deletion_protection_enabled"]


def test_nobody_has_a_database_password(plan: Plan) -> None:
    """Every login is a service account's IAM token."""
    users = plan.of("google_sql_user")
    assert len(users) == 6
    for user in users:
        assert user.after["type"] == "CLOUD_IAM_SERVICE_ACCOUNT"
        assert not user.after.get("password")
        assert not user.after["name"].endswith(".gserviceaccount.com")
    owners = [user.after["name"] for user in users if user.after.get("database_roles")]
    assert [name.split("@")[0] for name in owners] == ["kaydang-migrate"]


def test_images_are_named_by_digest(plan: Plan) -> None:
    """A tag can change under a running revision."""
    images = [
        r.after["template"][0]["containers"][0]["image"]
        for r in plan.of("google_cloud_run_v2_service")
    ] + [
        r.after["template"][0]["template"][0]["containers"][0]["image"]
        for r in plan.of("google_cloud_run_v2_job")
    ]
    assert len(images) == 7
    assert all(re.search(r"@sha256:[0-9a-f]{64}$", image) for image in images)


def test_event_functions_are_internal_and_the_query_is_behind_its_balancer(plan: Plan) -> None:
    """Only the query has an address on the internet, and a public one only through the balancer."""
    ingress = {r.after["name"]: r.after["ingress"] for r in plan.of("google_cloud_run_v2_service")}
    query = ingress.pop("kaydang-query")
    assert {"INGRESS_TRAFFIC_INTERNAL_ONLY"} == set(ingress.values())
    assert (query == "INGRESS_TRAFFIC_INTERNAL_LOAD_BALANCER") == plan.name.startswith("public")


def test_requests_end_before_pub_sub_asks_again(plan: Plan) -> None:
    """A handler that outlives the ack deadline works twice on one message."""
    timeouts = [
        int(r.after["template"][0]["timeout"].removesuffix("s"))
        for r in plan.of("google_cloud_run_v2_service")
    ]
    assert max(timeouts) <= 600


def test_a_full_instance_has_threads_left_for_probes(plan: Plan) -> None:
    """Without them its liveness probe fails, and Cloud Run ends it with every answer in it."""
    for service in plan.of("google_cloud_run_v2_service"):
        concurrency = service.after["template"][0]["max_instance_request_concurrency"]
        assert concurrency + 8 <= int(_environment(service.after)["THREADS"] or 0)


def test_pools_fit_into_the_database(plan: Plan) -> None:
    """All instances at their maximum, the jobs and what Cloud SQL keeps stay below the limit."""
    (instance,) = plan.of("google_sql_database_instance")
    flags = {
        flag["name"]: flag["value"] for flag in instance.after["settings"][0]["database_flags"]
    }
    services = sum(
        r.after["scaling"][0]["max_instance_count"]
        * int(_environment(r.after)["DATABASE_POOL_SIZE"] or 0)
        for r in plan.of("google_cloud_run_v2_service")
    )
    jobs = sum(
        int(_environment(r.after)["DATABASE_POOL_SIZE"] or 0)
        for r in plan.of("google_cloud_run_v2_job")
    )
    assert services + jobs + 8 <= int(flags["max_connections"])


def test_no_secret_is_in_the_plan(plan: Plan) -> None:
    """The Gemini key is a reference to a secret version, and no version is made here."""
    assert plan.of("google_secret_manager_secret_version") == []
    text = json.dumps([r.after for r in plan.resources])
    assert not re.search(r"AIza[0-9A-Za-z_-]{10}|-----BEGIN|postgresql://[^:@/\"]+:[^@/\"]+@", text)


def test_every_alert_says_what_to_do(plan: Plan) -> None:
    """A policy without advice wakes somebody for nothing."""
    policies = plan.of("google_monitoring_alert_policy")
    assert len(policies) == (14 if plan.name.startswith("public") else 13)
    sections = {_anchor(line) for line in _RUNBOOKS.splitlines() if line.startswith("#")}
    for policy in policies:
        content = policy.after["documentation"][0]["content"]
        if content:
            assert content.rpartition("#")[2] in sections, content
    assert all(len(p.after["documentation"][0]["content"]) > 40 for p in policies)


def test_labels_are_on_everything_that_takes_them(plan: Plan) -> None:
    """A bill can be split by them."""
    for resource in plan.resources:
        if "effective_labels" in resource.after:
            assert resource.after["effective_labels"]["app"] == "kaydang", resource.address


def test_maintenance_runs_by_schedule_as_its_own_account(plan: Plan) -> None:
    """Sweep and reconcile are started by the scheduler's account, which may do nothing else."""
    jobs = {r.after["name"]: r.after for r in plan.of("google_cloud_scheduler_job")}
    assert {"kaydang-sweep", "kaydang-reconcile"} == set(jobs)
    grants = [r for r in plan.grants if "kaydang-scheduler@" in (r.after.get("member") or "")]
    assert {"google_cloud_run_v2_job_iam_member"} == {r.type for r in grants}


def test_a_customers_own_key_covers_all_that_is_kept(plans: dict[str, Plan]) -> None:
    """With encryption.customer_managed no store is left with Google's key."""
    plan = plans["public-8.7.0"]
    unknown = {r.address: r.unknown for r in plan.resources}
    assert unknown["google_sql_database_instance.this[0]"]["encryption_key_name"]
    assert unknown["google_storage_bucket.documents"]["encryption"]
    for topic in ("object_events", "chunk_jobs", "dead_letters"):
        assert unknown[f'google_pubsub_topic.this["{topic}"]']["kms_key_name"]
    for service in plan.of("google_cloud_run_v2_service"):
        assert service.unknown["template"][0]["encryption_key"]


def test_every_role_in_terraform_names_its_reason() -> None:
    """Each grant stands under a comment with the page that asks for the role."""
    for file in sorted((ROOT / "infra/terraform").glob("*.tf")):
        text = file.read_text()
        for match in re.finditer(r'^resource "(\w+_iam_member)" "(\w+)" \{', text, re.MULTILINE):
            before = text[: match.start()].rstrip().splitlines()
            comment = []
            while before and before[-1].startswith("#"):
                comment.append(before.pop())
            assert "https://" in " ".join(comment), f"{file.name}: {match[1]}.{match[2]}"


def test_every_variable_has_a_type_a_description_and_a_validation() -> None:
    """A wrong value is refused with a sentence, before Google is asked."""
    text = (ROOT / "infra/terraform/variables.tf").read_text()
    blocks = re.findall(r'^variable "(\w+)" \{\n(.*?)^\}', text, re.MULTILINE | re.DOTALL)
    assert blocks
    for name, block in blocks:
        assert re.search(r"^  type ", block, re.MULTILINE), name
        assert "description" in block, name
        assert "validation {" in block or re.search(r"type += bool", block), name

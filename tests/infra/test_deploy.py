"""infra/deploy.sh against stand-ins of gcloud, terraform and curl that record their calls."""

from __future__ import annotations

import json
import os
import re
import subprocess
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from tests.infra.conftest import ROOT

_DIGEST = "sha256:" + "a" * 64
_BEFORE = {
    name: f"registry/{name}@sha256:{'b' * 64}" for name in ("ingest", "embed_worker", "query")
}

# Each stand-in records its calls and fails where FAIL, a regular expression, matches one.
_GCLOUD = r"""#!/bin/sh
echo "gcloud $*" >> "$CALLS"
[ -z "$FAIL" ] || ! echo "gcloud $*" | grep -qE "$FAIL" || exit 1
case "$*" in
  *"images describe"*) echo "$DIGEST" ;;
  *"config get-value account"*) echo "${ACCOUNT:-ada@example.com}" ;;
  *"billing projects describe"*) echo "${BILLING:-True}" ;;
  *"get-iam-policy demo-proj"*) echo "${ROLE:-roles/owner}" ;;
  *"services list"*) echo "${ENABLED:-aiplatform.googleapis.com}" ;;
  *"org-policies describe $CONSTRAINT "*) echo "$POLICY" ;;
  *"quotas info describe Cpu"*) echo "$VCPUS" ;;
  *"quotas info describe Mem"*) echo "$MEMORY" ;;
  *print-identity-token* | *print-access-token*) echo token ;;
  *sign-jwt*) echo signed > "$5" ;;
  *latestReadyRevisionName*)
    grep -q "terraform .* apply " "$CALLS" && echo "$4-new" || echo "$4-old" ;;
  *"storage cp"*images.json*images.json)
    case "$*" in
      *"gs://"*" /"*) grep -q sha256 "$BEFORE" && cp "$BEFORE" "$5" ;;
      *) cp "$4" "$KEPT" ;;
    esac ;;
  *"logging read"*) yes 500 | head -n "${ERRORS:-0}" ;;
esac
"""
_TERRAFORM = r"""#!/bin/sh
echo "terraform $*" >> "$CALLS"
case "$*" in *" apply "*)
  if [ -n "$NOT_READY" ] && [ ! -e "$NOT_READY" ]; then
    : > "$NOT_READY"
    echo "Error 404: Cannot find metric(s) that match type"
    exit 1
  fi ;;
esac
[ -z "$FAIL" ] || ! echo "terraform $*" | grep -qE "$FAIL" || exit 1
case "$*" in
  *"output -raw query_mode"*) printf "${MODE:-iam}" ;;
  *"output -raw query_url"*) printf "https://${DOMAIN:-query.example}" ;;
  *"output -raw bucket"*) printf gs://documents ;;
  *"output -raw audience"*) printf demo-proj/kaydang-query ;;
  *"output -raw smoke_account"*) printf kaydang-smoke@demo-proj.iam.gserviceaccount.com ;;
  *"output -json deployment"*)
    printf '{"domain": "%s", "network": "kaydang"}' "$DOMAIN" ;;
  *"state list"*) echo "$STATE" ;;
esac
"""
# Answers with a verified citation of the object that was copied last, or with what ANSWER says.
_CURL = r"""#!/bin/sh
echo "curl $*" >> "$CALLS"
[ -z "$FAIL" ] || ! echo "curl $*" | grep -qE "$FAIL" || exit 1
case "$*" in *generateContent*) printf "${MODEL_STATUS:-200}"; exit 0 ;; esac
[ -z "$ANSWER" ] || { echo "$ANSWER"; exit 0; }
name=$(grep -o 'smoke-test/[a-z0-9]*.md' "$CALLS" | tail -1)
printf '{"grounded": true, "answer": "x", "citations": [{"name": "%s", "verified": true}]}' "$name"
"""
_STATE = """module.kaydangpt.google_cloud_run_v2_service.function["query"]
module.kaydangpt.google_kms_crypto_key.this[0]
module.kaydangpt.google_kms_crypto_key_iam_member.agent["storage"]
module.kaydangpt.google_kms_crypto_key_iam_member.agent["pubsub"]
module.kaydangpt.google_sql_database_instance.this[0]
module.kaydangpt.google_storage_bucket.documents"""
_NOTHING_FOUND = json.dumps({"grounded": False, "answer": "", "citations": []})


@dataclass(frozen=True, slots=True)
class Outcome:
    """What a run of the script did."""

    code: int
    calls: list[str]
    errors: str
    kept: dict[str, str] | None

    def matching(self, pattern: str) -> list[str]:
        """Return the calls that *pattern* is found in."""
        return [call for call in self.calls if re.search(pattern, call)]

    def in_order(self, *patterns: str) -> None:
        """Assert that a call matches each pattern, one after the other."""
        calls = iter(self.calls)
        for pattern in patterns:
            assert any(re.search(pattern, call) for call in calls), pattern

    def applies(self) -> list[str]:
        """Return the applies in their order."""
        return [call for call in self.calls if call.startswith("terraform") and " apply " in call]


def _deploy(
    folder: Path,
    *arguments: str,
    command: str = "",
    before: dict[str, str] | None = None,
    tfvars: str = "",
    **variables: str,
) -> Outcome:
    programs = folder / "bin"
    programs.mkdir()
    for name, text in (("gcloud", _GCLOUD), ("terraform", _TERRAFORM), ("curl", _CURL)):
        (programs / name).write_text(text)
        (programs / name).chmod(0o755)
    (folder / "before.json").write_text(json.dumps(before or {}))
    values = folder / "terraform.tfvars"
    values.write_text(tfvars)
    calls = folder / "calls"
    calls.touch()
    words = [command] if command else []
    done = subprocess.run(
        [ROOT / "infra/deploy.sh", *words, "demo-proj", "europe-west1", *arguments],
        env={
            "PATH": f"{programs}:{os.environ['PATH']}",
            "HOME": str(folder),
            "CALLS": str(calls),
            "BEFORE": str(folder / "before.json"),
            "KEPT": str(folder / "kept.json"),
            "DIGEST": _DIGEST,
            "ANSWER": "",
            "DOMAIN": "",
            "STATE": _STATE,
            "CONSTRAINT": "none",
            "POLICY": "",
            "VCPUS": "",
            "MEMORY": "",
            "FAIL": "",
            "NOT_READY": "",
            "SMOKE_SECONDS": "1",
            "CANARY_SECONDS": "0",
            "APPLY_WAIT_SECONDS": "0",
            "GRANT_WAIT_SECONDS": "0",
            "UNINSTALL_WAIT_SECONDS": "0",
            "TFVARS": os.path.relpath(values, ROOT),
            **variables,
        },
        capture_output=True,
        text=True,
        check=False,
    )
    kept = folder / "kept.json"
    return Outcome(
        done.returncode,
        calls.read_text().splitlines(),
        done.stdout + done.stderr,
        json.loads(kept.read_text()) if kept.exists() else None,
    )


def test_a_first_deployment(tmp_path: Path) -> None:
    """The model is asked, images are built, the schema migrated, all applied, a question asked."""
    outcome = _deploy(tmp_path)
    assert outcome.code == 0, outcome.errors
    outcome.in_order(
        "services enable",
        "generateContent",
        "builds submit",
        "-target=",
        "jobs execute kaydang-migrate",
        "storage cp --quiet .*smoke.md",
        "curl .*query.example/query",
        "storage cp --quiet .*images.json gs://",
    )
    job, everything = outcome.applies()
    assert "-target=" in job
    assert "-target=" not in everything
    assert outcome.kept is not None
    assert outcome.kept["query"].endswith(f"query@{_DIGEST}")
    assert not outcome.matching("update-traffic")


def test_the_build_has_an_account_and_a_bucket_of_its_own(tmp_path: Path) -> None:
    """A new project's default account may not build, and its default bucket is in the US."""
    (build,) = _deploy(tmp_path).matching("builds submit")
    assert "serviceAccounts/kaydang-build@demo-proj" in build
    assert "--gcs-source-staging-dir gs://demo-proj-kaydang-build/" in build


def test_an_upgrade_answers_before_it_gets_traffic(tmp_path: Path) -> None:
    """Traffic stays with the old revision until the tag has answered, then moves in steps."""
    outcome = _deploy(tmp_path, before=_BEFORE, CANARY="5,50")
    assert outcome.code == 0, outcome.errors
    outcome.in_order(
        "update-traffic kaydang-query .*kaydang-query-old=100",
        "jobs execute kaydang-migrate",
        "update-traffic kaydang-query .*--set-tags candidate=kaydang-query-new",
        "curl .*https://candidate---query.example/query",
        "kaydang-query-new=5,kaydang-query-old=95",
        "kaydang-query-new=50,kaydang-query-old=50",
        "update-traffic kaydang-query .*--to-latest",
    )


@pytest.mark.parametrize("mode", ["iap", "identified", "public", "iam"])
def test_a_question_is_asked_in_every_mode(tmp_path: Path, mode: str) -> None:
    """By the smoke account, in the way that the mode asks for."""
    domain = "ask.example" if mode == "public" else ""
    outcome = _deploy(tmp_path, before=_BEFORE, MODE=mode, DOMAIN=domain)
    assert outcome.code == 0, outcome.errors
    (question,) = outcome.matching("curl .*/query$")
    expected = {
        "iap": "Bearer signed",
        "identified": "X-Serverless-Authorization: Bearer token",
        "public": "X-Kaydang-Revision: candidate",
        "iam": "Authorization: Bearer token",
    }
    assert expected[mode] in question


@pytest.mark.parametrize(
    ("fail", "says"),
    [
        ("terraform .*-target=", "could not create the database"),
        ("jobs execute", "migration failed"),
        ("terraform .* apply .*images=[^}]*}$", "half-way"),
    ],
    ids=["job", "migration", "everything"],
)
def test_a_failure_on_the_way_gives_the_traffic_back(tmp_path: Path, fail: str, says: str) -> None:
    """The old revisions answer, and the images that are kept are theirs."""
    outcome = _deploy(tmp_path, before=_BEFORE, FAIL=fail)
    assert outcome.code == 1
    assert says in outcome.errors
    assert "kaydang-query-old=100" in outcome.matching("update-traffic kaydang-query")[-1]
    assert outcome.kept is None


def test_an_answer_without_the_citation_is_rolled_back(tmp_path: Path) -> None:
    """By traffic alone, at once, for every service."""
    outcome = _deploy(tmp_path, before=_BEFORE, ANSWER=_NOTHING_FOUND)
    assert outcome.code == 1
    assert "rolled back" in outcome.errors
    for service in ("ingest", "embed-worker", "dead-letters", "query"):
        last = outcome.matching(f"update-traffic kaydang-{service}")[-1]
        assert f"kaydang-{service}-old=100" in last


def test_a_canary_that_fails_questions_is_rolled_back(tmp_path: Path) -> None:
    """Errors of the new revision end the steps."""
    outcome = _deploy(tmp_path, before=_BEFORE, ERRORS="5")
    assert outcome.code == 1
    assert "at 10 %" in outcome.errors
    assert "kaydang-query-old=100" in outcome.matching("update-traffic kaydang-query")[-1]


_EVALUATE = r"""#!/bin/sh
echo "kaydangpt $*" >> "$CALLS"
case "$*" in
  evaluate*)
    while [ $# -gt 1 ]; do
      [ "$1" != --keep ] || { mkdir -p "$2"; echo "{}" > "$2/set.json"; }
      shift
    done
    exit "${WORSE:-0}" ;;
esac
"""


def _evaluating(folder: Path) -> dict[str, Any]:
    program = folder / "evaluate"
    program.write_text(_EVALUATE)
    program.chmod(0o755)
    questions = folder / "set.jsonl"
    questions.write_text('{"question": "a?", "gold": null}\n')
    return {"KAYDANGPT": str(program), "EVALUATE_ANSWERS": str(questions)}


def test_an_upgrade_that_answers_worse_is_refused(tmp_path: Path) -> None:
    """It is asked at the candidate's address before any traffic, and the old one goes on."""
    outcome = _deploy(tmp_path, before=_BEFORE, WORSE="1", **_evaluating(tmp_path))
    assert outcome.code == 1
    assert "worse than allowed" in outcome.errors
    (asked,) = outcome.matching("kaydangpt evaluate")
    assert "--url https://candidate---query.example" in asked
    assert not outcome.matching("kaydang-query-new=")
    assert "kaydang-query-old=100" in outcome.matching("update-traffic kaydang-query")[-1]
    assert not outcome.matching("storage cp .*evaluations/latest.json$")
    assert outcome.kept is None


def test_an_upgrade_that_answers_as_well_is_let_through(tmp_path: Path) -> None:
    """Its results are what the next upgrade is compared with."""
    outcome = _deploy(tmp_path, before=_BEFORE, EVALUATE_FAIL_BELOW="0.8", **_evaluating(tmp_path))
    assert outcome.code == 0, outcome.errors
    outcome.in_order(
        "curl .*/query",
        "kaydangpt evaluate --answers .*--fail-below 0.8",
        "kaydang-query-new=10,",
        "storage cp .*set.json gs://demo-proj-kaydang-state/kaydang.evaluations/runs/",
        "storage cp .*set.json gs://demo-proj-kaydang-state/kaydang.evaluations/latest.json",
    )


def test_a_first_deployment_is_not_evaluated(tmp_path: Path) -> None:
    """There are no documents to ask about."""
    outcome = _deploy(tmp_path, **_evaluating(tmp_path))
    assert outcome.code == 0, outcome.errors
    assert not outcome.matching("kaydangpt evaluate")


def test_a_set_that_is_not_there_is_named_first(tmp_path: Path) -> None:
    given: dict[str, Any] = _evaluating(tmp_path) | {"EVALUATE_ANSWERS": "none.jsonl"}
    outcome = _deploy(tmp_path, **given)
    assert outcome.code == 1
    assert "none.jsonl" in outcome.errors
    assert not outcome.calls or not outcome.matching("builds submit")


def test_a_failed_first_deployment_says_that_there_is_no_way_back(tmp_path: Path) -> None:
    """The next run is an upgrade of it."""
    outcome = _deploy(tmp_path, ANSWER=_NOTHING_FOUND)
    assert outcome.code == 1
    assert "no previous revision" in outcome.errors
    assert outcome.kept is not None


def test_what_google_learns_late_is_applied_again(tmp_path: Path) -> None:
    """A new log metric is known after minutes."""
    outcome = _deploy(tmp_path, NOT_READY=str(tmp_path / "tried"))
    assert outcome.code == 0, outcome.errors
    assert len(outcome.applies()) == 3


def test_what_an_uninstall_kept_is_taken_over(tmp_path: Path) -> None:
    """Key and documents are there, and Terraform does not know them any more."""
    tfvars = "encryption = { customer_managed = true }\n"
    outcome = _deploy(tmp_path, tfvars=tfvars, STATE="")
    assert outcome.code == 0, outcome.errors
    outcome.in_order(
        r"terraform .* import .*key_ring.this\[0\] \S+/keyRings/kaydang$",
        r"terraform .* import .*crypto_key.this\[0\] \S+/cryptoKeys/kaydang$",
        "terraform .* import .*bucket.documents demo-proj-kaydang-documents$",
        "terraform .* apply ",
    )


def test_what_is_not_there_is_made(tmp_path: Path) -> None:
    """A first deployment takes nothing over."""
    outcome = _deploy(tmp_path, STATE="", FAIL="buckets describe .*-documents")
    assert outcome.code == 0, outcome.errors
    assert not outcome.matching("terraform .* import")


def test_given_images_are_not_built_again(tmp_path: Path) -> None:
    """IMAGES=FILE is the way back to any earlier images."""
    images = tmp_path / "images.json"
    images.write_text(json.dumps(_BEFORE))
    outcome = _deploy(tmp_path, IMAGES=str(images))
    assert outcome.code == 0, outcome.errors
    assert not outcome.matching("builds submit")
    assert outcome.kept == _BEFORE


def test_a_changed_setting_is_applied_with_the_images_that_run(tmp_path: Path) -> None:
    """One command, without digests to type."""
    outcome = _deploy(tmp_path, command="apply", before=_BEFORE)
    assert outcome.code == 0, outcome.errors
    assert not outcome.matching("builds submit")
    assert _BEFORE["query"] in outcome.applies()[-1]


def test_terraform_gets_the_state_the_variables_and_the_images(tmp_path: Path) -> None:
    """Such as for an import after a restore."""
    outcome = _deploy(tmp_path, "import", "ADDRESS", "ID", command="terraform", before=_BEFORE)
    (call,) = outcome.matching("terraform .* import ")
    assert call.endswith("ADDRESS ID")
    assert _BEFORE["query"] in call
    assert "name_prefix=kaydang" in call


def test_an_uninstall_forgets_what_is_kept_and_ends_the_peering(tmp_path: Path) -> None:
    """The key and the documents stay; a network that is held is asked for again."""
    outcome = _deploy(tmp_path, command="uninstall", before=_BEFORE, FAIL="terraform .* destroy")
    assert outcome.code == 1
    assert [
        call.split()[-1].removeprefix("module.kaydangpt.") for call in outcome.matching("state rm")
    ] == [
        "google_kms_crypto_key.this[0]",
        'google_kms_crypto_key_iam_member.agent["storage"]',
        "google_storage_bucket.documents",
    ]
    assert len(outcome.matching("peerings delete")) == 3
    assert "within two hours" in outcome.errors


def test_an_uninstall_makes_nothing_again(tmp_path: Path) -> None:
    """Protections come off before anything is forgotten, and only if there is something."""
    outcome = _deploy(tmp_path, command="uninstall", before=_BEFORE)
    assert outcome.code == 0, outcome.errors
    outcome.in_order("terraform .* apply ", "state rm", "terraform .* destroy")
    (apply,) = outcome.applies()
    assert re.findall(r"-target=module.kaydangpt.(\S+)", apply) == [
        'google_cloud_run_v2_service.function["query"]',
        "google_sql_database_instance.this[0]",
    ]


def test_an_uninstall_that_is_run_again_applies_nothing(tmp_path: Path) -> None:
    """What the first run destroyed stays destroyed while the network is waited for."""
    network = "module.kaydangpt.google_compute_network.this[0]"
    outcome = _deploy(tmp_path, command="uninstall", before=_BEFORE, STATE=network)
    assert outcome.code == 0, outcome.errors
    assert not outcome.applies()
    assert outcome.matching("terraform .* destroy")


def test_an_uninstall_takes_documents_along_where_it_is_said(tmp_path: Path) -> None:
    """bucket.delete_with_deployment is the operator's word."""
    outcome = _deploy(
        tmp_path,
        command="uninstall",
        before=_BEFORE,
        tfvars="bucket = { delete_with_deployment = true }\n",
    )
    assert outcome.code == 0, outcome.errors
    assert not outcome.matching("state rm .*google_storage_bucket")
    assert outcome.matching("artifacts repositories delete")


_ENFORCED = json.dumps({"spec": {"rules": [{"enforce": True}]}})


def _values(**values: list[str]) -> str:
    return json.dumps({"spec": {"rules": [{"values": values}]}})


def _quota(value: int) -> str:
    """Return a quota as Google says it: one for two regions, a higher one for all others."""
    return json.dumps(
        {
            "dimensionsInfos": [
                {"details": {"value": str(10**15)}, "applicableLocations": ["a1", "b1", "c1"]},
                {
                    "details": {"value": str(value)},
                    "applicableLocations": ["europe-west1", "us-central1"],
                },
            ]
        }
    )


@pytest.mark.parametrize(
    ("variables", "tfvars", "says"),
    [
        ({"BILLING": "False"}, "", "missing: billing"),
        ({"ROLE": "roles/editor"}, "", "missing: role roles/pubsub.admin"),
        (
            {"ROLE": "roles/editor"},
            'query_access = { mode = "iap" }',
            "missing: role roles/iap.admin",
        ),
        (
            {"ROLE": "roles/editor"},
            "encryption = { customer_managed = true }",
            "missing: role roles/cloudkms.admin",
        ),
        ({}, 'budget = { billing_account = "0" }\n', "roles/billing.costsManager"),
        (
            {"MODEL_STATUS": "404"},
            'gemini = { model = "gemini-2.5-flash" }',
            "gemini-3.5-flash-lite",
        ),
        ({"MODEL_STATUS": "403"}, "", "Gemini refuses"),
        ({"VCPUS": _quota(10_000)}, "", "10 vCPU in europe-west1, counted on are 20"),
        ({"MEMORY": _quota(20 * 2**30)}, "", "20 GiB in europe-west1, counted on are 40"),
    ],
)
def test_the_check_names_what_is_missing(
    tmp_path: Path, variables: dict[str, Any], tfvars: str, says: str
) -> None:
    """And changes nothing."""
    outcome = _deploy(tmp_path, command="--check", tfvars=tfvars, **variables)
    assert outcome.code == 1
    assert says in outcome.errors
    assert not outcome.matching("services enable|create|update|apply|submit|add-iam")


@pytest.mark.parametrize(
    ("constraint", "policy", "tfvars"),
    [
        ("iam.disableServiceAccountCreation", _ENFORCED, ""),
        ("iam.managed.disableServiceAccountCreation", _ENFORCED, ""),
        ("gcp.resourceLocations", _values(allowedValues=["us-east1"]), ""),
        ("gcp.restrictServiceUsage", _values(deniedValues=["run.googleapis.com"]), ""),
        ("gcp.restrictNonCmekServices", _values(deniedValues=["is:storage.googleapis.com"]), ""),
        ("run.managed.requireInvokerIam", _ENFORCED, 'query_access = { mode = "public" }'),
        (
            "compute.disableGlobalLoadBalancing",
            _ENFORCED,
            'query_access = { domain = "ask.example" }',
        ),
        ("run.allowedIngress", _values(allowedValues=["internal"]), ""),
        ("compute.restrictVpcPeering", json.dumps({"spec": {"rules": [{"denyAll": True}]}}), ""),
    ],
)
def test_the_check_names_a_policy_that_refuses(
    tmp_path: Path, constraint: str, policy: str, tfvars: str
) -> None:
    """Each constraint by its name, before anything is made."""
    outcome = _deploy(
        tmp_path, command="--check", tfvars=tfvars, CONSTRAINT=constraint, POLICY=policy
    )
    assert outcome.code == 1
    assert f"missing: constraints/{constraint} " in outcome.errors


@pytest.mark.parametrize(
    ("constraint", "policy", "tfvars"),
    [
        ("gcp.resourceLocations", _values(allowedValues=["is:europe-west1"]), ""),
        ("gcp.resourceLocations", _values(allowedValues=["in:eu-locations"]), ""),
        (
            "gcp.restrictNonCmekServices",
            _values(deniedValues=["storage.googleapis.com"]),
            "encryption = { customer_managed = true }",
        ),
        ("run.managed.requireInvokerIam", _ENFORCED, ""),
        ("compute.disableGlobalLoadBalancing", _ENFORCED, ""),
        (
            "run.allowedIngress",
            _values(allowedValues=["internal"]),
            'query_access = { ingress = "internal" }',
        ),
        (
            "compute.restrictVpcPeering",
            _values(allowedValues=["under:organizations/433637338589"]),
            "",
        ),
        ("iam.allowedPolicyMemberDomains", _values(allowedValues=["C0abc"]), ""),
    ],
)
def test_the_check_lets_policies_be_that_refuse_nothing_of_ours(
    tmp_path: Path, constraint: str, policy: str, tfvars: str
) -> None:
    """What is allowed, or not asked for, is no fault."""
    outcome = _deploy(
        tmp_path, command="--check", tfvars=tfvars, CONSTRAINT=constraint, POLICY=policy
    )
    assert outcome.code == 0, outcome.errors


def test_the_check_names_every_role_and_api(tmp_path: Path) -> None:
    """All of them at once, and the module for GitHub grants the same roles."""
    outcome = _deploy(tmp_path, command="--check", ROLE="roles/viewer", ENABLED="none")
    script = (ROOT / "infra/deploy.sh").read_text()
    (roles,) = re.findall(r"^roles=\((.*?)\)", script, re.MULTILINE | re.DOTALL)
    (apis,) = re.findall(r"^apis=\((.*?)\)", script, re.MULTILINE | re.DOTALL)
    assert re.findall(r"missing: role (\S+)", outcome.errors) == roles.split()
    enabled = re.findall(r"will be enabled: (\w+)\.", outcome.errors)
    assert enabled == [*apis.split(), "aiplatform"]
    module = (ROOT / "infra/terraform/modules/github/main.tf").read_text()
    assert sorted(
        re.findall(r'"(roles/[\w.]+)"', module.split("toset(")[1].split(")")[0])
    ) == sorted(roles.split())


def test_the_check_reads_a_setting_of_its_own_block(tmp_path: Path) -> None:
    """The bucket's location is not the model's, a commented line is none."""
    outcome = _deploy(
        tmp_path,
        command="--check",
        tfvars='bucket = { location = "EU" }\n# gemini = { location = "us" }\n'
        'gemini = {\n  location = "eu" # as the bucket\n}\n',
    )
    assert outcome.code == 0, outcome.errors
    assert outcome.matching("https://aiplatform.eu.rep.googleapis.com/.*/locations/eu/")


def test_a_retired_model_stops_a_deployment_before_anything_is_made(tmp_path: Path) -> None:
    """Neither images nor a state bucket."""
    outcome = _deploy(tmp_path, MODEL_STATUS="404")
    assert outcome.code == 1
    assert not outcome.matching("buckets create|builds submit|terraform")


def test_the_check_passes_where_nothing_is_missing(tmp_path: Path) -> None:
    """It says which model answered."""
    outcome = _deploy(tmp_path, command="--check")
    assert outcome.code == 0, outcome.errors
    assert "gemini-3.5-flash-lite answers" in outcome.errors


@pytest.mark.parametrize(
    "arguments", [[], ["demo-proj"], ["Demo Proj", "europe-west1"], ["demo-proj", "europe"]]
)
def test_wrong_arguments_are_refused_before_anything_is_called(arguments: list[str]) -> None:
    """A sentence says what is wrong."""
    done = subprocess.run(
        [ROOT / "infra/deploy.sh", *arguments], capture_output=True, text=True, check=False
    )
    assert done.returncode == 1
    assert done.stderr.startswith("deploy: ")

#!/usr/bin/env bash
# Deploy KaydangPT: infra/deploy.sh [COMMAND] PROJECT REGION
#
#   (none)      check, build the images, migrate, apply, ask a real question, move the traffic in steps;
#               roll back to the previous revisions on failure. Run it again at any time: existing resources are kept.
#   --check     report what is missing (roles, APIs, policies, quotas, billing, model); change nothing
#   apply       apply a changed terraform.tfvars with the images that run
#   terraform   any Terraform command with the state and the variables: deploy.sh terraform PROJECT REGION output
#   uninstall   destroy everything that protections allow; the documents only if terraform.tfvars says so
#
# Needs gcloud (logged in, with application default credentials), terraform 1.9 or later, curl and python3.
#
#   TFVARS=infra/deployment/terraform.tfvars  variables besides project_id, region and images
#   PREFIX=kaydang                name_prefix: several deployments in one project
#   IMAGES=FILE.json              deploy these images instead of building (a rollback)
#   CANARY=10,50                  percentages of traffic for the new revision before it gets all
#   CANARY_SECONDS=60             how long each step lasts
#   BUILD_ACCOUNT=ADDRESS         the account that builds (created unless given)
#   SMOKE_HEADER='X-Api-Key: ...' how the smoke test identifies itself if query_access.api_key_digests is set
#   SMOKE_SECONDS=300             seconds to wait for a cited answer
#   EVALUATE_ANSWERS=SET.jsonl    questions about your documents: refuse an upgrade, before it gets traffic, that
#                                 answers them worse than the previous one by more than chance (docs/answers.md)
#   EVALUATE_FAIL_BELOW=0.8       also refuse one that answers or refuses a smaller share correctly
#   AUTO_APPROVE=1                do not ask before an apply
set -euo pipefail

die() { echo "deploy: $*" >&2; exit 1; }
step() { printf '\n== %s (%s s)\n' "$1" "$SECONDS"; }

command=deploy
case "${1:-}" in
  --check | apply | terraform | uninstall) command="${1#--}"; shift ;;
esac
[ $# -ge 2 ] || die "usage: infra/deploy.sh [--check|apply|terraform|uninstall] PROJECT REGION"
project="$1"
region="$2"
shift 2
[ $# -eq 0 ] || [ "$command" = terraform ] || die "usage: infra/deploy.sh [--check|apply|terraform|uninstall] PROJECT REGION"
cd "$(dirname "$0")/.."
root="$PWD"
for tool in gcloud terraform curl python3; do
  command -v "$tool" > /dev/null || die "$tool is not on PATH"
done
[[ "$project" =~ ^[a-z][a-z0-9-]{4,28}[a-z0-9]$ ]] || die "PROJECT is a project id, not '$project'"
[[ "$region" =~ ^[a-z]+-[a-z]+[0-9]+$ ]] || die "REGION is a region such as europe-west1, not '$region'"
prefix="${PREFIX:-kaydang}"
[[ "$prefix" =~ ^[a-z][a-z0-9-]{1,13}[a-z0-9]$ ]] || die "PREFIX is 3 to 15 lower-case letters, digits and hyphens, not '$prefix'"

registry="$region-docker.pkg.dev/$project/$prefix"
state_bucket="$project-$prefix-state"
build_bucket="$project-$prefix-build"
build_account="${BUILD_ACCOUNT:-$prefix-build@$project.iam.gserviceaccount.com}"
tag="$(git rev-parse --short=12 HEAD 2> /dev/null || echo manual)-$(date -u +%Y%m%d%H%M%S)"
tfvars="${TFVARS:-infra/deployment/terraform.tfvars}"
work="$(mktemp -d)"
trap 'rm -rf "$work"' EXIT
approve=()
[ -z "${AUTO_APPROVE:-}" ] || approve=(-auto-approve)
variables=(-var "project_id=$project" -var "region=$region" -var "name_prefix=$prefix")
[ ! -f "$tfvars" ] || variables=(-var-file "$root/${tfvars#"$root/"}" "${variables[@]}")
services=(ingest embed-worker dead-letters query)

# --- what is missing -----------------------------------------------------------------------------

apis=(artifactregistry cloudbuild cloudresourcemanager cloudscheduler compute containeranalysis iam iamcredentials
  logging monitoring pubsub run secretmanager servicenetworking serviceusage sqladmin storage)
# What Terraform and this script do; owner contains all of it, editor does not.
roles=(roles/artifactregistry.admin roles/cloudbuild.builds.editor roles/cloudscheduler.admin roles/cloudsql.admin
  roles/compute.admin roles/iam.serviceAccountAdmin roles/iam.serviceAccountUser roles/logging.configWriter
  roles/monitoring.admin roles/pubsub.admin roles/resourcemanager.projectIamAdmin roles/run.admin
  roles/secretmanager.admin roles/servicenetworking.networksAdmin roles/serviceusage.serviceUsageAdmin
  roles/storage.admin)

# The variables' file as lines "block.name value".
python3 - "$tfvars" > "$work/settings" << 'READ'
import os, re, sys
text = open(sys.argv[1]).read() if os.path.exists(sys.argv[1]) else ""
text = re.sub(r"(?m)(^|\s)(#|//).*$", "", text)
for block in re.finditer(r"(?m)^\s*(\w+)\s*=\s*\{", text):
    depth, end = 1, block.end()
    while depth and end < len(text):
        depth += {"{": 1, "}": -1}.get(text[end], 0)
        end += 1
    for name, quoted, bare in re.findall(r"[{,\s](\w+)\s*=\s*(?:\"([^\"]*)\"|([\w.+-]+))", text[block.end() - 1 : end]):
        print(f"{block[1]}.{name} {quoted or bare}")
    print(f"{block[1]} set")
READ
setting() { # setting BLOCK.NAME DEFAULT: a value in the variables' file
  local value
  value="$(sed -n "s/^${1//./\\.} //p" "$work/settings" | head -1)"
  echo "${value:-$2}"
}

ask_model() { # one token of the model; prints the status
  local model location host
  model="$(setting gemini.model gemini-3.5-flash-lite)"
  location="$(setting gemini.location global)"
  case "$location" in
    global) host=aiplatform.googleapis.com ;;
    eu | us) host="aiplatform.$location.rep.googleapis.com" ;;
    *) host="$location-aiplatform.googleapis.com" ;;
  esac
  curl --silent --output "$work/model.json" --write-out '%{http_code}' --max-time 60 \
    -H "Authorization: Bearer $(gcloud auth print-access-token)" -H 'Content-Type: application/json' \
    --data '{"contents": [{"role": "user", "parts": [{"text": "Say yes."}]}], "generationConfig": {"maxOutputTokens": 16}}' \
    "https://$host/v1/projects/$project/locations/$location/publishers/google/models/$model:generateContent" || true
}

policy() { gcloud org-policies describe "$1" --project "$project" --effective --format json 2> /dev/null || true; }
enforced() { grep -q '"enforce": true' <<< "$(policy "$1")"; }
refuses() { # refuses CONSTRAINT VALUES...: whether a list constraint keeps one out; it is left in $refused
  local found
  found="$(policy "$1")"
  shift
  [ -n "$found" ] || return 1
  # Groups of values (in:) are not looked into.
  refused="$(python3 -c '
import json, sys
try:
    rules = json.load(sys.stdin)["spec"]["rules"]
except (ValueError, KeyError):
    rules = []
for wanted in sys.argv[1:]:
    value = wanted.split(":")[-1]
    for rule in rules:
        allowed, denied = (rule.get("values", {}).get(name, []) for name in ("allowedValues", "deniedValues"))
        named = lambda values: value in [each.split(":")[-1] for each in values]
        grouped = any(each.startswith("in:") for each in allowed)
        if rule.get("denyAll") or named(denied) or (allowed and not named(allowed) and not grouped):
            sys.exit(print(value))' "$@" <<< "$found")"
  [ -n "$refused" ]
}
quota() { # quota QUOTA_ID VARIABLE DEFAULT UNITS NAME: what the project has beside what the variables count on
  local has counted
  counted="$(setting "quota.$2" "$3")"
  has="$(gcloud beta quotas info describe "$1" --service run.googleapis.com --project "$project" --format json --quiet 2> /dev/null || true)"
  [ -z "$has" ] || has="$(python3 -c '
import json, sys
region, units = sys.argv[1], int(sys.argv[2])
try:
    infos = json.load(sys.stdin)["dimensionsInfos"]
except (ValueError, KeyError):
    sys.exit(0)
here = [i for i in infos if region in i.get("applicableLocations", [])] or infos
# The narrowest entry holds.
here.sort(key=lambda i: len(i.get("applicableLocations", [])))
if here:
    print(int(here[0]["details"]["value"]) // units)' "$region" "$4" <<< "$has")"
  if [ -z "$has" ]; then
    echo "not sure: quota $1 cannot be read (cloudquotas.googleapis.com, roles/cloudquotas.viewer); counted on are $counted $5 a service"
  elif [ "$has" -lt 0 ] || [ "$has" -ge "$counted" ]; then
    echo "ok: quota of $has $5 a service in $region"
  else
    fault "quota $1: $has $5 in $region, counted on are $counted. Ask for more (https://console.cloud.google.com/iam-admin/quotas?project=$project), or set quota = { $2 = $has } and smaller services"
  fi
}

check() {
  local missing=0 account enabled held mode name api refused
  fault() { echo "missing: $*"; missing=1; }
  account="$(gcloud config get-value account 2> /dev/null)"
  [ -n "$account" ] || die "gcloud is not logged in: gcloud auth login"
  gcloud projects describe "$project" > /dev/null || die "$account cannot see the project $project"
  [ "$(gcloud billing projects describe "$project" --format 'value(billingEnabled)' 2> /dev/null)" = True ] \
    || fault "billing: gcloud billing projects link $project --billing-account ACCOUNT"
  held="$(gcloud projects get-iam-policy "$project" --flatten 'bindings[].members' \
    --filter "bindings.members:$account" --format 'value(bindings.role)' 2> /dev/null || true)"
  if ! grep -qx roles/owner <<< "$held"; then
    local needed=("${roles[@]}")
    [ "$(setting query_access.mode iam)" != iap ] || needed+=(roles/iap.admin)
    [ "$(setting encryption.customer_managed false)" != true ] || needed+=(roles/cloudkms.admin)
    for role in "${needed[@]}"; do
      grep -qx "$role" <<< "$held" || fault "role $role for $account (or by a group, which is not looked up)"
    done
  fi
  if [ "$(setting budget no)" = set ]; then
    gcloud billing accounts get-iam-policy "$(setting budget.billing_account none)" --format json > "$work/billing.json" 2> /dev/null || true
    grep -qE 'roles/billing\.(costsManager|admin)' "$work/billing.json" \
      || fault "roles/billing.costsManager on the billing account $(setting budget.billing_account none), for the budget"
  fi
  enabled="$(gcloud services list --enabled --project "$project" --format 'value(config.name)')"
  for api in "${apis[@]}"; do
    grep -qx "$api.googleapis.com" <<< "$enabled" || echo "will be enabled: $api.googleapis.com"
  done
  # A policy that cannot be read is not there, or not yours to see.
  for name in iam.disableServiceAccountCreation iam.managed.disableServiceAccountCreation; do
    ! enforced "$name" || fault "constraints/$name refuses the functions' service accounts"
  done
  ! refuses gcp.resourceLocations "$region" || fault "constraints/gcp.resourceLocations does not allow $region"
  ! refuses gcp.restrictServiceUsage "${apis[@]/%/.googleapis.com}" || fault "constraints/gcp.restrictServiceUsage refuses $refused"
  if [ "$(setting encryption.customer_managed false)" != true ]; then
    ! refuses gcp.restrictNonCmekServices pubsub.googleapis.com run.googleapis.com sqladmin.googleapis.com storage.googleapis.com \
      || fault "constraints/gcp.restrictNonCmekServices asks for a key of your own for $refused: encryption = { customer_managed = true }"
  fi
  mode="$(setting query_access.mode iam)"
  if [ "$mode" = public ]; then
    ! enforced run.managed.requireInvokerIam || fault "constraints/run.managed.requireInvokerIam refuses query_access.mode public"
  fi
  if [ "$(setting query_access.domain none)" != none ]; then
    ! enforced compute.disableGlobalLoadBalancing || fault "constraints/compute.disableGlobalLoadBalancing refuses the load balancer of query_access.domain"
  elif [ "$(setting query_access.ingress all)" = all ] && refuses run.allowedIngress all; then
    fault "constraints/run.allowedIngress does not allow all: set query_access.ingress"
  fi
  if [ "$(setting network.existing none)" = none ] && refuses compute.restrictVpcPeering under:organizations/433637338589; then
    fault "constraints/compute.restrictVpcPeering refuses the database's private address (organizations/433637338589 is Google's): give network.existing with such a peering"
  fi
  ! refuses iam.allowedPolicyMemberDomains nobody \
    || echo "note: constraints/iam.allowedPolicyMemberDomains is set; principals, writers and callers must be of the domains it allows"
  quota CpuAllocPerProjectRegion vcpus_per_service 20 1000 vCPU
  quota MemAllocPerProjectRegion memory_gib_per_service 40 1073741824 GiB
  if [ "$(setting gemini.access vertex)" = vertex ]; then
    if grep -qx aiplatform.googleapis.com <<< "$enabled"; then
      case "$(ask_model)" in
        200) echo "ok: $(setting gemini.model gemini-3.5-flash-lite) answers in $(setting gemini.location global)" ;;
        404) fault "the model $(setting gemini.model gemini-3.5-flash-lite) is not offered to this project in $(setting gemini.location global) (retired?): set gemini.model to gemini-3.5-flash-lite or another of https://docs.cloud.google.com/gemini-enterprise-agent-platform/models/model-versions" ;;
        429 | 5??) echo "not sure: Gemini is busy; ask again" ;;
        *) fault "Gemini refuses: $(head -c 300 "$work/model.json" 2> /dev/null | tr '\n' ' ')" ;;
      esac
    else
      echo "will be enabled: aiplatform.googleapis.com; then the model is asked"
    fi
  fi
  return "$missing"
}

if [ "$command" = check ]; then
  check || exit 1
  echo "nothing is missing"
  exit 0
fi

# --- Terraform -----------------------------------------------------------------------------------

tf() { terraform -chdir=infra/deployment "$@"; }
initialise() {
  tf init -input=false -reconfigure -backend-config="bucket=$state_bucket" -backend-config="prefix=$prefix" \
    > "$work/init.log" || { cat "$work/init.log"; exit 1; }
}
# Each apply knows the images by a file beside the state: digests are never typed by hand.
images_object="gs://$state_bucket/$prefix.images.json"
fetch_images() { gcloud storage cp --quiet "$images_object" "$work/images.json" > /dev/null 2>&1; }
apply() { # apply IMAGES.json [more arguments]; again where Google was not ready
  local images="$1" attempt
  shift
  for attempt in 1 2 3; do
    if tf apply -input=false ${approve[@]+"${approve[@]}"} "${variables[@]}" -var "images=$(cat "$images")" "$@" 2>&1 | tee "$work/apply.log"; then
      return 0
    fi
    # New grants, service agents, users and log metrics are known everywhere after some minutes.
    grep -qE 'Cannot find metric|does not exist|Permission .* denied|PERMISSION_DENIED|SERVICE_DISABLED|has not been used|Error 40[349]|Error 5[0-9][0-9]|connection reset' "$work/apply.log" || return 1
    [ "$attempt" = 3 ] || { echo "deploy: Google was not ready; trying again in ${APPLY_WAIT_SECONDS:-60} s"; sleep "${APPLY_WAIT_SECONDS:-60}"; }
  done
  return 1
}

if [ "$command" = terraform ]; then
  initialise
  case "${1:-}" in
    plan | apply | destroy | import | console | refresh)
      fetch_images || die "no images are known: deploy first"
      first="$1"
      shift
      tf "$first" "${variables[@]}" -var "images=$(cat "$work/images.json")" "$@"
      ;;
    *) tf "$@" ;;
  esac
  exit
fi

if [ "$command" = uninstall ]; then
  initialise
  fetch_images || die "no images are known: is $prefix deployed in $project?"
  network="$(tf output -json deployment | python3 -c 'import json, sys; print(json.load(sys.stdin)["network"] or "")' || true)"
  tf state list > "$work/state"
  documents=kept
  [ "$(setting bucket.delete_with_deployment false)" != true ] || documents=deleted
  step "protections off"
  # Only of what is still there: an apply of everything would make again what an earlier run has destroyed.
  protected='google_(cloud_run_v2_service\.function|cloud_run_v2_job\.job|sql_database_instance\.this)'
  [ "$documents" = kept ] || protected="$protected|google_storage_bucket\.documents"
  targets=()
  while read -r address; do targets+=("-target=$address"); done < <(grep -E "$protected" "$work/state" || true)
  if [ ${#targets[@]} -gt 0 ]; then
    apply "$work/images.json" -var deletion_protection=false "${targets[@]}" \
      || die "could not lift the protections; set database.deletion_protection = false too"
  fi
  step "what is kept on purpose is forgotten: keys, and documents unless bucket.delete_with_deployment"
  # A key cannot be deleted, and without it every backup is lost; the next deployment imports it.
  forget='google_kms_(key_ring|crypto_key)\.this'
  # Kept documents stay readable: their bucket may go on using the key.
  [ "$documents" = deleted ] || forget="$forget|google_storage_bucket\.documents|google_kms_crypto_key_iam_member\.agent\[\"storage\"\]"
  grep -E "$forget" "$work/state" > "$work/forget" || true
  while read -r address; do tf state rm "$address"; done < "$work/forget"
  step "destroy"
  for attempt in 1 2 3; do
    tf destroy -input=false ${approve[@]+"${approve[@]}"} "${variables[@]}" -var deletion_protection=false \
      -var "images=$(cat "$work/images.json")" && break
    # The peering is not Terraform's any more, and Cloud Run gives the subnetwork back after an hour or two.
    [ -z "$network" ] || gcloud compute networks peerings delete servicenetworking-googleapis-com \
      --network "$network" --project "$project" --quiet 2> /dev/null || true
    [ "$attempt" -lt 3 ] || die "the network is still held: Cloud Run gives its addresses back within two hours; run this again then"
    sleep "${UNINSTALL_WAIT_SECONDS:-300}"
  done
  gcloud artifacts repositories delete "$prefix" --project "$project" --location "$region" --quiet || true
  gcloud storage rm --recursive --quiet "gs://$build_bucket" || true
  step "done. The state is kept: gcloud storage rm --recursive gs://$state_bucket"
  exit 0
fi

if [ -n "${EVALUATE_ANSWERS:-}" ]; then
  [ -r "$EVALUATE_ANSWERS" ] || die "EVALUATE_ANSWERS names no file: $EVALUATE_ANSWERS"
  "${KAYDANGPT:-./kaydangpt}" version > /dev/null || die "EVALUATE_ANSWERS needs the environment of ./kaydangpt. Run: make install"
fi

# --- deploy and apply ----------------------------------------------------------------------------

step "what must be there before Terraform: APIs, buckets, registry, build account"
gcloud services enable --project "$project" --quiet "${apis[@]/%/.googleapis.com}"
[ "$(setting gemini.access vertex)" != vertex ] || gcloud services enable --project "$project" --quiet aiplatform.googleapis.com
check || die "nothing was changed but the APIs"
for bucket in "$state_bucket" "$build_bucket"; do
  gcloud storage buckets describe "gs://$bucket" --project "$project" > /dev/null 2>&1 \
    || gcloud storage buckets create "gs://$bucket" --project "$project" --location "$region" \
      --uniform-bucket-level-access --public-access-prevention
done
gcloud storage buckets update "gs://$state_bucket" --versioning --quiet
# Sources and bills of materials of builds: three months.
echo '{"rule": [{"action": {"type": "Delete"}, "condition": {"age": 90}}]}' > "$work/lifecycle.json"
gcloud storage buckets update "gs://$build_bucket" --lifecycle-file "$work/lifecycle.json" --quiet
gcloud artifacts repositories describe "$prefix" --project "$project" --location "$region" > /dev/null 2>&1 \
  || gcloud artifacts repositories create "$prefix" --project "$project" --location "$region" \
    --repository-format docker --immutable-tags --description "KaydangPT's images"
# The last ten of each stay, for rollbacks; older ones go after three months.
cat > "$work/cleanup.json" << 'POLICY'
[{"name": "old", "action": {"type": "Delete"}, "condition": {"olderThan": "90d"}},
 {"name": "last-ten", "action": {"type": "Keep"}, "mostRecentVersions": {"keepCount": 10}}]
POLICY
gcloud artifacts repositories set-cleanup-policies "$prefix" --project "$project" --location "$region" \
  --policy "$work/cleanup.json" --no-dry-run --quiet

initialise
fetch_images || rm -f "$work/images.json"
before=""
if [ -f "$work/images.json" ]; then
  before="$work/before.json"
  cp "$work/images.json" "$before"
fi

if [ "$command" = apply ]; then
  [ -n "$before" ] || die "no images are known: run infra/deploy.sh $project $region first"
elif [ -n "${IMAGES:-}" ]; then
  cp "$IMAGES" "$work/images.json"
else
  step "images, tag $tag"
  if [ -z "${BUILD_ACCOUNT:-}" ]; then
    # A new project's default account may not build.
    # https://cloud.google.com/build/docs/cloud-build-service-account-updates
    gcloud iam service-accounts describe "$build_account" --project "$project" > /dev/null 2>&1 \
      || gcloud iam service-accounts create "$prefix-build" --project "$project" --display-name "KaydangPT build"
    grant() { # a new account is not known everywhere at once
      local attempt
      for attempt in 1 2 3 4 5 6; do
        "$@" > /dev/null 2> "$work/grant" && return 0
        [ "$attempt" = 6 ] || sleep "${GRANT_WAIT_SECONDS:-10}"
      done
      cat "$work/grant" >&2
      return 1
    }
    grant gcloud projects add-iam-policy-binding "$project" --member "serviceAccount:$build_account" \
      --role roles/logging.logWriter --condition None --quiet
    grant gcloud artifacts repositories add-iam-policy-binding "$prefix" --project "$project" --location "$region" \
      --member "serviceAccount:$build_account" --role roles/artifactregistry.writer --quiet
    grant gcloud storage buckets add-iam-policy-binding "gs://$build_bucket" \
      --member "serviceAccount:$build_account" --role roles/storage.objectAdmin --quiet
  fi
  gcloud builds submit . --project "$project" --region "$region" --config infra/cloudbuild.yaml \
    --ignore-file infra/gcloudignore --gcs-source-staging-dir "gs://$build_bucket/source" \
    --service-account "projects/$project/serviceAccounts/$build_account" \
    --substitutions "_REGION=$region,_TAG=$tag,_PREFIX=$prefix"
  for function in ingest embed_worker query; do
    digest="$(gcloud artifacts docker images describe "$registry/$function:$tag" --project "$project" \
      --format 'value(image_summary.digest)')"
    echo "$function $registry/$function@$digest"
  done | python3 -c 'import json, sys; print(json.dumps(dict(line.split() for line in sys.stdin)))' \
    > "$work/images.json"
fi
grep -q sha256: "$work/images.json" || die "no digests in $work/images.json"
cat "$work/images.json"

traffic() { # traffic SERVICE ARGUMENTS...
  local service="$1"
  shift
  gcloud run services update-traffic "$prefix-$service" --project "$project" --region "$region" --quiet "$@"
}
latest() { # the newest revision of a service that is ready
  gcloud run services describe "$prefix-$1" --project "$project" --region "$region" \
    --format 'value(status.latestReadyRevisionName)' 2> /dev/null || true
}
back() {
  step "back to the previous revisions"
  local service
  for service in "${services[@]}"; do
    [ ! -s "$work/revision-$service" ] || traffic "$service" --to-revisions "$(cat "$work/revision-$service")=100" || true
  done
}

if [ -n "$before" ]; then
  step "new revisions get no traffic until they have answered"
  for service in "${services[@]}"; do
    latest "$service" > "$work/revision-$service"
    [ ! -s "$work/revision-$service" ] || traffic "$service" --to-revisions "$(cat "$work/revision-$service")=100"
  done
fi

adopt() { # adopt ADDRESS ID COMMAND...: what an uninstall kept is taken over, where the command finds it
  local address="module.kaydangpt.$1" id="$2"
  shift 2
  ! grep -qxF "$address" "$work/state" || return 0
  ! "$@" --project "$project" > /dev/null 2>&1 \
    || tf import -input=false "${variables[@]}" -var "images=$(cat "$work/images.json")" "$address" "$id"
}
step "what is there already"
tf state list > "$work/state" 2> /dev/null || true
ring="projects/$project/locations/$region/keyRings/$prefix"
if [ "$(setting encryption.customer_managed false)" = true ]; then
  adopt 'google_kms_key_ring.this[0]' "$ring" gcloud kms keyrings describe "$prefix" --location "$region"
  adopt 'google_kms_crypto_key.this[0]' "$ring/cryptoKeys/$prefix" \
    gcloud kms keys describe "$prefix" --keyring "$prefix" --location "$region"
fi
documents="$(setting bucket.name "$project-$prefix-documents")"
adopt google_storage_bucket.documents "$documents" gcloud storage buckets describe "gs://$documents"

step "database and migration job"
# The schema first: each migration is good for the code before and after it, so the services that
# answer now go on while it runs.
apply "$work/images.json" '-target=module.kaydangpt.google_cloud_run_v2_job.job["migrate"]' \
  '-target=module.kaydangpt.google_sql_user.account' || { back; die "Terraform could not create the database or the job; the services were not changed"; }
gcloud run jobs execute "$prefix-migrate" --project "$project" --region "$region" --wait \
  || { back; die "the migration failed; no service was changed. Its log: gcloud run jobs executions list --job $prefix-migrate --project $project --region $region"; }

step "everything else"
apply "$work/images.json" || { back; die "the apply failed half-way; the previous revisions answer. Fix what Terraform reports and run this again"; }

url="$(tf output -raw query_url)"
bucket="$(tf output -raw bucket)"
mode="$(tf output -raw query_mode)"
audience="$(tf output -raw audience)"
smoke_account="$(tf output -raw smoke_account)"
domain="$(tf output -json deployment | python3 -c 'import json, sys; print(json.load(sys.stdin)["domain"] or "")')"
account="$(gcloud config get-value account 2> /dev/null)"
member="user:$account"
case "$account" in *.gserviceaccount.com) member="serviceAccount:$account" ;; principal:* | principalSet:*) member="$account" ;; esac
# Who deploys may ask as the smoke account: tokens of people are for gcloud alone.
gcloud iam service-accounts add-iam-policy-binding "$smoke_account" --project "$project" --quiet \
  --member "$member" --role roles/iam.serviceAccountTokenCreator > /dev/null

candidate="$url"
candidate_header="X-Kaydang-Revision: candidate"
step "the new revision of the query gets an address of its own"
if [ -n "$before" ]; then
  traffic query --set-tags "candidate=$(latest query)"
  [ -n "$domain" ] || candidate="${url/https:\/\//https://candidate---}"
  for service in ingest embed-worker dead-letters; do
    traffic "$service" --to-latest
  done
fi

step "smoke test: $candidate"
# A word that stands in no other document; the answer must cite the document that was just put there.
word="kaydang$(date -u +%s)"
name="smoke-test/$word.md"
printf '# Smoke test\n\nThe code word of this deployment is %s.\n' "$word" > "$work/smoke.md"

headers() { # who asks, a header a line
  local token now
  if [ -n "${SMOKE_HEADER:-}" ]; then
    echo "$SMOKE_HEADER"
    return
  fi
  case "$mode" in
    iap)
      # https://cloud.google.com/iap/docs/authentication-howto#signed-jwt
      now="$(date -u +%s)"
      printf '{"iss": "%s", "sub": "%s", "aud": "%s/*", "iat": %s, "exp": %s}' \
        "$smoke_account" "$smoke_account" "$candidate" "$now" "$((now + 3000))" > "$work/claims.json"
      gcloud iam service-accounts sign-jwt "$work/claims.json" "$work/token" --iam-account "$smoke_account" --quiet
      echo "Authorization: Bearer $(cat "$work/token")"
      ;;
    *)
      token="$(gcloud auth print-identity-token --impersonate-service-account "$smoke_account" --audiences "$audience" --include-email)"
      if [ "$mode" = identified ]; then
        # Cloud Run removes the signature of the one that it checks; the other arrives whole.
        echo "X-Serverless-Authorization: Bearer $token"
      fi
      echo "Authorization: Bearer $token"
      ;;
  esac
}
ask() {
  local arguments=() header
  headers > "$work/headers" || return 1
  while read -r header; do arguments+=(-H "$header"); done < "$work/headers"
  [ -z "$domain" ] || [ -z "$before" ] || arguments+=(-H "$candidate_header")
  curl --silent --show-error --fail-with-body --max-time 60 -H 'Content-Type: application/json' \
    "${arguments[@]}" --data "{\"question\": \"What is the code word $word of this deployment?\"}" "$candidate/query"
}
smoke() {
  gcloud storage cp --quiet "$work/smoke.md" "$bucket/$name" || return 1
  local deadline=$((SECONDS + ${SMOKE_SECONDS:-300}))
  while [ "$SECONDS" -lt "$deadline" ]; do
    if ask > "$work/answer.json" 2> "$work/error" && python3 - "$work/answer.json" "$name" << 'CHECK'
import json, sys
answer = json.load(open(sys.argv[1]))
found = [c for c in answer["citations"] if c["name"] == sys.argv[2] and c["verified"]]
sys.exit(0 if answer["grounded"] and found else 1)
CHECK
    then
      return 0
    fi
    sleep 5
  done
  return 1
}

results="gs://$state_bucket/$prefix.evaluations"
evaluate() { # the candidate's answers to the set beside those of the last upgrade that was let through
  local arguments=(--answers "$EVALUATE_ANSWERS" --url "$candidate" --headers "$work/headers" --keep "$work/kept")
  headers > "$work/headers" || return 1
  [ -z "$domain" ] || echo "$candidate_header" >> "$work/headers"
  [ -z "${EVALUATE_FAIL_BELOW:-}" ] || arguments+=(--fail-below "$EVALUATE_FAIL_BELOW")
  if gcloud storage cp --quiet "$results/latest.json" "$work/earlier.json" > /dev/null 2>&1 && [ -s "$work/earlier.json" ]; then
    arguments+=(--compare "$work/earlier.json" --fail-on-drop)
  else
    echo "no earlier results in $results: nothing to compare with"
  fi
  "${KAYDANGPT:-./kaydangpt}" evaluate "${arguments[@]}"
}
keep_evaluation() { # what the next upgrade is compared with, and one point of the page over time
  local file
  for file in "$work"/kept/*.json; do
    gcloud storage cp --quiet "$file" "$results/runs/" && gcloud storage cp --quiet "$file" "$results/latest.json" || return 1
  done
}

if [ -z "$before" ] && [ -n "$domain" ] && ! curl --silent --output /dev/null --max-time 20 "$url/"; then
  gcloud storage cp --quiet "$work/images.json" "$images_object"
  step "made, and not asked yet: $domain has no certificate until its A record names $(tf output -raw query_address) (up to an hour). Then run: IMAGES=... infra/deploy.sh, or infra/deploy.sh apply $project $region"
  exit 0
fi
if smoke; then
  gcloud storage rm --quiet "$bucket/$name"
  if [ -n "$before" ] && [ -n "${EVALUATE_ANSWERS:-}" ]; then
    step "answers to $EVALUATE_ANSWERS"
    if ! evaluate; then
      back
      die "the new revision answers $EVALUATE_ANSWERS worse than allowed (see above). It gets no traffic; the previous revision keeps serving. The results of the last good one: $results/latest.json"
    fi
  fi
  if [ -n "$before" ]; then
    new="$(latest query)"
    old="$(cat "$work/revision-query")"
    IFS=, read -r -a shares <<< "${CANARY:-10,50}"
    for share in "${shares[@]}"; do
      [ "$new" != "$old" ] || break
      step "$share % of the questions"
      traffic query --to-revisions "$new=$share,$old=$((100 - share))"
      sleep "${CANARY_SECONDS:-60}"
      failed="$(gcloud logging read "resource.type=cloud_run_revision AND resource.labels.revision_name=$new AND httpRequest.status>=500" \
        --project "$project" --freshness 10m --limit 5 --format 'value(httpRequest.status)' 2> /dev/null | wc -l)"
      if [ "$failed" -ge 5 ]; then
        back
        die "the new revision failed questions at $share %; the previous revision answers all of them again"
      fi
    done
    traffic query --to-latest
    traffic query --remove-tags candidate
  fi
  [ ! -d "$work/kept" ] || keep_evaluation || echo "deploy: the results of the evaluation could not be kept in $results" >&2
  gcloud storage cp --quiet "$work/images.json" "$images_object"
  step "done: the answer cites the document put there a moment ago"
  echo "documents: $bucket"
  echo "questions: $url"
  exit 0
fi
echo "deploy: no cited answer within ${SMOKE_SECONDS:-300} s. The last one:" >&2
cat "$work/answer.json" "$work/error" >&2 2> /dev/null || true
gcloud storage rm --quiet "$bucket/$name" 2> /dev/null || true
if [ -z "$before" ]; then
  # The images are known all the same: the next run is an upgrade of this one.
  gcloud storage cp --quiet "$work/images.json" "$images_object"
  die "there is no previous revision to go back to; the logs: gcloud run services logs read $prefix-query --project $project --region $region"
fi
back
die "rolled back. The database keeps its new schema, which the previous images can read."

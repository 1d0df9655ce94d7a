#!/usr/bin/env bash
# Deploy KaydangPT: infra/deploy.sh PROJECT REGION
#
# Builds the images, migrates the database, applies Terraform, asks a real question, and puts the
# images of before back if that fails. Run it again at will: what is there is kept. Needs gcloud
# (logged in, with application default credentials), terraform 1.9 or later, curl and python3.
#
#   TFVARS=infra/terraform/terraform.tfvars   variables beside project_id, region and images
#   IMAGES=FILE.json                          deploy these images instead of building (a rollback)
#   SMOKE_HEADER='X-Api-Key: ...'             how the smoke test says who asks; else your identity token
#   SMOKE_SECONDS=300                         how long it waits for a cited answer
#   AUTO_APPROVE=1                            do not ask before an apply
set -euo pipefail

die() { echo "deploy: $*" >&2; exit 1; }
step() { printf '\n== %s (%s s)\n' "$1" "$SECONDS"; }

[ $# -eq 2 ] || die "usage: infra/deploy.sh PROJECT REGION"
project="$1"
region="$2"
root="$(cd "$(dirname "$0")/.." && pwd)"
cd "$root"
for tool in gcloud terraform curl python3; do
  command -v "$tool" > /dev/null || die "$tool is not on PATH"
done
[[ "$project" =~ ^[a-z][a-z0-9-]{4,28}[a-z0-9]$ ]] || die "PROJECT is a project id, not '$project'"
[[ "$region" =~ ^[a-z]+-[a-z]+[0-9]+$ ]] || die "REGION is a region such as europe-west1, not '$region'"

registry="$region-docker.pkg.dev/$project/kaydang"
state_bucket="$project-kaydang-state"
build_bucket="$project-kaydang-build"
tag="$(git rev-parse --short=12 HEAD 2> /dev/null || echo manual)-$(date -u +%Y%m%d%H%M%S)"
tfvars="${TFVARS:-infra/terraform/terraform.tfvars}"
work="$(mktemp -d)"
trap 'rm -rf "$work"' EXIT
approve=()
[ -z "${AUTO_APPROVE:-}" ] || approve=(-auto-approve)

step "what must be there before Terraform: APIs, state bucket, registry"
gcloud services enable --project "$project" --quiet \
  artifactregistry.googleapis.com cloudbuild.googleapis.com cloudresourcemanager.googleapis.com \
  serviceusage.googleapis.com storage.googleapis.com
for bucket in "$state_bucket" "$build_bucket"; do
  gcloud storage buckets describe "gs://$bucket" --project "$project" > /dev/null 2>&1 \
    || gcloud storage buckets create "gs://$bucket" --project "$project" --location "$region" \
      --uniform-bucket-level-access --public-access-prevention
done
gcloud storage buckets update "gs://$state_bucket" --versioning --quiet
gcloud artifacts repositories describe kaydang --project "$project" --location "$region" > /dev/null 2>&1 \
  || gcloud artifacts repositories create kaydang --project "$project" --location "$region" \
    --repository-format docker --immutable-tags --description "KaydangPT's images"

terraform -chdir=infra/terraform init -input=false -reconfigure \
  -backend-config="bucket=$state_bucket" > "$work/init.log" || { cat "$work/init.log"; exit 1; }
terraform -chdir=infra/terraform output -json images > "$work/before.json" 2> /dev/null || true
grep -q sha256: "$work/before.json" || rm -f "$work/before.json"

variables=(-var "project_id=$project" -var "region=$region")
[ ! -f "$tfvars" ] || variables=(-var-file "$root/${tfvars#"$root/"}" "${variables[@]}")
apply() { # apply IMAGES.json [more arguments]
  local images="$1"
  shift
  terraform -chdir=infra/terraform apply -input=false ${approve[@]+"${approve[@]}"} "${variables[@]}" \
    -var "images=$(cat "$images")" "$@"
}

if [ -n "${IMAGES:-}" ]; then
  cp "$IMAGES" "$work/images.json"
else
  step "images, tag $tag"
  gcloud builds submit . --project "$project" --region "$region" --config infra/cloudbuild.yaml \
    --ignore-file infra/gcloudignore --substitutions "_REGION=$region,_TAG=$tag"
  for function in ingest embed_worker query; do
    digest="$(gcloud artifacts docker images describe "$registry/$function:$tag" --project "$project" \
      --format 'value(image_summary.digest)')"
    echo "$function $registry/$function@$digest"
  done | python3 -c 'import json, sys; print(json.dumps(dict(line.split() for line in sys.stdin)))' \
    > "$work/images.json"
fi
grep -q sha256: "$work/images.json" || die "no digests in $work/images.json"
cat "$work/images.json"

step "database and migration job"
# The schema first: each migration is good for the code before and after it, so the services that
# answer now go on while it runs.
apply "$work/images.json" '-target=google_cloud_run_v2_job.job["migrate"]' '-target=google_sql_user.account'
gcloud run jobs execute kaydang-migrate --project "$project" --region "$region" --wait \
  || die "the migration failed; nothing else was changed. Its log: gcloud run jobs executions list --job kaydang-migrate --project $project --region $region"

step "everything else"
apply "$work/images.json"

url="$(terraform -chdir=infra/terraform output -raw query_url)"
bucket="$(terraform -chdir=infra/terraform output -raw bucket)"
mode="$(terraform -chdir=infra/terraform output -raw query_mode)"
if [ "$mode" = iap ] || [ "$mode" = identified ]; then
  # Identity-Aware Proxy takes only people who sign in with a browser; callers that are identified
  # send a token for the service's own audience, which gcloud gives to no person.
  step "done, but for the smoke test: go to $url and ask as one who may"
  exit 0
fi
step "smoke test: $url"
# A word that stands in no other document; the answer must cite the document that was just put there.
word="kaydang$(date -u +%s)"
name="smoke-test/$word.md"
printf '# Smoke test\n\nThe code word of this deployment is %s.\n' "$word" > "$work/smoke.md"

ask() {
  curl --silent --show-error --fail-with-body --max-time 60 -H 'Content-Type: application/json' \
    -H "${SMOKE_HEADER:-Authorization: Bearer $(gcloud auth print-identity-token)}" \
    --data "{\"question\": \"What is the code word $word of this deployment?\"}" "$url/query"
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

if smoke; then
  gcloud storage rm --quiet "$bucket/$name"
  step "done: the answer cites the document put there a moment ago"
  echo "documents: $bucket"
  echo "questions: $url"
  exit 0
fi
echo "deploy: no cited answer within ${SMOKE_SECONDS:-300} s. The last one:" >&2
cat "$work/answer.json" "$work/error" >&2 2> /dev/null || true
gcloud storage rm --quiet "$bucket/$name" 2> /dev/null || true
[ -f "$work/before.json" ] || die "there are no images of before to go back to; the logs: gcloud run services logs read kaydang-query --project $project --region $region"
step "back to the images of before"
apply "$work/before.json" -auto-approve
die "rolled back. The database keeps its new schema, which the images of before can read."

#!/bin/sh
# Upload sets to the service of a running `make run` and write what docs/retrieval.md says of them by
#     benchmarks/retrieval_sets.sh RESULTS SET...
# run in the checkout whose stack it is. Sets whose questions have answers are asked for those too;
# the first set alone is in the index while that is done.
set -eu
if [ $# -lt 2 ]; then
    echo "Usage: benchmarks/retrieval_sets.sh RESULTS SET... (beside a running make run)" >&2
    exit 2
fi
results=$1
shift
set -a
. ./.local/env
set +a
export PYTHONPATH=.
mkdir -p "$results"
for set in "$@"; do
    name=$(basename "$set")
    .venv/bin/python -m admin.evaluation "$set" --url "$QUERY_URL" --upload --json > "$results/$name.json"
    if head -n 1 "$set/queries.jsonl" | grep -q '"answer"'; then
        .venv/bin/python -m admin.evaluation "$set" --calibrate --json > "$results/$name.refusal.json"
    fi
done

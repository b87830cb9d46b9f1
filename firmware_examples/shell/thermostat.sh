#!/bin/sh
# A thermostat of curl and awk: thermostat.sh http://HUB:8000 DEVICE KEY [STEPS]
set -eu
hub=$1 device=$2 key=$3 steps=${4:-50} temperature=17 step=0 boot=$(date +%s)

while [ "$step" -lt "$steps" ]; do
    reward=$(awk "BEGIN { d = $temperature - 21; print d < 0 ? d : -d }")
    # --retry sends the same step again when the hub can't be reached, or says 429 or 503.
    answer=$(curl --silent --show-error --fail-with-body --retry 10 --retry-connrefused \
        --header "Authorization: Bearer $key" --data "{\"device\":\"$device\",\"b\":$boot,\"s\":$step,\"o\":[$temperature],\"r\":$reward}" \
        "$hub/v1/step") || { echo "$answer" >&2; exit 1; }
    heat=$(echo "$answer" | sed 's/.*"a":\([0-9]*\).*/\1/')
    temperature=$(awk "BEGIN { print $temperature + 0.02 * (5 - $temperature) + 0.8 * $heat }")
    step=$((step + 1))
done
echo "$step steps, $temperature degrees"

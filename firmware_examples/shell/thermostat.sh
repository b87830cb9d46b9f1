#!/bin/sh
# A thermostat of curl and awk: thermostat.sh http://HUB:8000 DEVICE KEY [STEPS]
set -eu
hub=$1 device=$2 key=$3 steps=${4:-50} temperature=17 step=0 tries=0 boot=$(date +%s)

while [ "$step" -lt "$steps" ]; do
    reward=$(awk "BEGIN { d = $temperature - 21; print d < 0 ? d : -d }")
    # --retry sends the same step again when the hub says 429 or 503; without an answer we do.
    if ! answer=$(curl --silent --show-error --fail-with-body --retry 10 --max-time 10 \
        --header "Authorization: Bearer $key" --data "{\"device\":\"$device\",\"b\":$boot,\"s\":$step,\"o\":[$temperature],\"r\":$reward}" \
        "$hub/v1/step"); then
        tries=$((tries + 1))
        [ -z "$answer" ] && [ "$tries" -lt 10 ] || { echo "${answer:-no answer from $hub}" >&2; exit 1; }
        sleep 1
        continue
    fi
    tries=0
    heat=$(echo "$answer" | sed 's/.*"a":\([0-9]*\).*/\1/')
    temperature=$(awk "BEGIN { print $temperature + 0.02 * (5 - $temperature) + 0.8 * $heat }")
    step=$((step + 1))
done
echo "$step steps, $temperature degrees"

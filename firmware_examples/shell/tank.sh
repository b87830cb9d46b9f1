#!/bin/sh
# A tank over MQTT, of mosquitto_rr (Debian: mosquitto-clients) and awk: tank.sh HUB PORT DEVICE KEY [STEPS]
# A device has one connection, so publishing and waiting for the answer are one program's.
set -eu
hub=$1 port=$2 device=$3 key=$4 steps=${5:-50} level=1 step=0 repeats=0 boot=$(date +%s)

while [ "$step" -lt "$steps" ]; do
    reward=$(awk "BEGIN { d = $level - 2; print d < 0 ? d : -d }")
    # -W: after so many seconds without an answer it ends. It takes whatever comes first for one, so we look for our step;
    # without that the same step is sent again.
    answer=$(mosquitto_rr -V mqttv311 -h "$hub" -p "$port" -i "$device" -u "$device" -P "$key" -W 5 \
        -t "rl/v1/$device/obs" -e "rl/v1/$device/act" -m "{\"b\":$boot,\"s\":$step,\"o\":[$level],\"r\":$reward}") || answer=
    case $answer in
    *"\"s\":$step,"*) ;;
    *)
        repeats=$((repeats + 1))
        [ "$repeats" -lt 10 ] || { echo "no answer from $hub" >&2; exit 1; }
        sleep 1
        continue
        ;;
    esac
    repeats=0
    pump=$(echo "$answer" | sed 's/.*"a":\([0-9]*\).*/\1/')
    level=$(awk "BEGIN { l = $level + 0.05 * $pump - 0.04 * sqrt($level); print (l > 0 ? l : 0) }")
    step=$((step + 1))
done
echo "$step steps, the level at $level m"

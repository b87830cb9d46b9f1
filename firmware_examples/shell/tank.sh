#!/bin/sh
# A tank over MQTT, of mosquitto_rr (Debian: mosquitto-clients) and awk: tank.sh HUB PORT DEVICE KEY [STEPS]
# A device has one connection, so publishing and waiting for the answer are one program's.
set -eu
hub=$1 port=$2 device=$3 key=$4 steps=${5:-50} level=1 step=0 tries=0 leaf=act boot=$(date +%s)

while [ "$step" -lt "$steps" ]; do
    reward=$(awk "BEGIN { d = $level - 2; print d < 0 ? d : -d }")
    # -W: after so many seconds without an answer it ends with 27, and we listen for the hub's error once. It takes whatever
    # comes first for an answer, so we look for our step; without that the same step is sent again.
    answer=$(mosquitto_rr -V mqttv311 -h "$hub" -p "$port" -i "$device" -u "$device" -P "$key" -W 3 \
        -t "rl/v1/$device/obs" -e "rl/v1/$device/$leaf" -m "{\"b\":$boot,\"s\":$step,\"o\":[$level],\"r\":$reward}") || answer=$?
    [ "$answer" = 27 ] && [ "$leaf" = act ] && leaf=err || leaf=act
    case $answer in
    *'"e":"busy"'* | *'"e":"rate"'*) ;;
    *'"e":'*)
        echo "$answer" >&2
        exit 1
        ;;
    *"\"s\":$step,"*)
        tries=0
        pump=$(echo "$answer" | sed 's/.*"a":\([0-9]*\).*/\1/')
        level=$(awk "BEGIN { l = $level + 0.05 * $pump - 0.04 * sqrt($level); print (l > 0 ? l : 0) }")
        step=$((step + 1))
        continue
        ;;
    esac
    tries=$((tries + 1))
    [ "$tries" -lt 10 ] || { echo "no answer from $hub" >&2; exit 1; }
    sleep 1
done
echo "$step steps, the level at $level m"

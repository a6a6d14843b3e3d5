#!/usr/bin/env bash
# SPDX-License-Identifier: Apache-2.0
# The host's side of the external network: `public-bridge.sh up|down BRIDGE ADDRESS/LENGTH`. Repeating it changes nothing.
set -euo pipefail
[ $# -eq 3 ] || { sed -n '3s/^# //p' "$0" >&2; exit 2; }
action=$1 bridge=$2 address=$3

case $action in
    up)
        # No spanning tree and no delay: ports must carry traffic the moment they are plugged in.
        [ -d "/sys/class/net/$bridge" ] || ip link add "$bridge" type bridge stp_state 0 forward_delay 0
        ip address replace "$address" dev "$bridge"
        ip link set "$bridge" up
        ;;
    down)
        [ ! -d "/sys/class/net/$bridge" ] || ip link delete "$bridge"
        ;;
    *) exit 2 ;;
esac

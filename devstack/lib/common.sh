# SPDX-License-Identifier: Apache-2.0
# shellcheck shell=bash
# What every step uses: how a step is run, timed and explained when it fails; secrets; templates; background starts.

ETC=/etc/aerie
STATE=/var/lib/aerie
RUN=/run/aerie
LOGS=/var/log/aerie
INSTALL_LOGS=$LOGS/install
CACHE=/var/cache/aerie
SECRETS=$ETC/secrets.env
STARTED=$STATE/install/started   # servers that were not running before; unstack.sh stops these and no others

if [ -t 1 ]; then BOLD=$'\e[1m' RED=$'\e[31m' GREEN=$'\e[32m' DIM=$'\e[2m' PLAIN=$'\e[0m'
else BOLD='' RED='' GREEN='' DIM='' PLAIN=''; fi

has_systemd() { [ -d /run/systemd/system ]; }
now_ms() { date +%s%3N; }
seconds() { printf '%d.%d' $(($1 / 1000)) $(($1 % 1000 / 100)); }

# -- steps ------------------------------------------------------------------------------------------------------------
# A step is a function that runs in a subshell of its own under `set -e`, its output in a log file. What it wants to
# tell goes to `note`. `begin` starts one in the background, `finish` waits for it; `step` does both.
declare -A STEP_PID=() STEP_AT=() STEP_HINT=() STEP_TITLE=()
STEP_NUMBER=0

begin() {  # begin FUNCTION TITLE HINT
    STEP_TITLE[$1]=$2 STEP_HINT[$1]=$3 STEP_AT[$1]=$(now_ms)
    rm -f "$INSTALL_LOGS/$1.note" "$INSTALL_LOGS/$1.took"
    (
        set -euo pipefail
        NOTE=$INSTALL_LOGS/$1.note
        "$1"
        echo $(($(now_ms) - STEP_AT[$1])) > "$INSTALL_LOGS/$1.took"
    ) > "$INSTALL_LOGS/$1.log" 2>&1 < /dev/null 9>&- &
    STEP_PID[$1]=$!
}

finish() {  # finish FUNCTION
    local status=0
    STEP_NUMBER=$((STEP_NUMBER + 1))
    printf '%s[%2d]%s %-34s' "$BOLD" "$STEP_NUMBER" "$PLAIN" "${STEP_TITLE[$1]}"
    wait "${STEP_PID[$1]}" || status=$?
    unset "STEP_PID[$1]"
    if [ "$status" -eq 0 ]; then
        printf '%s%6s s%s  %s\n' "$GREEN" "$(seconds "$(cat "$INSTALL_LOGS/$1.took")")" "$PLAIN" \
            "$DIM$(cat "$INSTALL_LOGS/$1.note" 2>/dev/null)$PLAIN"
        return 0
    fi
    printf '%sfailed after %s s%s\n\n' "$RED" "$(seconds $(($(now_ms) - STEP_AT[$1])))" "$PLAIN"
    {
        echo "${BOLD}The step \"${STEP_TITLE[$1]}\" failed (status $status).${PLAIN} The end of $INSTALL_LOGS/$1.log:"
        tail -n 25 "$INSTALL_LOGS/$1.log" | sed 's/^/    /'
        echo
        echo "${BOLD}What to do:${PLAIN} ${STEP_HINT[$1]}"
        echo "Then run stack.sh again: it goes on where it stopped."
    } >&2
    # What was begun beside it ends first, so that the next run does not meet it.
    wait
    exit 1
}

step() { begin "$@"; finish "$1"; }

note() { printf '%s' "$*" > "$NOTE"; }

die() { echo "$*" >&2; exit 1; }

# -- small things -----------------------------------------------------------------------------------------------------
secret() {  # secret NAME: its value; made at the first call, kept for ever
    local value
    value=$(sed -n "s/^$1=//p" "$SECRETS" 2>/dev/null)
    if [ -z "$value" ]; then
        value=$(od -An -N24 -tx1 /dev/urandom | tr -d ' \n')
        (umask 077; echo "$1=$value" >> "$SECRETS")
    fi
    echo "$value"
}

installed() { dpkg-query -W -f '${db:Status-Status}\n' "$@" 2>/dev/null | grep -qvx installed && return 1; dpkg-query -W "$@" >/dev/null 2>&1; }

wait_until() {  # wait_until SECONDS COMMAND...
    local end=$(($(now_ms) + $1 * 1000)); shift
    until "$@" > /dev/null 2>&1; do
        [ "$(now_ms)" -lt "$end" ] || { echo "timed out: $*" >&2; return 1; }
        sleep 0.1
    done
}

listens() { (exec 3<>"/dev/tcp/$1/$2") 2>/dev/null; }

write_file() {  # write_file PATH MODE OWNER:GROUP < content: true when it changed
    local new
    new=$(mktemp "$1.XXXXXX")
    cat > "$new"
    chmod "$2" "$new"
    chown "$3" "$new"
    if [ -f "$1" ] && cmp -s "$new" "$1"; then
        rm -f "$new"
        return 1
    fi
    mv "$new" "$1"
}

render() {  # render TEMPLATE NAME=VALUE...: the template with each @NAME@ replaced; fails when one is left
    local text pair
    text=$(cat "$1"); shift
    # The quotes inside keep an & of the value from meaning what was matched.
    for pair in "$@"; do text=${text//@${pair%%=*}@/"${pair#*=}"}; done
    if grep -n '@[A-Z_]\+@' <<< "$text" >&2; then return 1; fi
    printf '%s\n' "$text"
}

remember_started() { mkdir -p "${STARTED%/*}"; grep -qxs "$1" "$STARTED" || echo "$1" >> "$STARTED"; }

# The address other machines reach this one at; the loopback where there is no network.
host_address() {
    local address
    address=$(ip -4 route get 192.0.2.1 2>/dev/null | sed -n 's/.* src \([0-9.]*\).*/\1/p')
    echo "${address:-127.0.0.1}"
}

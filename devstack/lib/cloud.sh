# SPDX-License-Identifier: Apache-2.0
# shellcheck shell=bash
# Secrets and configuration files, schemas, catalog, daemons, and what a fresh cloud is filled with.

SERVICES=(identity image compute network dns)
PIDFILE=$RUN/parent.pid

# -- users, folders, secrets ------------------------------------------------------------------------------------------
make_account() {
    local name
    getent group aerie > /dev/null || groupadd --system aerie
    getent passwd aerie > /dev/null \
        || useradd --system --gid aerie --home-dir "$STATE" --no-create-home --shell /usr/sbin/nologin aerie
    install -d -o root -g aerie -m 0750 "$ETC"
    install -d -o aerie -g aerie -m 0755 "$STATE" "$RUN"
    install -d -o aerie -g aerie -m 0750 "$LOGS"
    # The service would make them itself, but not take them from a root who ran it here before.
    install -d -o aerie -g aerie -m 0750 "$STATE/images" "$STATE/image-staging"
    install -d -o root -g root -m 0700 "$INSTALL_LOGS"
    # All of them now: steps run side by side, and each of them would append to the file.
    (umask 077; touch "$SECRETS")
    for name in RABBIT_PASSWORD PDNS_API_KEY METADATA_SECRET DASHBOARD_SECRET ADMIN_PASSWORD DEMO_PASSWORD \
        "${SERVICES[@]/#/SERVICE_}" "${DATABASES[@]/#/DB_}"; do
        case $name in SERVICE_*|DB_*) name=${name^^}_PASSWORD ;; esac
        secret "$name" > /dev/null
    done
}

# -- configuration ----------------------------------------------------------------------------------------------------
write_configuration() {
    local values=() name file text changed=0
    values=(
        "REGION=$REGION" "HOST_IP=$HOST_IP" "HOST=$(hostname -s)" "STATE=$STATE" "NOVNC=$NOVNC"
        "TRANSPORT_URL=$(transport_url)" "PDNS_API_KEY=$(secret PDNS_API_KEY)"
        "METADATA_SECRET=$(secret METADATA_SECRET)" "DASHBOARD_SECRET=$(secret DASHBOARD_SECRET)"
        "COMPUTE_DRIVER=$HYPERVISOR" "NETWORK_DRIVER=$([ "$HYPERVISOR" = libvirt ] && echo bridge || echo fake)"
        # systemd's journal takes what is written to standard error.
        "LOG_DIR=$(has_systemd || echo "log_dir = $LOGS")"
    )
    for name in "${SERVICES[@]}"; do values+=("${name^^}_PASSWORD=$(secret "SERVICE_${name^^}_PASSWORD")"); done
    for name in "${DATABASES[@]}"; do values+=("DB_${name^^}=$(database_url "$name")"); done
    for file in "$HERE"/templates/*.conf; do
        name=$(basename "$file")
        case $name in rabbitmq.conf|pdns-aerie.conf) continue ;; esac
        text=$(render "$file" "${values[@]}")
        write_file "$ETC/$name" 0640 root:aerie <<< "$text" && changed=$((changed + 1))
    done
    note "$changed files changed in $ETC"
}

# What the running daemons were started from: when configuration, program or libraries differ, they are started afresh.
configuration_hash() {
    {
        cat "$ETC"/*.conf
        cat "$VENV/.aerie" 2> /dev/null || true
        find "$TREE"/*/aerie_* "$TREE/etc" -type f ! -name '*.pyc' -printf '%T@ %p\n' | sort
    } | sha256sum | cut -c1-16
}

# -- schemas and catalog ----------------------------------------------------------------------------------------------
# As the account of the daemons: files that these commands make are theirs.
as_aerie() { setpriv --reuid aerie --regid aerie --init-groups env HOME="$STATE" "$@"; }

sync_schemas() {
    as_aerie "$VENV/bin/aerie" db sync --config-dir "$ETC"
    note "${DATABASES[*]}"
}

bootstrap_identity() {
    AERIE_ADMIN_PASSWORD=$(secret ADMIN_PASSWORD) as_aerie "$VENV/bin/aerie" bootstrap --config-dir "$ETC" \
        --admin-password-env AERIE_ADMIN_PASSWORD --region "$REGION" --host "$HOST_IP"
    note "http://$HOST_IP:5000/v3, region $REGION"
}

# -- daemons ----------------------------------------------------------------------------------------------------------
UNITS=(aerie-all.service)

install_units() {
    local unit text changed=1
    for unit in "$TREE"/etc/systemd/*.service "$TREE"/etc/systemd/*.slice "$HERE"/templates/*.service; do
        text=$(sed "s#/opt/aerie/venv#$VENV#g; s#/opt/aerie/tree#$TREE#g" "$unit")
        write_file "/etc/systemd/system/$(basename "$unit")" 0644 root:root <<< "$text" && changed=0
    done
    write_file /etc/tmpfiles.d/aerie.conf 0644 root:root < "$TREE/etc/systemd/aerie.tmpfiles.conf" && changed=0
    return $changed
}

parent_runs() { [ -s "$PIDFILE" ] && kill -0 "$(cat "$PIDFILE")" 2> /dev/null; }

stop_parent() {
    local pid
    parent_runs || return 0
    pid=$(cat "$PIDFILE")
    kill "$pid"
    wait_until 40 bash -c "! kill -0 $pid" || kill -9 -- "-$pid"
    rm -f "$PIDFILE"
}

start_daemons() {
    local wanted
    wanted=$(configuration_hash)
    if has_systemd; then
        install_units && systemctl daemon-reload
        systemctl enable -q "${UNITS[@]}" aerie-public-bridge.service
        if [ "$(cat "$RUN/configuration" 2> /dev/null)" = "$wanted" ]; then
            systemctl start "${UNITS[@]}"
        else
            systemctl restart "${UNITS[@]}"
        fi
    else
        [ "$(cat "$RUN/configuration" 2> /dev/null)" = "$wanted" ] || stop_parent
        if ! parent_runs; then
            # Its own session: a Ctrl-C here, or the end of this terminal, is not meant for it.
            MALLOC_ARENA_MAX=1 setsid "$VENV/bin/aerie" run --role all --config-dir "$ETC" >> "$LOGS/parent.log" 2>&1 < /dev/null &
            echo $! > "$PIDFILE"
            disown
        fi
    fi
    healthy || { complain; return 1; }
    echo "$wanted" > "$RUN/configuration"
    note "memory $(awk '/^all, with the parent/ { print $NF }' "$RUN/status") MiB"
}

# Waits until every daemon answers; gives up at once when the parent of all of them is gone.
healthy() {
    local pid
    "$VENV/bin/aerie" status --config-dir "$ETC" --wait 60 > "$RUN/status" &
    pid=$!
    while kill -0 "$pid" 2> /dev/null; do
        if ! has_systemd && ! parent_runs; then
            kill "$pid"
            echo "the daemons' parent ended:"
            return 1
        fi
        sleep 0.1
    done
    wait "$pid"
}

complain() {
    cat "$RUN/status"
    if has_systemd; then
        journalctl -q --no-pager -n 40 -u 'aerie-*'
    else
        tail -n 20 "$LOGS/parent.log"
        grep -h -A 5 -E ' (ERROR|CRITICAL) ' "$LOGS"/aerie-*.log | tail -n 40
    fi
}

# -- the host's side of the external network --------------------------------------------------------------------------
make_public_bridge() {
    "$HERE/public-bridge.sh" up "$PUBLIC_BRIDGE" "$PUBLIC_ADDRESS"
    note "$PUBLIC_BRIDGE has $PUBLIC_ADDRESS"
}

# -- what a fresh cloud is filled with --------------------------------------------------------------------------------
build_image() {
    local image
    if [ "$HYPERVISOR" = fake ]; then
        # Nothing boots: a disk of the right format is all the fake hypervisor needs.
        image=$HERE/.state/fake-guest.qcow2
        [ -s "$image" ] || qemu-img create -q -f qcow2 "$image" 32M
    else
        image=$("$HERE/build-guest-image.sh")
    fi
    ln -sfn "$image" "$HERE/.state/guest.qcow2"
    note "$image"
}

fill_cloud() {
    local options=(--image "$HERE/.state/guest.qcow2" --state "$HERE/.state" --region "$REGION"
                   --auth-url "http://$HOST_IP:5000/v3" --public-address "$PUBLIC_ADDRESS")
    [ "$DEMO" = yes ] || options+=(--no-demo)
    [ "$HYPERVISOR" = libvirt ] || options+=(--fake)
    [ "$HYPERVISOR" != fake ] || options+=(--lift-quotas)
    AERIE_ADMIN_PASSWORD=$(secret ADMIN_PASSWORD) AERIE_DEMO_PASSWORD=$(secret DEMO_PASSWORD) \
        "$VENV/bin/python" "$HERE/setup_cloud.py" "${options[@]}"
}

# The proof of it all: the guest has its address, found its key at the metadata service, and is let through.
wait_for_guest() {
    wait_until 120 sh "$HERE/.state/ssh-demo" -o ConnectTimeout=2 -o BatchMode=yes true
    note "answers ssh"
}

# -- files for clients ------------------------------------------------------------------------------------------------
write_client_files() {
    local owner="${SUDO_UID:-0}:${SUDO_GID:-0}" values
    values=("HOST_IP=$HOST_IP" "REGION=$REGION" "VENV=$VENV" "CLIENT=$CLIENT"
            "ADMIN_PASSWORD=$(secret ADMIN_PASSWORD)" "DEMO_PASSWORD=$(secret DEMO_PASSWORD)")
    render "$HERE/templates/openrc" "${values[@]}" "USER=demo" | write_file "$HERE/openrc" 0600 "$owner" || true
    render "$HERE/templates/openrc" "${values[@]}" "USER=admin" | write_file "$HERE/admin-openrc" 0600 "$owner" || true
    render "$HERE/templates/clouds.yaml" "${values[@]}" | write_file "$HERE/clouds.yaml" 0600 "$owner" || true
    [ -e /usr/local/bin/aerie ] || ln -s "$VENV/bin/aerie" /usr/local/bin/aerie
}

install_client() {
    if [ -x "$VENV/bin/openstack" ]; then
        note "$VENV/bin/openstack"
        return 0
    fi
    if [ -x "$CLIENT/bin/openstack" ]; then
        note "$CLIENT/bin/openstack"
        return 0
    fi
    [ -x "$CLIENT/bin/python" ] || /usr/bin/python3 -m venv "$CLIENT"
    "$CLIENT/bin/pip" install -q --disable-pip-version-check --no-input --prefer-binary --root-user-action=ignore \
        python-openstackclient python-designateclient
    note "$CLIENT/bin/openstack"
}

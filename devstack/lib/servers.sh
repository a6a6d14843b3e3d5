# SPDX-License-Identifier: Apache-2.0
# shellcheck shell=bash
# The engines below the cloud: MariaDB, RabbitMQ, memcached, libvirt, PowerDNS. A running one is used as it is; a
# stopped one is started, through systemd where that is process 1, else directly, and remembered for unstack.sh.

# -- MariaDB ----------------------------------------------------------------------------------------------------------
MARIADB_SOCKET=/run/mysqld/mysqld.sock
MARIADB_CONF=/etc/mysql/mariadb.conf.d/90-aerie.cnf
DATABASES=(identity image compute compute_api network dns)

mariadb_up() { mariadb-admin --socket="$MARIADB_SOCKET" ping > /dev/null 2>&1; }

# Before the package is installed, so that its first start already reads it.
configure_mariadb() {
    mkdir -p "${MARIADB_CONF%/*}"
    write_file "$MARIADB_CONF" 0644 root:root < "$HERE/templates/mariadb.cnf"
}

start_mariadb() {
    local changed=no sql name
    configure_mariadb && changed=yes
    if has_systemd; then
        systemctl is-active -q mariadb || remember_started mariadb
        if [ "$changed" = yes ]; then systemctl restart mariadb; else systemctl start mariadb; fi
    elif ! mariadb_up; then
        install -d -o mysql -g mysql -m 0755 /run/mysqld
        remember_started mariadb
        # By its pid file: another mariadbd of this machine (a test's, say) is none of ours.
        start-stop-daemon --start --oknodo --background --pidfile /run/mysqld/mysqld.pid --exec /usr/sbin/mariadbd \
            -- --user=mysql --pid-file=/run/mysqld/mysqld.pid
    elif [ "$changed" = yes ]; then
        note "runs since before: $MARIADB_CONF takes effect when it is restarted"
    fi
    wait_until 60 mariadb_up
    sql=
    for name in "${DATABASES[@]}"; do
        sql+="CREATE DATABASE IF NOT EXISTS \`$name\` CHARACTER SET utf8mb4;
              CREATE USER IF NOT EXISTS 'aerie_$name'@'localhost';
              ALTER USER 'aerie_$name'@'localhost' IDENTIFIED BY '$(secret "DB_${name^^}_PASSWORD")';
              GRANT ALL ON \`$name\`.* TO 'aerie_$name'@'localhost';"
    done
    mariadb --socket="$MARIADB_SOCKET" --user=root <<< "$sql"
}

database_url() {  # database_url NAME. No TLS on the socket: a context for it takes 8 MiB in each process.
    local options="unix_socket=$MARIADB_SOCKET&charset=utf8mb4&ssl_disabled=true"
    echo "mysql+pymysql://aerie_$1:$(secret "DB_${1^^}_PASSWORD")@localhost/$1?$options"
}

# -- RabbitMQ ---------------------------------------------------------------------------------------------------------
RABBIT_CONF=/etc/rabbitmq/conf.d/90-aerie.conf
RABBIT_UNIT=/etc/systemd/system/rabbitmq-server.service.d/aerie.conf
# Without these Erlang's schedulers spin when idle: visible load, nothing gained.
RABBIT_ERLANG='+sbwt none +sbwtdcpu none +sbwtdio none'

# A node is named after its host. Where that name does not resolve, Erlang would not start.
rabbit_node() {
    if getent hosts "$(hostname -s)" > /dev/null; then echo "rabbit@$(hostname -s)"; else echo rabbit@localhost; fi
}

rabbit_eval() { RABBITMQ_NODENAME=$(rabbit_node) rabbitmqctl -q eval "$1"; }

# Before the package is installed, so that its first start already reads it.
configure_rabbitmq() {
    local changed=1
    mkdir -p "${RABBIT_CONF%/*}"
    write_file "$RABBIT_CONF" 0644 root:root < "$HERE/templates/rabbitmq.conf" && changed=0
    if has_systemd; then
        mkdir -p "${RABBIT_UNIT%/*}"
        write_file "$RABBIT_UNIT" 0644 root:root <<< "[Service]
Environment=\"RABBITMQ_SERVER_ADDITIONAL_ERL_ARGS=$RABBIT_ERLANG\" RABBITMQ_NODENAME=$(rabbit_node)" && changed=0
        systemctl daemon-reload
    fi
    return $changed
}

start_rabbitmq() {
    local changed=no user password
    configure_rabbitmq && changed=yes
    if has_systemd; then
        systemctl is-active -q rabbitmq-server || remember_started rabbitmq-server
        if [ "$changed" = yes ]; then systemctl restart rabbitmq-server; else systemctl start rabbitmq-server; fi
    elif ! listens 127.0.0.1 5672; then
        remember_started rabbitmq-server
        RABBITMQ_NODENAME=$(rabbit_node) RABBITMQ_SERVER_ADDITIONAL_ERL_ARGS=$RABBIT_ERLANG rabbitmq-server -detached
    fi
    wait_until 90 listens 127.0.0.1 5672
    user=aerie password=$(secret RABBIT_PASSWORD)
    # One call: each start of rabbitmqctl takes a second.
    wait_until 30 rabbit_eval "
        V = <<\"aerie\">>, U = <<\"$user\">>, P = <<\"$password\">>, All = <<\".*\">>,
        case rabbit_vhost:exists(V) of true -> ok; false -> rabbit_vhost:add(V, U) end,
        case rabbit_auth_backend_internal:lookup_user(U) of
            {ok, _} -> rabbit_auth_backend_internal:change_password(U, P, U);
            _ -> rabbit_auth_backend_internal:add_user(U, P, U)
        end,
        ok = rabbit_auth_backend_internal:set_permissions(U, V, All, All, All, U)."
}

transport_url() { echo "rabbit://aerie:$(secret RABBIT_PASSWORD)@127.0.0.1:5672/aerie"; }

# -- memcached --------------------------------------------------------------------------------------------------------
start_memcached() {
    if listens 127.0.0.1 11211; then
        note "runs"
        return 0
    fi
    remember_started memcached
    if has_systemd; then
        systemctl start memcached
    else
        start-stop-daemon --start --background --make-pidfile --pidfile "$RUN/memcached.pid" --exec /usr/bin/memcached \
            -- -u memcache -l 127.0.0.1 -m 64
    fi
    wait_until 10 listens 127.0.0.1 11211
}

# -- libvirt ----------------------------------------------------------------------------------------------------------
libvirt_up() { virsh -q -c qemu:///system uri; }

start_libvirt() {
    if has_systemd; then
        systemctl is-active -q libvirtd || remember_started libvirtd
        systemctl start virtlogd.socket libvirtd.socket libvirtd.service
    elif ! libvirt_up > /dev/null 2>&1; then
        remember_started libvirtd
        # libvirt probes QEMU as root, but judges /dev/kvm as QEMU's user would see it; where the two differ it probes
        # again at every question, for seconds. udev would have given the device to this group.
        [ ! -c /dev/kvm ] || { chgrp kvm /dev/kvm; chmod 660 /dev/kvm; }
        [ -e /run/libvirt/virtlogd-sock ] && pgrep -x virtlogd > /dev/null || virtlogd -d
        libvirtd -d
    fi
    wait_until 30 libvirt_up
}

# -- PowerDNS ---------------------------------------------------------------------------------------------------------
# An instance of its own beside the one Debian may run on port 53: configuration pdns-aerie.conf, database in our state.
PDNS_CONF=/etc/powerdns/pdns-aerie.conf
PDNS_DATA=$STATE/pdns

start_powerdns() {
    local changed=no text
    install -d -o pdns -g pdns -m 0750 "$PDNS_DATA"
    if [ ! -s "$PDNS_DATA/pdns.sqlite3" ]; then
        python3 - "$PDNS_DATA/pdns.sqlite3" /usr/share/pdns-backend-sqlite3/schema/schema.sqlite3.sql <<'PYTHON'
import pathlib, sqlite3, sys
with sqlite3.connect(sys.argv[1]) as database:
    database.executescript("PRAGMA journal_mode=WAL;" + pathlib.Path(sys.argv[2]).read_text())
PYTHON
        chown pdns:pdns "$PDNS_DATA"/pdns.sqlite3*
    fi
    text=$(render "$HERE/templates/pdns-aerie.conf" "PDNS_API_KEY=$(secret PDNS_API_KEY)" "PDNS_DATA=$PDNS_DATA")
    write_file "$PDNS_CONF" 0640 root:pdns <<< "$text" && changed=yes
    if has_systemd; then
        systemctl is-active -q pdns@aerie || remember_started pdns@aerie
        systemctl enable -q pdns@aerie
        if [ "$changed" = yes ]; then systemctl restart pdns@aerie; else systemctl start pdns@aerie; fi
    elif ! listens 127.0.0.1 8081; then
        install -d -o pdns -g pdns -m 0755 /run/pdns-aerie
        remember_started pdns@aerie
        pdns_server --config-name=aerie --daemon=yes --guardian=no --setuid=pdns --setgid=pdns \
            --write-pid=yes --socket-dir=/run/pdns-aerie
    fi
    wait_until 20 listens 127.0.0.1 8081
    note "DNS on 127.0.0.1:5300"
}

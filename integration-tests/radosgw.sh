#!/usr/bin/env bash
# radosgw.sh COMMAND...: runs a command beside Ceph's S3 gateway; it finds an empty bucket there by CLEW_TEST_STORE and AWS_*.
# The cluster is one node in memory, and gone when the command ends. Installs Ceph from the system's packages (Debian's names)
# when it is missing: 50 packages, half a minute.
set -euo pipefail
(($#)) || { echo "radosgw.sh: name the command to run" >&2; exit 2; }

if ! type ceph ceph-mon ceph-osd radosgw radosgw-admin curl >/dev/null 2>&1; then
    command -v apt-get >/dev/null || { echo "radosgw.sh: install Ceph's mon, osd, radosgw and common, and curl" >&2; exit 1; }
    echo "installing Ceph" >&2
    root=()
    ((EUID == 0)) || root=(sudo)
    "${root[@]}" apt-get update -qq
    # What is only recommended serves real clusters: clocks, disks.
    "${root[@]}" env DEBIAN_FRONTEND=noninteractive apt-get install -qqy --no-install-recommends \
        ceph-common ceph-mon ceph-osd radosgw curl >/dev/null
fi

dir=$(mktemp -d)
pids=()
stop() {
    # Nothing that they have is wanted any more: no daemon needs to end in good order.
    ((${#pids[@]} == 0)) || { kill -KILL "${pids[@]}"; wait "${pids[@]}"; } 2>/dev/null || true
    rm -rf "$dir"
}
trap stop EXIT
trap 'exit 130' INT
trap 'exit 143' TERM

fail() {
    tail -n 20 "$dir"/*.log >&2
    echo "radosgw.sh: $1" >&2
    exit 1
}

# Sets `port`: below those that systems give by themselves, as `free_address` in src/lib.rs.
choose_port() {
    for _ in {1..1000}; do
        port=$((10000 + RANDOM % 22000))
        (: <"/dev/tcp/127.0.0.1/$port") 2>/dev/null || return 0
    done
    fail "no port is free"
}

# Ends even when this script is killed.
daemon() {
    setpriv --pdeathsig KILL "$@" --foreground >"$dir/$1.log" 2>&1 &
    pids+=($!)
}

choose_port
monitor=v2:127.0.0.1:$port
choose_port
gateway=127.0.0.1:$port
uuid=$(</proc/sys/kernel/random/uuid)
# - Only this machine gets at it: no keys. The gateway would want encryption all the same, which there is not without keys.
# - One copy of everything, and few placement groups: there is no manager who would find out how many.
# - Pools are made one after the other at the first start, and changes of maps would wait a second each for others.
# - Large objects that are deleted would stay in memory for two hours.
# - Without tcp_nodelay a GET takes 45 ms instead of 4.
cat >"$dir/ceph.conf" <<CONF
[global]
fsid = $uuid
mon_host = $monitor
mon_data = $dir/monitor
osd_data = $dir/store
run_dir = $dir
crash_dir = $dir
log_file = $dir/\$name.log
admin_socket =
ms_bind_msgr1 = false
auth_cluster_required = none
auth_service_required = none
auth_client_required = none
ms_mon_client_mode = crc
mon_allow_pool_size_one = true
osd_pool_default_size = 1
osd_pool_default_min_size = 1
osd_pool_default_pg_num = 4
osd_pool_default_pg_autoscale_mode = off
osd_objectstore = memstore
memstore_device_bytes = 8G
paxos_propose_interval = 0.05
rgw_frontends = beast endpoint=$gateway tcp_nodelay=1
rgw_gc_obj_min_wait = 60
rgw_gc_processor_period = 60
[mon.a]
public_addr = $monitor
[osd]
public_addr = 127.0.0.1
cluster_addr = 127.0.0.1
CONF
export CEPH_CONF=$dir/ceph.conf

export CLEW_TEST_STORE=s3://clew
export AWS_ENDPOINT=http://$gateway AWS_ALLOW_HTTP=true AWS_REGION=us-east-1
export AWS_ACCESS_KEY_ID=clew-tests AWS_SECRET_ACCESS_KEY=not-a-secret-but-a-fixture

ceph-mon --mkfs --id a >"$dir/mkfs.log" 2>&1 || fail "cannot make the monitor's data"
daemon ceph-mon --id a
ceph --connect-timeout 60 osd new "$uuid" >/dev/null || fail "the monitor does not answer"
mkdir "$dir/store"
ceph-osd --mkfs --id 0 --osd-uuid "$uuid" >"$dir/mkfs.log" 2>&1 || fail "cannot make the store's data"
daemon ceph-osd --id 0
timeout 120 radosgw-admin user create --uid clew --display-name Clew \
    --access-key "$AWS_ACCESS_KEY_ID" --secret "$AWS_SECRET_ACCESS_KEY" >/dev/null || fail "cannot make a user"
# Not before: the first who comes makes the pools, and two would do it at once.
daemon radosgw --id gateway
# The gateway may not listen yet.
curl --silent --show-error --fail --retry 120 --retry-delay 1 --retry-connrefused --max-time 120 --request PUT \
    --user "$AWS_ACCESS_KEY_ID:$AWS_SECRET_ACCESS_KEY" --aws-sigv4 "aws:amz:$AWS_REGION:s3" \
    --header "x-amz-content-sha256: UNSIGNED-PAYLOAD" "$AWS_ENDPOINT/clew" 2>"$dir/curl.log" || fail "cannot make a bucket"

"$@"

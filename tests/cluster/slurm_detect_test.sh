#!/usr/bin/env bash
# slurm_detect_test.sh ORCHCTL
#
# A real Slurm of five pretended nodes in a temporary folder, on free ports, as whoever runs the test: `orchctl cluster
# detect` drafts a file from it, `orchctl validate` accepts the file, and what it says is what slurm.conf below says.
# Nothing of the machine's own Slurm or munge is touched, and every process that is started here is ended here, by its id.
set -euo pipefail

orchctl="$(realpath "$1")"
export PATH="$PATH:/usr/sbin:/sbin"
folder="$(mktemp -d /tmp/orch-slurm.XXXXXX)"
chmod 755 "$folder"  # munged wants no folder above its socket writable by others
pids=()

die() {
  echo "slurm_detect_test: $*" >&2
  for log in munged slurmctld detect gpu1 gpu2 old1 cpu1 cpu2; do
    if [[ -s "$folder/$log.log" ]]; then echo "--- $log" && tail -n 15 "$folder/$log.log"; fi >&2
  done
  exit 1
}

stop_all() {
  local pid
  for pid in "${pids[@]}"; do kill "$pid" 2>/dev/null || true; done
  for pid in "${pids[@]}"; do
    # 5 s to end by itself, then no longer.
    for _ in {1..50}; do
      if ! kill -0 "$pid" 2>/dev/null; then continue 2; fi
      sleep 0.1
    done
    kill -9 "$pid" 2>/dev/null || true
  done
  wait
  rm -rf "$folder"
}
trap stop_all EXIT

# Runs in the background with its output in a log; PIDs of the processes themselves, as none of them daemonises.
start() {
  local name="$1"
  shift
  "$@" >"$folder/$name.log" 2>&1 </dev/null &
  pids+=("$!")
}

# until_true SECONDS WHAT COMMAND...: polls, and gives up loudly.
until_true() {
  local deadline=$((SECONDS + $1)) what="$2"
  shift 2
  until "$@"; do
    ((SECONDS < deadline)) || die "$what"
    sleep 0.1
  done
}

for program in munged slurmctld slurmd sinfo scontrol; do
  command -v "$program" >/dev/null || die "no $program on the PATH; scripts/packages cluster installs it"
done

mapfile -t ports < <(python3 -c '
import socket
held = [socket.socket() for _ in range(6)]
for s in held: s.bind(("127.0.0.1", 0))
for s in held: print(s.getsockname()[1])')

(umask 077 && head -c 1024 /dev/urandom >"$folder/munge.key")
start munged munged --foreground --force --num-threads=1 --key-file="$folder/munge.key" --socket="$folder/munge.sock" \
  --pid-file="$folder/munged.pid" --log-file="$folder/munged.own.log" --seed-file="$folder/munge.seed"
until_true 20 "munged did not open its socket" test -S "$folder/munge.sock"

me="$(id -un)"
host="$(hostname -s)"
mkdir "$folder/state"
for node in gpu1 gpu2 old1 cpu1 cpu2; do mkdir "$folder/spool.$node"; done
for gpu in {0..7}; do : >"$folder/gpu$gpu"; done

cat >"$folder/slurm.conf" <<CONF
ClusterName=orchtest
SlurmctldHost=$host(127.0.0.1)
SlurmUser=$me
SlurmdUser=$me
SlurmctldPort=${ports[0]}
AuthType=auth/munge
AuthInfo=socket=$folder/munge.sock
CredType=cred/munge
StateSaveLocation=$folder/state
SlurmdSpoolDir=$folder/spool.%n
SlurmctldPidFile=$folder/slurmctld.pid
SlurmdPidFile=$folder/slurmd.%n.pid
ProctrackType=proctrack/linuxproc
TaskPlugin=task/none
SelectType=select/cons_tres
SelectTypeParameters=CR_Core
SlurmdParameters=config_overrides
MpiDefault=none
ReturnToService=2
SwitchType=switch/none
GresTypes=gpu,shard
NodeName=gpu[1-2] NodeHostname=$host NodeAddr=127.0.0.1 Port=[${ports[1]},${ports[2]}] CPUs=64 RealMemory=1031519 Gres=gpu:h100:8
NodeName=old1 NodeHostname=$host NodeAddr=127.0.0.1 Port=${ports[3]} CPUs=32 RealMemory=500000 Gres=gpu:a100:4,shard:a100:16
NodeName=cpu[1-2] NodeHostname=$host NodeAddr=127.0.0.1 Port=[${ports[4]},${ports[5]}] CPUs=128 RealMemory=250000
PartitionName=h100quadflex Nodes=gpu[1-2] MaxTime=2-12:00:00 MaxNodes=1 OverSubscribe=EXCLUSIVE Default=YES
PartitionName=old Nodes=old1 MaxTime=INFINITE
PartitionName=cpu Nodes=cpu[1-2] MaxTime=60
CONF
cat >"$folder/gres.conf" <<CONF
NodeName=gpu[1-2] Name=gpu Type=h100 File=$folder/gpu[0-7]
NodeName=old1 Name=gpu Type=a100 File=$folder/gpu[0-3]
NodeName=old1 Name=shard Count=16
CONF
export SLURM_CONF="$folder/slurm.conf"
# What would change the form of the answers must not reach sinfo through orchctl.
export SINFO_FORMAT='%N' SINFO_SORT='-D'

start slurmctld slurmctld -D -i -f "$SLURM_CONF"
for node in gpu1 gpu2 old1 cpu1 cpu2; do start "$node" slurmd -D -N "$node" -f "$SLURM_CONF"; done
all_idle() { [[ "$(sinfo -h -N -o '%N %t' 2>"$folder/sinfo.err" | sort -u | grep -c ' idle$')" == 5 ]]; }
until_true 60 "the five nodes did not come up: $(cat "$folder/sinfo.err" 2>/dev/null || true)" all_idle

draft="$folder/draft.yaml"
"$orchctl" cluster detect --output "$draft" >"$folder/detect.log" 2>&1 || die "orchctl cluster detect ended with $?"
"$orchctl" validate "$draft" >>"$folder/detect.log" 2>&1 || die "orchctl validate refused the draft: $(cat "$draft")"

python3 - "$draft" <<'CHECK' || die "the draft does not say what slurm.conf says: $(cat "$draft")"
import sys, yaml
cluster = yaml.safe_load(open(sys.argv[1]))["cluster"]
assert cluster["name"] == "orchtest", cluster["name"]
partitions = cluster["partitions"]
assert set(partitions) == {"h100quadflex", "old"}, partitions
h100, old = partitions["h100quadflex"], partitions["old"]
expect = dict(gpu="h100_80gb", nodes=2, gpus_per_node=8, cpus_per_node=64, memory_per_node="1031519MiB", max_nodes=1,
              exclusive=True)
for key, value in expect.items(): assert h100[key] == value, (key, h100.get(key), value)
assert h100["max_time"] == "2-12:00:00", h100["max_time"]
assert "shares_gpus" not in h100, h100
expect = dict(gpu="a100_80gb", nodes=1, gpus_per_node=4, cpus_per_node=32, memory_per_node="500000MiB", shares_gpus=True)
for key, value in expect.items(): assert old[key] == value, (key, old.get(key), value)
for key in ("max_time", "max_nodes", "exclusive"): assert key not in old, (key, old)
CHECK
grep -q "'cpu'" "$draft" || die "the partition without GPUs is not named in a comment: $(cat "$draft")"

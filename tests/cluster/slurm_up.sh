#!/usr/bin/env bash
# slurm_up.sh [--accounting] [--nodes N] COMMAND [ARGUMENT...]
#
# Starts a real Slurm of N nodes (4) of 64 CPUs and 8 pretended H100s each on this machine, runs COMMAND with SLURM_CONF
# set, stops it all, and ends with COMMAND's code. --accounting: with slurmdbd and a MariaDB of its own (packages
# slurmdbd, mariadb-server). As whoever calls it, on free ports, in a temporary folder; the machine's own Slurm, munge
# and database are not touched, and every process that is started here is ended here, by its id. SLURM_UP_MIN_JOB_AGE is
# the seconds for which the controller remembers jobs that are over (300).
#
# What jobs can meet here: the partition `main` (up to an hour), and with accounting the account `science` and the QOS
# `few` (one job a user) and `brief` (a minute a job).
#
# Example: tests/cluster/slurm_up.sh --accounting bash
set -euo pipefail

accounting=no nodes=4
while [[ "${1:-}" == --* ]]; do
  case "$1" in
    --accounting) accounting=yes ;;
    --nodes) nodes="$2" && shift ;;
    *) echo "slurm_up: no option '$1'" >&2 && exit 2 ;;
  esac
  shift
done
(($#)) || { echo "slurm_up: which command is to be run?" >&2 && exit 2; }

export PATH="$PATH:/usr/sbin:/sbin"
unset "${!SLURM@}" "${!SBATCH@}" "${!SQUEUE@}" "${!SACCT@}"
folder="$(mktemp -d /tmp/orch-slurm.XXXXXX)"
chmod 755 "$folder"  # munged wants no folder above its socket writable by others
pids=()

die() {
  echo "slurm_up: $*" >&2
  for log in "$folder"/*.log; do
    if [[ -s "$log" ]]; then echo "--- $log" && tail -n 15 "$log"; fi >&2
  done
  exit 1
}

# The last that was started goes first: a slurmdbd without its database would try for minutes.
stop_all() {
  local pid i
  for ((i = ${#pids[@]} - 1; i >= 0; --i)); do
    pid="${pids[i]}"
    kill "$pid" 2>/dev/null || true
    kill -CONT "$pid" 2>/dev/null || true
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
trap 'exit 143' TERM INT

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

needed=(munged slurmctld slurmd sbatch)
if [[ "$accounting" == yes ]]; then needed+=(slurmdbd mariadbd mariadb-install-db); fi
for program in "${needed[@]}"; do
  command -v "$program" >/dev/null || die "no $program on the PATH; scripts/packages cluster installs it"
done

mapfile -t ports < <(python3 -c '
import socket, sys
held = [socket.socket() for _ in range(int(sys.argv[1]))]
for s in held: s.bind(("127.0.0.1", 0))
for s in held: print(s.getsockname()[1])' "$((nodes + 3))")
slurmd_ports="$(IFS=, && echo "${ports[*]:3}")"

(umask 077 && head -c 1024 /dev/urandom >"$folder/munge.key")
start munged munged --foreground --force --num-threads=2 --key-file="$folder/munge.key" --socket="$folder/munge.sock" \
  --pid-file="$folder/munged.pid" --log-file="$folder/munged.own.log" --seed-file="$folder/munge.seed"
until_true 20 "munged did not open its socket" test -S "$folder/munge.sock"

me="$(id -un)"
host="$(hostname -s)"
mkdir "$folder/state"
for ((i = 1; i <= nodes; ++i)); do mkdir "$folder/spool.gpu$i"; done
for gpu in {0..7}; do : >"$folder/gpu$gpu"; done

accounting_lines="AccountingStorageType=accounting_storage/none"
if [[ "$accounting" == yes ]]; then
  accounting_lines="AccountingStorageType=accounting_storage/slurmdbd
AccountingStorageHost=127.0.0.1
AccountingStoragePort=${ports[2]}
AccountingStoragePass=$folder/munge.sock
AccountingStoreFlags=job_comment
AccountingStorageTRES=gres/gpu
AccountingStorageEnforce=associations,limits,qos"
fi
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
SelectTypeParameters=CR_Core_Memory
SlurmdParameters=config_overrides
SchedulerParameters=bf_interval=2,sched_min_interval=100000,batch_sched_delay=0
MpiDefault=none
ReturnToService=2
SwitchType=switch/none
EnforcePartLimits=ALL
GresTypes=gpu
SlurmdTimeout=5
KillWait=5
MinJobAge=${SLURM_UP_MIN_JOB_AGE:-300}
$accounting_lines
NodeName=gpu[1-$nodes] NodeHostname=$host NodeAddr=127.0.0.1 Port=[$slurmd_ports] CPUs=64 RealMemory=1031519 Gres=gpu:h100:8
PartitionName=main Nodes=ALL MaxTime=60 Default=YES
CONF
cat >"$folder/gres.conf" <<CONF
NodeName=gpu[1-$nodes] Name=gpu Type=h100 File=$folder/gpu[0-7]
CONF
export SLURM_CONF="$folder/slurm.conf"

start_accounting() {
  mkdir "$folder/db"
  local as_mysql=()
  # mariadbd does not run as root of itself.
  if [[ "$(id -u)" == 0 ]]; then
    chown mysql "$folder/db"
    as_mysql=(--user=mysql)
  fi
  mariadb-install-db --no-defaults --datadir="$folder/db" --auth-root-authentication-method=normal --skip-test-db \
    "${as_mysql[@]}" >"$folder/install-db.log" 2>&1 || die "mariadb-install-db failed"
  start mariadbd mariadbd --no-defaults --datadir="$folder/db" --socket="$folder/db/db.sock" --port="${ports[1]}" \
    --bind-address=127.0.0.1 --skip-grant-tables --skip-networking=0 --innodb-buffer-pool-size=64M --pid-file="$folder/db/db.pid" \
    --innodb-flush-log-at-trx-commit=0 "${as_mysql[@]}"
  until_true 60 "mariadbd did not open its socket" test -S "$folder/db/db.sock"
  (umask 077 && cat >"$folder/slurmdbd.conf" <<CONF
AuthType=auth/munge
AuthInfo=socket=$folder/munge.sock
DbdHost=localhost
DbdAddr=127.0.0.1
DbdPort=${ports[2]}
SlurmUser=$me
PidFile=$folder/slurmdbd.pid
StorageType=accounting_storage/mysql
StorageHost=127.0.0.1
StoragePort=${ports[1]}
StorageUser=slurm
StorageLoc=orchtest
CONF
  )
  # slurmdbd looks for its file beside slurm.conf.
  start slurmdbd slurmdbd -D
  until_true 60 "slurmdbd did not answer" sacctmgr_quiet -n show cluster
  sacctmgr_quiet -i add cluster orchtest || true
  sacctmgr_quiet -i add account science description=science organization=orch
  sacctmgr_quiet -i add user "$me" account=science defaultaccount=science
  sacctmgr_quiet -i add qos few set MaxSubmitJobsPerUser=1 flags=DenyOnLimit
  sacctmgr_quiet -i add qos brief set MaxWall=1 flags=DenyOnLimit
  sacctmgr_quiet -i modify user "$me" set qos+=few,brief,normal
}
sacctmgr_quiet() { sacctmgr "$@" >"$folder/sacctmgr.log" 2>&1; }
if [[ "$accounting" == yes ]]; then start_accounting; fi

start slurmctld slurmctld -D -i -f "$SLURM_CONF"
for ((i = 1; i <= nodes; ++i)); do start "gpu$i" slurmd -D -N "gpu$i" -f "$SLURM_CONF"; done
all_idle() { [[ "$(sinfo -h -N -p main -o '%N %t' 2>"$folder/sinfo.err" | sort -u | grep -c ' idle$')" == "$nodes" ]]; }
until_true 60 "the $nodes nodes did not come up: $(cat "$folder/sinfo.err" 2>/dev/null || true)" all_idle

code=0
"$@" || code=$?
scancel --user="$me" >/dev/null 2>&1 || true
(exit "$code")  # not `exit` itself: shellcheck takes what a trap runs for unreachable then

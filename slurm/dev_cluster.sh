#!/usr/bin/env bash
# A real SLURM cluster on this one machine, to throw away: munged, slurmctld, any number of
# slurmd and, for accounting, slurmdbd with MariaDB. No systemd, no cgroups, no files outside
# the state directory. `dev_cluster.sh --help` says how to use it.
set -uo pipefail

usage() {
  cat <<'EOF_USAGE'
usage: dev_cluster.sh up|down|status|env          [STATE_DIR]
       dev_cluster.sh kill-node|start-node  NODE  [STATE_DIR]
       dev_cluster.sh stop-controller|start-controller  [STATE_DIR]

  up          start the cluster and wait until its nodes are idle
  down        cancel every job and stop the cluster; the state directory stays (job ids go on)
  status      daemons, partitions and the length of the queue; exit code 3 when it is down
  env         print the line that points sbatch, squeue and the others at the cluster:
                  slurm/dev_cluster.sh up && eval "$(slurm/dev_cluster.sh env)"
  kill-node   kill the slurmd of NODE as a crash would; the processes of its jobs live on
  start-node  start it again
  stop-controller, start-controller
              end slurmctld in good order and start it again; what is queued and runs stays

STATE_DIR is /tmp/lrscale-slurm-UID unless given. Nodes are 127.0.0.1, 127.0.0.2, … (names that
resolve everywhere). Partitions: main; low, whose jobs are requeued at once when `high` needs
the node; lowg, the same after 20 s of grace; high.
The cluster runs as the caller. Started by root it runs any user's jobs, else the caller's only.

Settings, as environment variables of `up`:
  NODES=4  CPUS=16  GPUS=8  MEM=64000   what each node claims to have (MEM in MB). Nothing holds
                        a job to it; the GPUs are links to /dev/null that only SLURM counts.
  PORT                  first of 2 + NODES TCP ports; default: a free block, 10000 to 19999
  DBD=1                 0: no accounting (no sacct, no MariaDB)
  MAX_ARRAY_SIZE=20001  greatest array index + 1
  EXTRA_CONF            further lines of slurm.conf; they replace those of the same name
  EXTRA_CGROUP_CONF     further lines of cgroup.conf, as ConstrainRAMSpace=yes with
                        TaskPlugin=task/cgroup in EXTRA_CONF: jobs are held to their memory
EOF_USAGE
}

PATH=$PATH:/usr/sbin:/sbin # where distributions put the daemons, not on every user's PATH

die() {
  echo "dev_cluster.sh: $*" >&2
  exit 1
}

since_start() { printf '%3ds  %s\n' "$SECONDS" "$*"; }

# ---- processes ----------------------------------------------------------------------------
# A daemon is known by its pid and its start time, so that a number used again by another
# process is never signalled.

start_time() { # PID; nothing for a zombie, which not every container's init reaps
  awk '$3 != "Z" { print $22 }' "/proc/$1/stat" 2>/dev/null
}

alive() { # NAME: is the recorded process still the one that was started?
  local pid started
  read -r pid started 2>/dev/null <"$state/pid/$1" || return 1
  [ -n "$started" ] && [ "$(start_time "$pid")" = "$started" ]
}

start() { # NAME COMMAND…: a foreground daemon in a session of its own
  local name=$1
  shift
  # No core of a daemon that crashes in whatever folder the caller is in.
  (ulimit -c 0 && exec setsid "$@") </dev/null >>"$state/log/$name.out" 2>&1 &
  echo "$! $(start_time $!)" >"$state/pid/$name"
}

stop() { # NAME SIGNAL SECONDS: SIGKILL follows when the time is over
  local name=$1 signal=$2 tries=$(($3 * 20)) pid
  if alive "$name"; then
    read -r pid _ <"$state/pid/$name"
    kill -"$signal" "$pid" 2>/dev/null
    while alive "$name" && [ $((tries -= 1)) -gt 0 ]; do sleep .05; done
    alive "$name" && kill -KILL "$pid" 2>/dev/null
  fi
  rm -f "$state/pid/$name"
}

wait_for() { # NAME SECONDS COMMAND…: until COMMAND succeeds; gives the cluster up when it does not
  local name=$1 tries=$(($2 * 20))
  shift 2
  until "$@" >/dev/null 2>&1; do
    if [ $((tries -= 1)) -le 0 ] || ! alive "$name"; then
      echo "dev_cluster.sh: $name does not answer; the end of its log:" >&2
      tail -qn 15 "$state/log/$name".* >&2
      take_down >/dev/null
      exit 1
    fi
    sleep .05
  done
}

kill_tree() { # PID: with all its descendants
  local child
  for child in $(pgrep -P "$1"); do kill_tree "$child"; done
  kill -KILL "$1" 2>/dev/null
}

kill_steps() { # job steps that outlived their slurmd, told from others' by their open log file
  local pid
  for pid in $(pgrep -x slurmstepd); do
    if readlink "/proc/$pid"/fd/* 2>/dev/null | grep -qF "$state/log/slurmd-"; then
      kill_tree "$pid"
    fi
  done
}

# ---- configuration ------------------------------------------------------------------------

require() { # PACKAGE COMMAND…: adds to `missing` what is not installed
  local package=$1 command
  shift
  for command; do
    type -P "$command" >/dev/null || { missing+=" $command" && packages+=" $package"; }
  done
}

check_installed() {
  missing='' packages=''
  require munge munged munge
  require slurmctld slurmctld
  require slurmd slurmd
  require slurm-client sbatch srun scancel scontrol sinfo squeue
  require procps pgrep
  if [ "$DBD" = 1 ]; then
    require slurmdbd slurmdbd
    require slurm-client sacct sacctmgr
    require mariadb-server mariadbd mariadb-install-db
    require mariadb-client mariadb
  fi
  [ -z "$missing" ] && return
  packages=$(tr ' ' '\n' <<<"$packages slurm-wlm-basic-plugins" | sort -u | tr '\n' ' ')
  echo "dev_cluster.sh: not installed:$missing" >&2
  echo "on Debian or Ubuntu, as root:" >&2
  echo "    apt-get install --no-install-recommends${packages% }" >&2
  [ "$DBD" = 1 ] && echo "(DBD=0 does without accounting: no slurmdbd, no MariaDB)" >&2
  exit 1
}

check_settings() {
  local name
  for name in NODES CPUS GPUS MEM DBD MAX_ARRAY_SIZE; do
    [[ ${!name} =~ ^[0-9]+$ ]] || die "$name: expected a whole number, got '${!name}'"
  done
  ((1 <= NODES && NODES <= 250)) || die "NODES: expected 1 to 250, got $NODES"
  [ ! -e "$state" ] || [ -O "$state" ] || die "state directory '$state' belongs to someone else"
  [[ $state =~ ^[A-Za-z0-9/._+-]+$ ]] || die "state directory '$state': SLURM takes no such name"
  # slurmstepd puts sockets below it, and the name of a socket holds at most 107 bytes
  [ ${#state} -le 60 ] || die "state directory '$state': longer than 60 characters"
}

block_free() { # FIRST: nobody listens on any port of the block
  local port
  for port in $(seq "$1" $(($1 + NODES + 1))); do
    (exec 3<>"/dev/tcp/127.0.0.1/$port") 2>/dev/null && return 1
  done
  return 0
}

# Sets PORT. Drawn from as many blocks as there are, so that two clusters that start at once do not
# want the same; below the ports at which the ranks of its jobs meet (launch/ranks.py).
choose_ports() {
  if [ -n "${PORT:-}" ]; then
    block_free "$PORT" || die "PORT=$PORT: ports $PORT to $((PORT + NODES + 1)) are not all free"
    return
  fi
  local try size=$((NODES + 2))
  for try in {1..50}; do
    PORT=$((10000 + size * (RANDOM % (10000 / size))))
    block_free "$PORT" && return
  done
  die "no free block of ports found in $try tries: choose one with PORT="
}

replace_by_extra() { # stdin: slurm.conf; leaves out what EXTRA_CONF says again, then adds it
  awk -v extra="${EXTRA_CONF:-}" '
    function name_of(line, parts) { # "Key", or "PartitionName=name" whole
      split(line, parts, /[= ]/)
      return tolower(parts[1] ~ /^PartitionName$/ ? parts[1] "=" parts[2] : parts[1])
    }
    BEGIN { n = split(extra, lines, "\n"); for (i = 1; i <= n; i++) again[name_of(lines[i])] }
    !(name_of($0) in again)
    END { print extra }'
}

cgroup_conf() { # SLURM from 24.05 on does without cgroups; before, v1 is the plugin that asks least
  local version
  version=$(slurmctld -V | grep -oE '[0-9]+\.[0-9]+' | head -n1)
  if [ "${version//./}" -ge 2405 ]; then echo CgroupPlugin=disabled; else echo CgroupPlugin=cgroup/v1; fi
}

slurm_conf() {
  local i
  cat <<EOF_CONF
ClusterName=dev
SlurmctldHost=$host(127.0.0.1)
SlurmctldPort=$PORT
SlurmUser=$user
SlurmdUser=$user
AuthType=auth/munge
# cred_expire is also how long a requeued job waits before it may start again (120 s by default)
AuthInfo=socket=$state/run/munge.sock,cred_expire=5
StateSaveLocation=$state/save
SlurmdSpoolDir=$state/spool/%n
SlurmctldPidFile=$state/run/slurmctld.pid
SlurmdPidFile=$state/run/slurmd-%n.pid
SlurmctldLogFile=$state/log/slurmctld.log
SlurmdLogFile=$state/log/slurmd-%n.log
SlurmctldDebug=info
SlurmdDebug=info

# one machine stands for many, as any user: no cgroups, no binding, no MPI
ProctrackType=proctrack/linuxproc
TaskPlugin=task/none
MpiDefault=none
JobAcctGatherType=jobacct_gather/linux
JobAcctGatherFrequency=30
PropagateResourceLimits=NONE
SlurmdParameters=config_overrides
SelectType=select/cons_tres
SelectTypeParameters=CR_CPU_Memory
DefMemPerCPU=100
GresTypes=gpu

# quick to schedule, quick to notice
SchedulerType=sched/backfill
SchedulerParameters=batch_sched_delay=0,sched_interval=1,sched_min_interval=0,bf_interval=1,default_queue_depth=2000,bf_max_job_test=2000,preempt_youngest_first
KillWait=5
CompleteWait=0
MessageTimeout=10
SlurmdTimeout=12
SlurmctldTimeout=30
UnkillableStepTimeout=20
InactiveLimit=0
MinJobAge=300
ReturnToService=2

JobRequeue=1
MaxArraySize=$MAX_ARRAY_SIZE
MaxJobCount=60000
MaxStepCount=100000
PreemptType=preempt/partition_prio
PreemptMode=REQUEUE
EOF_CONF
  [ "$DBD" = 1 ] && cat <<EOF_CONF
AccountingStorageType=accounting_storage/slurmdbd
AccountingStorageHost=127.0.0.1
AccountingStoragePort=$((PORT + 1))
AccountingStoragePass=$state/run/munge.sock
AccountingStorageTRES=gres/gpu
EOF_CONF
  for i in $(seq "$NODES"); do
    echo "NodeName=127.0.0.$i NodeHostname=$host NodeAddr=127.0.0.1 Port=$((PORT + 1 + i))" \
      "CPUs=$CPUS RealMemory=$MEM $([ "$GPUS" -gt 0 ] && echo "Gres=gpu:$GPUS") State=UNKNOWN"
  done
  cat <<EOF_CONF
PartitionName=main Nodes=ALL Default=YES MaxTime=INFINITE PriorityTier=5 PreemptMode=OFF State=UP
PartitionName=low Nodes=ALL MaxTime=INFINITE PriorityTier=1 PreemptMode=REQUEUE GraceTime=0 State=UP
PartitionName=lowg Nodes=ALL MaxTime=INFINITE PriorityTier=1 PreemptMode=REQUEUE GraceTime=20 State=UP
PartitionName=high Nodes=ALL MaxTime=INFINITE PriorityTier=10 PreemptMode=OFF State=UP
EOF_CONF
}

slurmdbd_conf() {
  cat <<EOF_CONF
AuthType=auth/munge
AuthInfo=socket=$state/run/munge.sock
DbdHost=localhost
DbdAddr=127.0.0.1
DbdPort=$((PORT + 1))
SlurmUser=$user
LogFile=$state/log/slurmdbd.log
PidFile=$state/run/slurmdbd.pid
DebugLevel=info
CommitDelay=1
StorageType=accounting_storage/mysql
StorageHost=localhost
StorageUser=root
StorageLoc=slurm_acct
EOF_CONF
}

configure() {
  local i
  mkdir -p "$state"/{etc,log,pid,run,spool,save,dev,mysql} || exit 1
  chmod 755 "$state" "$state"/{etc,log,pid,run,spool,dev} && chmod 700 "$state"/{save,mysql}
  [ -f "$state/etc/munge.key" ] || (umask 077 && head -c 1024 /dev/urandom >"$state/etc/munge.key")
  : >"$state/etc/gres.conf"
  if [ "$GPUS" -gt 0 ]; then # a GPU's File= must be a character device
    for i in $(seq 0 $((GPUS - 1))); do ln -sfn /dev/null "$state/dev/gpu$i"; done
    echo "AutoDetect=off" >"$state/etc/gres.conf"
    echo "NodeName=127.0.0.[1-$NODES] Name=gpu File=$state/dev/gpu[0-$((GPUS - 1))]" \
      >>"$state/etc/gres.conf"
  fi
  { cgroup_conf && echo "${EXTRA_CGROUP_CONF:-}"; } >"$state/etc/cgroup.conf"
  slurm_conf | replace_by_extra >"$state/etc/slurm.conf"
  (umask 077 && slurmdbd_conf >"$state/etc/slurmdbd.conf")
}

# ---- verbs --------------------------------------------------------------------------------

start_database() { # MariaDB without a port: its socket lies in a directory of ours alone
  local options=(--no-defaults "--datadir=$state/mysql" "--socket=$state/mysql/sock" "--user=$user")
  options+=("--tmpdir=$state/run") # in /tmp one server removes the other's temporary tables
  if [ ! -d "$state/mysql/mysql" ]; then
    mariadb-install-db "${options[@]}" --auth-root-authentication-method=normal --skip-test-db \
      >"$state/log/mariadb-install.log" 2>&1 || {
      tail "$state/log/mariadb-install.log" >&2
      die "mariadb-install-db failed"
    }
  fi
  start mariadbd mariadbd "${options[@]}" --skip-networking --skip-log-bin \
    "--pid-file=$state/run/mariadbd.pid" --innodb-buffer-pool-size=64M --performance-schema=OFF \
    --innodb-flush-log-at-trx-commit=2 --innodb-lock-wait-timeout=900
  wait_for mariadbd 60 mariadb --no-defaults -S "$state/mysql/sock" -u root -e 'select 1'
}

record() { # cluster|account|user NAME SETTING…, in the accounting; an earlier `up` may have done it
  sacctmgr -iQ add "$@" || sacctmgr -nP show "$1" "$2" | grep -q .
}

start_accounting() { # with an account for the caller: where limits are enforced, jobs need one
  MYSQL_UNIX_PORT=$state/mysql/sock SLURM_CONF=$state/etc/slurmdbd.conf start slurmdbd slurmdbd -D
  wait_for slurmdbd 60 record cluster dev
  wait_for slurmdbd 60 record account dev
  wait_for slurmdbd 60 record user "$user" account=dev defaultaccount=dev
}

start_node() { # NODE
  start "slurmd-$1" slurmd -D -f "$SLURM_CONF" -N "$1"
}

start_controller() { start slurmctld slurmctld -D -f "$SLURM_CONF"; }

nodes_idle() { [ "$(sinfo -h -N -p main -t idle -o %N | wc -l)" = "$NODES" ]; }

bring_up() {
  local i
  alive slurmctld && echo "already up in $state" && return
  check_installed
  check_settings
  choose_ports
  configure
  start munged munged -F -f "--key-file=$state/etc/munge.key" "--socket=$state/run/munge.sock" \
    "--pid-file=$state/run/munged.pid" "--log-file=$state/log/munged.log" \
    "--seed-file=$state/run/munge.seed"
  wait_for munged 60 munge -S "$state/run/munge.sock" -n
  if [ "$DBD" = 1 ]; then
    start_database
    since_start "MariaDB answers"
    start_accounting
    since_start "slurmdbd answers"
  fi
  start_controller
  for i in $(seq "$NODES"); do start_node "127.0.0.$i"; done
  wait_for slurmctld 60 scontrol ping
  wait_for slurmctld 60 nodes_idle
  since_start "$NODES nodes idle, ports $PORT to $((PORT + NODES + 1)), in $state"
}

cancel_jobs() { # gives them two seconds to leave
  local jobs tries=20
  jobs=$(timeout 10 squeue -h -o %A | sort -u)
  [ -z "$jobs" ] && return
  xargs -n 500 timeout 20 scancel -Q <<<"$jobs"
  while [ -n "$(timeout 10 squeue -h -o %A | head -n1)" ] && [ $((tries -= 1)) -gt 0 ]; do
    sleep .1
  done
}

take_down() { # only slurmctld and slurmdbd have anything to write before they go
  local file
  alive slurmctld && cancel_jobs 2>/dev/null
  kill_steps
  for file in "$state"/pid/slurmd-*; do
    [ -e "$file" ] && stop "${file##*/}" KILL 5
  done
  stop slurmctld TERM 10
  stop slurmdbd TERM 10
  stop mariadbd KILL 5 # loses nothing: InnoDB, with its log written at each commit
  stop munged TERM 5
  since_start "down"
}

show_status() {
  local file name code=0
  alive slurmctld || code=3
  for file in "$state"/pid/*; do
    [ -e "$file" ] || continue
    name=${file##*/}
    if alive "$name"; then
      echo "$name runs, pid $(cut -d' ' -f1 "$file")"
    else
      echo "$name has died"
      [ $code = 3 ] || code=1
    fi
  done
  if [ $code = 3 ]; then
    echo "the cluster is down"
  else
    timeout 10 sinfo -o '%P %a %D %T %C %G'
    echo "$(timeout 10 squeue -h | wc -l) jobs in the queue"
  fi
  return $code
}

print_env() {
  alive slurmctld || die "no cluster is up in $state (start one with: $0 up)"
  printf 'export SLURM_CONF=%q\n' "$SLURM_CONF"
}

known_node() { # NODE
  grep -q "^NodeName=${1//./\\.} " "$SLURM_CONF" 2>/dev/null || die "no node '$1' in $state"
}

main() {
  local verb=${1:-} node=''
  case $verb in
    up | down | status | env | stop-controller | start-controller) shift ;;
    kill-node | start-node)
      node=${2:-}
      [ -n "$node" ] || die "$verb: which node? (127.0.0.1, …)"
      shift 2
      ;;
    -h | --help)
      usage
      exit 0
      ;;
    *)
      usage >&2
      exit 2
      ;;
  esac
  [ $# -le 1 ] || { usage >&2 && exit 2; }

  NODES=${NODES:-4} CPUS=${CPUS:-16} GPUS=${GPUS:-8} MEM=${MEM:-64000} DBD=${DBD:-1}
  MAX_ARRAY_SIZE=${MAX_ARRAY_SIZE:-20001}
  state=$(realpath -m "${1:-/tmp/lrscale-slurm-$UID}")
  user=$(id -un) host=$(uname -n) host=${host%%.*}
  export SLURM_CONF=$state/etc/slurm.conf

  case $verb in
    up) bring_up ;;
    down) take_down ;;
    status) show_status ;;
    env) print_env ;;
    kill-node) known_node "$node" && stop "slurmd-$node" KILL 5 ;;
    start-node) known_node "$node" && start_node "$node" ;;
    stop-controller) stop slurmctld TERM 10 ;;
    start-controller) start_controller ;;
  esac
}

main "$@"

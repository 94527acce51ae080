#!/usr/bin/env bash
# A controller of Slurm and two nodes on the loopback of this machine, as the current user: an array of shares of which one is cancelled and
# requeued, and one loses its node. The merged file must be that of one run.
#   slurm.sh TensorNets.Tool.dll model.safetensors plan.json compress.sbatch
# Debian: slurm-wlm, munge. The exit code is 77 where they cannot be started, and the last line says why.
set -euo pipefail
PATH=$PATH:/usr/sbin:/sbin
dll=$(realpath "$1") model=$(realpath "$2") plan=$(realpath "$3") batch=$(realpath "$4")
folder=$(mktemp -d) host=$(hostname -s) shares=12

skip() { echo "skipped: $1"; exit 77; }
fail() { echo "failed: $1" >&2; tail -n 20 "$folder"/*.log >&2; exit 1; }
stop() { [[ ! -f $1 ]] || kill -9 "$(<"$1")" 2>/dev/null || true; }

# The processes of a node's tasks, and the daemon of each step, which is the parent of its batch script.
tasks_of() {
    grep -lzxF -e "SLURM_TEST_FOLDER=$folder" /proc/[0-9]*/environ 2>/dev/null |
        xargs -r grep -lzxF -e "SLURMD_NODENAME=$1" 2>/dev/null | cut -d / -f 3 || true
}

# A machine that fails says nothing any more: the step's daemon goes first, so that it does not report the end of its task.
lose_node() {
    local pid parent
    local -a own=()
    stop "$folder/$1.pid"
    mapfile -t own < <(tasks_of "$1")
    for pid in "${own[@]}"; do
        parent=$(ps -o ppid= -p "$pid" | tr -d ' ' || true)
        if [[ -n $parent && $(ps -o args= -p "$parent" || true) == slurmstepd:* ]]; then kill -9 "$parent" 2>/dev/null || true; fi
    done
    [[ ${#own[@]} -eq 0 ]] || kill -9 "${own[@]}" 2>/dev/null || true
}

clean() {
    set +e
    [[ -z ${single:-} ]] || kill "$single" 2>/dev/null
    lose_node node1
    lose_node node2
    stop "$folder/slurmctld.pid"
    stop "$folder/munged.pid"
    rm -rf "$folder"
}
trap clean EXIT

for program in munged slurmctld slurmd sbatch; do
    command -v "$program" >/dev/null || skip "there is no $program; Debian has it in slurm-wlm and munge"
done

mkdir "$folder"/{state,node1,node2,bin}
chmod 755 "$folder"
head -c 1024 /dev/urandom >"$folder/munge.key"
chmod 400 "$folder/munge.key"
printf '#!/usr/bin/env bash\nexec dotnet "%s" "$@"\n' "$dll" >"$folder/bin/tensornets"
chmod 755 "$folder/bin/tensornets"
cat >"$folder/slurm.conf" <<END
ClusterName=loopback
SlurmctldHost=$host(127.0.0.1)
SlurmUser=$(id -un)
SlurmdUser=$(id -un)
AuthType=auth/munge
AuthInfo=socket=$folder/munge.socket,cred_expire=5
SlurmctldPort=17817
StateSaveLocation=$folder/state
SlurmdSpoolDir=$folder/%n
SlurmctldPidFile=$folder/slurmctld.pid
SlurmdPidFile=$folder/%n.pid
SlurmctldLogFile=$folder/slurmctld.log
SlurmdLogFile=$folder/%n.log
ProctrackType=proctrack/linuxproc
TaskPlugin=task/none
JobAcctGatherType=jobacct_gather/none
AccountingStorageType=accounting_storage/none
SelectType=select/cons_tres
SelectTypeParameters=CR_Core
SchedulerParameters=sched_interval=2,batch_sched_delay=1
MpiDefault=none
ReturnToService=2
SlurmdTimeout=6
KillWait=1
MinJobAge=3600
SlurmdParameters=config_overrides
NodeName=node1 NodeHostname=$host NodeAddr=127.0.0.1 Port=17818 CPUs=1 RealMemory=4096
NodeName=node2 NodeHostname=$host NodeAddr=127.0.0.1 Port=17819 CPUs=1 RealMemory=4096
PartitionName=all Nodes=node1,node2 Default=YES State=UP
END
export SLURM_CONF=$folder/slurm.conf PATH=$folder/bin:$PATH SLURM_TEST_FOLDER=$folder
munged --force --key-file="$folder/munge.key" --socket="$folder/munge.socket" --pid-file="$folder/munged.pid" \
    --log-file="$folder/munged.log" --seed-file="$folder/munge.seed" || skip "munged does not start"
slurmctld || skip "slurmctld does not start"
for node in node1 node2; do slurmd -N "$node" || skip "slurmd does not start"; done
for ((i = 0; ; i++)); do
    [[ $(sinfo -hN -o %t 2>/dev/null | grep -c idle) -ge 2 ]] && break
    [[ $i -lt 40 ]] || skip "the nodes are not idle after 20 s: $(sinfo -hN -o '%N %t' | tr '\n' ' ')"
    sleep 0.5
done
echo "a controller and two nodes after $SECONDS s"

# One run on one machine, beside the array.
whole=$folder/whole.safetensors merged=$folder/merged.safetensors work=$folder/work
OMP_NUM_THREADS=1 tensornets compress "$model" --plan "$plan" -o "$whole" --workers 1 >"$folder/whole.log" 2>&1 &
single=$!
cd "$folder"
job=$(sbatch --parsable --array="1-$shares" "$batch" "$model" "$plan" "$work")
layers() { find "$work" -name '*.safetensors' 2>/dev/null | wc -l; }
running() { squeue -h -r -j "$job" -t R -w "$1" -o %K 2>/dev/null | head -n 1; }
busy() { # a node whose task is under way, a layer having been finished
    local count=$2 task=
    for ((i = 0; i < 1200; i++)); do
        task=$(running "$1")
        [[ -n $task && $(layers) -ge $count ]] && [[ -n $(tasks_of "$1") ]] && { echo "$task"; return; }
        sleep 0.1
    done
    fail "no task on $1 is under way with $count layers finished"
}

fresh() { # a node whose task has just begun, so that it has all of it to lose
    local before task=
    before=$(running "$1")
    for ((i = 0; i < 1200; i++)); do
        task=$(running "$1")
        [[ -n $task && $task != "$before" ]] && [[ -n $(tasks_of "$1") ]] && { echo "$task"; return; }
        sleep 0.1
    done
    fail "no task begins on $1 after task $before"
}

cancelled=$(busy node1 1)
scancel "${job}_$cancelled"
echo "task $cancelled cancelled on node1 with $(layers) layers finished, after $SECONDS s"
# A task is requeued when it has ended.
for ((i = 0; ; i++)); do
    scontrol requeue "${job}_$cancelled" 2>"$folder/requeue.log" && break
    [[ $i -lt 150 ]] || fail "task $cancelled is not requeued 30 s after it was cancelled"
    sleep 0.2
done
lost=$(fresh node2)
lose_node node2
echo "node2 lost with task $lost under way and $(layers) layers finished, after $SECONDS s"
for ((i = 0; i < 600; i++)); do
    [[ -z $(squeue -h -j "$job" 2>/dev/null) ]] && break
    sleep 0.5
done
scontrol show job "$job" -o >"$folder/jobs.log"
[[ $(grep -c 'JobState=COMPLETED' "$folder/jobs.log") -eq $shares ]] || fail "not all of $shares tasks are completed"
for task in "$cancelled" "$lost"; do
    grep "ArrayTaskId=$task " "$folder/jobs.log" | grep -q 'Restarts=[1-9]' || fail "task $task was not begun again"
done
wait "$single" || fail "the run on one machine"
tensornets merge --work "$work" -o "$merged" >"$folder/merge.log" 2>&1 || fail "merge"
cmp "$whole" "$merged" || fail "the merged file is another than that of one run"
echo "passed: $shares tasks, one cancelled and requeued, one begun again on another node; $(layers) layers merged to the same bits; $SECONDS s"

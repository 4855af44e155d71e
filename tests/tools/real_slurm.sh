#!/bin/bash
# A sweep on a real Slurm, by hand: bash tests/tools/real_slurm.sh FOLDER [PYTHON]
#
# Unpacks Debian's packages into the folder, starts a cluster of this machine alone without installing
# anything, runs a sweep of the demo model in two tasks, requeues one of them when half of the
# records are there, and ends when the merge has. About five minutes on two cores.
set -euo pipefail
mkdir -p "$1"
here=$(realpath "$1")
python=${2:-python}
host=$(hostname -s)
root=$here/root
plugins=$root/usr/lib/$(uname -m)-linux-gnu/slurm-wlm

if [ ! -d "$root" ]; then
    mkdir -p "$here/packages"
    cd "$here/packages"
    apt-get download -q slurmctld slurmd slurm-client slurm-wlm-basic-plugins \
        libmunge2 libhwloc15 libb64-0d libjwt2 liblua5.1-0 libpmix2t64
    for package in *.deb; do dpkg -x "$package" "$root"; done
    # A daemon goes by the name that it was called by.
    for name in slurmctld slurmd slurmstepd; do ln -s "$name-wlm" "$root/usr/sbin/$name"; done
    cd - > /dev/null
fi

mkdir -p "$here/etc" "$here/state" "$here/spool"
echo "CgroupPlugin=disabled" > "$here/etc/cgroup.conf"
cat > "$here/etc/slurm.conf" <<CONF
ClusterName=here
SlurmctldHost=$host(127.0.0.1)
AuthType=auth/none
CredType=cred/none
ProctrackType=proctrack/linuxproc
TaskPlugin=task/none
MpiDefault=none
PluginDir=$plugins
SlurmUser=$(id -un)
SlurmdUser=$(id -un)
StateSaveLocation=$here/state
SlurmdSpoolDir=$here/spool
SlurmctldPidFile=$here/slurmctld.pid
SlurmdPidFile=$here/slurmd.pid
SlurmctldPort=16817
SlurmdPort=16818
SelectType=select/cons_tres
SelectTypeParameters=CR_Core
KillWait=10
NodeName=$host NodeAddr=127.0.0.1 CPUs=2 State=UNKNOWN
PartitionName=low Nodes=ALL Default=YES State=UP
CONF
export SLURM_CONF=$here/etc/slurm.conf
export LD_LIBRARY_PATH=$root/usr/lib/$(uname -m)-linux-gnu:$plugins
export PATH=$root/usr/bin:$root/usr/sbin:$PATH

slurmctld -D > "$here/slurmctld.log" 2>&1 &
controller=$!
trap 'kill $controller ${node:-}' EXIT
until sinfo > /dev/null 2>&1; do sleep 0.2; done
slurmd -D -d "$root/usr/sbin/slurmstepd" > "$here/slurmd.log" 2>&1 &
node=$!
until sinfo --noheader --states=idle | grep -q idle; do sleep 0.2; done

out=$here/sweep
records() { find "$out/records" -name '*.json' 2> /dev/null | wc -l; }

rm -rf "$out"
"$python" -m depthtui doctor | grep schedulers
"$python" -m depthtui sweep --model demo --task addition:1-2 --examples 12 --no-cache --out "$out" \
    --slurm 2 --sbatch '--partition=low --time=0:20:00' --submit
until [ "$(records)" -ge 12 ]; do sleep 0.1; done
task=$(squeue --noheader --array --states=running --format=%i | head -n 1)
echo "requeue $task: $(records) records are there"
scontrol requeue "$task"
until [ -z "$(squeue --noheader)" ]; do sleep 1; done
echo "$(records) records, in the log of $task:"
grep -E 'of 12 prompts|REQUEUE|Stopped' "$out/slurm/$task.log"
ls "$out"

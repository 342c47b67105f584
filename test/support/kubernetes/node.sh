#!/usr/bin/env bash
# The first process of a one-node cluster, in namespaces of its own: it mounts, starts every component, starts one again that
# ends, and buries orphans. When it is killed, the kernel ends everything in its namespaces.
#   node.sh FOLDER BINARIES     FOLDER holds what cluster-files.ts wrote
set -eu
folder=$1
binaries=$2

mount --make-rshared /
mount -t tmpfs tmpfs /run
# What a node keeps in fixed places goes to the scratch folder, not to the machine.
mkdir -p "$folder"/{var-lib,var-lib-work,log,containerd,etcd}
mount -t overlay overlay -o "lowerdir=/var/lib,upperdir=$folder/var-lib,workdir=$folder/var-lib-work" /var/lib
mkdir -p "$folder/kubelet" /var/lib/kubelet
mount --bind "$folder/kubelet" /var/lib/kubelet
mount --bind "$folder/log" /var/log

# A kubelet sets these for the whole machine where they differ from what it wants: it is shown what it wants.
mkdir -p "$folder/sysctl"
show() {
  echo "$2" >"$folder/sysctl/${1##*/}"
  mount --bind "$folder/sysctl/${1##*/}" "/proc/sys/$1"
}
show vm/overcommit_memory 1
show vm/panic_on_oom 0
show kernel/panic 10
show kernel/panic_on_oops 1

hostname node-1
until ip link show node0 >/dev/null 2>&1; do sleep 0.05; done
ip link set lo up
ip address add 10.99.0.2/30 dev node0
ip link set node0 up
ip route add default via 10.99.0.1
echo 1 >/proc/sys/net/ipv4/ip_forward
[ ! -e /proc/sys/net/bridge/bridge-nf-call-iptables ] || echo 1 >/proc/sys/net/bridge/bridge-nf-call-iptables

# Runs a component for ever.
keep() {
  local name=$1
  shift
  while :; do
    "$@" >>"$folder/log/$name.log" 2>&1 || true
    sleep 0.5
  done
}

keep containerd containerd --config "$folder/containerd.toml" &
mapfile -t etcd <"$folder/etcd.arguments"
keep etcd "$binaries/etcd" "${etcd[@]}" &
mapfile -t server <"$folder/kube-apiserver.arguments"
keep kube-apiserver "$binaries/kube-apiserver" "${server[@]}" &
until (exec 3<>/dev/tcp/127.0.0.1/6443) 2>/dev/null; do sleep 0.1; done
for component in kubelet kube-controller-manager kube-scheduler kube-proxy; do
  mapfile -t arguments <"$folder/$component.arguments"
  keep "$component" "$binaries/$component" "${arguments[@]}" &
done
wait

#!/bin/sh
# The first process of a trial's namespaces: mounts for the root in $1, then systemd. `machine.py` starts it.
set -e
root=$1
mount --make-rprivate /
mount --bind "$root" "$root"
mount -t proc proc "$root/proc"
mount -t sysfs sysfs "$root/sys"
mount -t tmpfs tmpfs "$root/run"
mount -t tmpfs -o mode=755 tmpfs "$root/dev"
for node in null zero full random urandom tty; do
    touch "$root/dev/$node"
    mount --bind "/dev/$node" "$root/dev/$node"
done
mkdir "$root/dev/pts" "$root/dev/shm"
mount -t devpts -o newinstance,ptmxmode=0666 devpts "$root/dev/pts"
ln -s pts/ptmx "$root/dev/ptmx"
mount -t cgroup2 cgroup2 "$root/sys/fs/cgroup"
hostname trial
# A trial may run beside other work, at the lowest priority; the system under trial is an ordinary one all the same.
renice -n 0 -p $$ >/dev/null
cd "$root"
exec env -i container=trial PATH=/usr/sbin:/usr/bin:/sbin:/bin chroot . /lib/systemd/systemd --log-target=null

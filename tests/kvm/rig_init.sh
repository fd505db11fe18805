#!/bin/sh
# SPDX-License-Identifier: Apache-2.0
# The init of the KVM rig: loads KVM, runs the cases in /cases one after another, tells of each on the console, powers off.
mount -t proc proc /proc
mount -t sysfs sysfs /sys
mount -t devtmpfs dev /dev 2>/dev/null
mount -t tmpfs tmp /tmp
for module in irqbypass kvm kvm-amd; do insmod /modules/$module.ko; done

# Beats while every CPU of the rig runs processes: rig.py watches it.
heart() {
	while sleep 2; do
		for cpu in $(seq 0 $(($(nproc) - 1))); do taskset -c "$cpu" true; done
		echo beat >/dev/ttyS1
	done
}
echo beat >/dev/ttyS1
heart &

if [ -c /dev/kvm ]; then
	/hold >/tmp/held &
	until grep -q held /tmp/held; do
		kill -0 $! 2>/dev/null || break
		sleep 0.1
	done
	echo "rig: up"
else
	echo "rig: no /dev/kvm"
fi

# What the threads of a case that takes very long are doing, for whoever reads the log of a hang.
watch() {
	sleep "${rig_patience:-100}"
	for task in /proc/[0-9]*/task/*; do
		grep -q vmmctl "$task/../../cmdline" || continue
		echo "rig: $(cut -d' ' -f1-3,14,15 "$task/stat") in $(cut -d' ' -f1-3 "$task/syscall")"
		cat "$task/stack" 2>/dev/null
	done
}

for case in /cases/*; do
	echo "rig: begin ${case##*/}"
	watch &
	sh "$case" </dev/null
	status=$?
	kill $! 2>/dev/null
	echo "rig: end ${case##*/} status $status"
done
echo "rig: down"
poweroff -f

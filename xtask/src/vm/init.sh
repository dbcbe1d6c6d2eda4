#!/bin/sh
# The guest's first process: makes the file systems, runs the tests listed in
# /skbcap/tests (a line each: NAME SECONDS SHARE), each on a machine cleared of the
# one before it, and leaves the results of each on the disk before the next.
export PATH=/skbcap:/usr/bin:/usr/sbin HOME=/root TERM=linux

mount -t proc proc /proc
mount -t sysfs sysfs /sys
mount -t devtmpfs devtmpfs /dev
mkdir -p /dev/pts /dev/shm /tmp /run /out /results /root
mount -t devpts devpts /dev/pts
for place in /dev/shm /tmp /run; do mount -t tmpfs tmpfs $place; done
mount -t debugfs debugfs /sys/kernel/debug
mount -t tracefs tracefs /sys/kernel/tracing
mount -t bpf bpf /sys/fs/bpf
mount -t cgroup2 cgroup2 /sys/fs/cgroup 2>/dev/null
ip link set dev lo up
hostname guest
echo 'skbcap-guest: up'

modprobe -qa virtio_pci virtio_blk virtio_rng

if grep -q skbcap.shell /proc/cmdline; then
	echo 'Ctrl-D or poweroff -f ends the guest; the tests: guest --list, guest run NAME'
	cd /root
	setsid cttyhack dash -i
	poweroff -f
fi

# Where time counts instructions, the boot's late work must be over; it costs
# nothing to wait there, since an idle guest skips to its next timer.
if grep -q skbcap.icount /proc/cmdline; then sleep 10; fi

uptime() { cut -d ' ' -f 1 /proc/uptime; }

# The disk is /dev/vda, in blocks of 4096 bytes: how many follow, then an archive
# for each test, all of it written through. So what ended well is there even if
# the guest dies, and no result takes memory from the tests behind it.
blocks=0
leave() {
	more=$(
		tar -c -C /results "$1" |
			dd of=/dev/vda bs=4096 seek=$((blocks + 1)) iflag=fullblock conv=sync,fsync 2>&1 |
			awk -F '[ +]' '/records out/ { print $1 + $2 }'
	)
	blocks=$((blocks + more))
	printf 'skbcap-guest %d\n' $blocks | dd of=/dev/vda bs=4096 conv=sync,fsync 2>/dev/null
	rm -rf "/results/$1"
}

# Each test's kernel messages are its own.
dmesg -c >/tmp/dmesg-boot
while read -r name seconds share; do
	rm -rf /out
	mkdir -p /out "/results/$name"
	cd /out
	start=$(uptime)
	SKBCAP_SHARE=$share timeout -k 5 "$seconds" guest run "$name" >"/results/$name/log" 2>&1 </dev/null
	status=$?
	cd /
	took=$(echo "$start $(uptime)" | awk '{ printf "%.1f", $2 - $1 }')
	# What the test left running.
	kill -9 -1
	mv /out/* "/results/$name/" 2>/dev/null
	dmesg -c >"/results/$name/dmesg"
	mv /tmp/dmesg-boot "/results/$name/" 2>/dev/null
	if [ $status -eq 0 ]; then
		verdict=ok
	elif [ "${took%.*}" -ge "$seconds" ]; then
		verdict="FAILED: not done after $seconds s"
	else
		verdict="FAILED: status $status"
	fi
	if grep -q 'cut here' "/results/$name/dmesg"; then
		verdict='FAILED: the kernel warned, see dmesg'
	fi
	echo "$verdict ($took s)" >"/results/$name/verdict"
	echo "skbcap-guest: test $name ... $verdict ($took s)"
	leave "$name"
done </skbcap/tests
poweroff -f

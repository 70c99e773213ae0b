#!/bin/busybox sh
# The board's first program: mounts, drivers, one network card, then sshd for ever.
# /etc/board holds what this board's owner chose; everything else is the same on every board.
bb=/bin/busybox
$bb chmod 755 /
$bb mkdir -p /proc /sys /dev /run /tmp /root /var/log /var/empty /run/sshd
$bb mount -t proc proc /proc
$bb mount -t sysfs sysfs /sys
$bb mount -t devtmpfs devtmpfs /dev
$bb mkdir -p /dev/pts /dev/shm
$bb mount -t devpts -o mode=620,ptmxmode=666 devpts /dev/pts
$bb mount -t tmpfs -o mode=1777 tmpfs /dev/shm
# A size of their own, so that "free space" means something and a full disk is only a full disk.
$bb mount -t tmpfs -o mode=700,size=70% root /root
$bb mount -t tmpfs -o mode=1777,size=30% tmp /tmp
exec </dev/console >/dev/console 2>&1
export PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin
# What Debian brought itself stays.
$bb --install -s /usr/bin 2>/dev/null
echo "board: kernel $(uname -r)"
while read -r module; do
    insmod "/usr/lib/board/$module" || echo "board: cannot load $module"
done </usr/lib/board/order
hostname -F /etc/hostname
# Where every ARM board says what it is: records must never mistake this one for a real board.
[ -s /etc/board/model ] && mount --bind /etc/board/model /proc/device-tree/model
ip link set lo up
ip link set eth0 up
ip addr add 10.0.2.15/24 dev eth0
ip route add default via 10.0.2.2
if [ -s /etc/board/lifetime ]; then
    (sleep "$(cat /etc/board/lifetime)"; echo "board: lifetime is over"; poweroff -f) &
fi
echo "board: starting sshd"
# When sshd ends, so does the board: the host then sees a machine that is gone, not a silent one.
/usr/sbin/sshd -D -e
echo "board: sshd ended with status $?"
poweroff -f

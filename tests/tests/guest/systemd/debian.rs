//! The machine with Debian on it, whatever it is to do.

use std::path::PathBuf;
use std::time::Duration;

use anyhow::{Result, bail};

use crate::guest::archive::Archive;
use crate::guest::machine::Plan;
use holm_tests::debian::cache;

/// A machine that does nothing.
pub const PLAN: Plan = Plan {
    areas: &[],
    residue: RESIDUE,
    patience: Duration::from_secs(60),
    life: Duration::ZERO,
    modules: &["virtio_pci", "virtio_blk"],
    processor: "max",
    memory: "2G",
    options: "apparmor=1 security=apparmor systemd.wants=steps.service",
    disk: Some(disk),
    boots_again: false,
    files,
};

/// The disk that `cargo xtask test --slow` made.
fn disk() -> Result<PathBuf> {
    let disk = cache().join("debian.erofs");
    if !disk.exists() {
        bail!("there is no `{}`: cargo xtask test --slow makes it", disk.display());
    }
    Ok(disk)
}

/// Adds the first program and the unit that it brings along.
pub fn files(archive: &mut Archive) -> Result<()> {
    archive.file("init", 0o755, INIT).file("etc/steps.service", 0o644, SERVICE);
    Ok(())
}

/// The guest's first program. Debian is below what is written, to the disk that is kept if there is one; `/tmp` is not,
/// nor is what Holm keeps, since overlays want another file system below what they write.
const INIT: &str = r#"#!/bin/busybox sh
/bin/busybox --install -s /bin
mkdir -p /dev /proc /sys /debian /room /new
mount -t devtmpfs dev /dev
mount -t proc proc /proc
mount -t sysfs sys /sys
for module in /lib/modules/*; do insmod "$module" || echo "cannot load $module"; done
mount -t erofs -o ro /dev/vda /debian
mount -t ext4 /dev/vdb /room || mount -t tmpfs -o mode=755 room /room
mkdir -p /room/upper /room/work /room/holm /room/steps
mount -t overlay -o lowerdir=/debian,upperdir=/room/upper,workdir=/room/work root /new
cp -af /usr/lib/holm /new/usr/lib/
cp -af /usr/bin/holm* /new/usr/bin/
cp -af /steps /base.tar /new/
cp /etc/steps /etc/start /etc/bundles /new/etc/
cp /etc/steps.service /new/etc/systemd/system/
echo guest >/new/etc/hostname
echo 0123456789abcdef0123456789abcdef >/new/etc/machine-id
for unit in apt-daily.timer apt-daily-upgrade.timer dpkg-db-backup.timer e2scrub_all.timer fstrim.timer \
    e2scrub_reap.service getty@tty1.service serial-getty@ttyS0.service systemd-timesyncd.service systemd-pstore.service; do
    ln -sf /dev/null /new/etc/systemd/system/$unit
done
mkdir -p /new/var/lib/holm
mount -t tmpfs -o mode=1777 tmp /new/tmp
if [ -b /dev/vdb ]; then
    mkdir -p /new/kept
    mount --bind /room/holm /new/var/lib/holm
    mount --bind /room/steps /new/kept
else
    mount -t tmpfs holm /new/var/lib/holm
fi
umount /proc /sys /dev
exec switch_root /new /sbin/init
"#;

/// Runs the steps once the machine is up. When it goes down they are to begin no further one.
const SERVICE: &str = "\
[Unit]
After=multi-user.target

[Service]
ExecStart=/etc/steps
KillMode=mixed
";

/// Prints all that containers could leave: nothing.
const RESIDUE: &str = r#"
look() {
    ls -A /run/oci /run/user/*/holm-runtime 2>/dev/null | grep -vE '^(\.seccomp@.*|/run/.*:|)$' | sed 's/^/state /'
    systemctl list-units --all --plain --no-legend '*.scope' | grep -vE '^(init|session-.*)\.scope' | sed 's/^/unit /'
    find /sys/fs/cgroup/holm-runtime /sys/fs/cgroup/holm -mindepth 1 -type d ! -name keepers 2>/dev/null | sed 's/^/group /'
    grep -E ' (/tmp/.|/run/oci|/var/lib/holm/|/run/holm)' /proc/mounts | sed 's/^/mount /'
    ps -eo stat,pid,args | grep -E '^[^Z].*[h]olm-' | sed 's/^/process /'
}
for try in 1 2 3 4 5 6 7 8 9 10; do
    look >/tmp/.left
    [ -s /tmp/.left ] || exit 0
    sleep 0.3
done
cat /tmp/.left
exit 0
"#;

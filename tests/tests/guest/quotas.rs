//! Volumes and what not every kernel has that the tests run on: sizes, by project quotas of ext4 and XFS, and NFS.
//!
//! For sizes each file system lies in a loop device of its own, is mounted on `/q` with `prjquota`, and is the root of an
//! installation.

use std::time::Duration;

use anyhow::Result;

use super::archive::Archive;
use super::busybox::{INIT, INITTAB, MOUNTS, RESIDUE, programs};
use super::machine::{Guest, Plan};
use super::record::Answer;
use super::step::{Step, step};

static GUEST: Guest = Guest::new(Plan {
    areas: &[("refusals", REFUSALS), ("ext4", EXT4), ("xfs", XFS), ("nfs", NFS)],
    residue: RESIDUE,
    patience: Duration::from_secs(60),
    life: Duration::from_secs(400),
    modules: &["loop", "overlay", "erofs", "xfs", "quota_v2", "nfsd", "nfsv4"],
    processor: "qemu64",
    memory: "1G",
    options: "",
    disk: None,
    boots_again: false,
    files,
});

fn files(archive: &mut Archive) -> Result<()> {
    archive.file("init", 0o755, INIT).file("etc/inittab", 0o644, INITTAB).file("etc/mounts", 0o755, MOUNTS);
    archive.file("etc/quotas", 0o644, FUNCTIONS);
    programs::add_all(archive, &["mkfs.ext4", "mkfs.xfs", "chattr"])
}

/// `h` is `holm` with its root on the file system. `fill VOLUME` writes 4 MiB into it from a container, and says what came of it.
const FUNCTIONS: &str = r#"
export HOLM_NETWORK=none
h() { holm --root /q/root --run-root /run/q "$@"; }
fill() { h run --rm -v "$1:/d" base sh -c 'dd if=/dev/zero of=/d/big bs=64k count=64 2>&1 | grep -o "error.*"; ls /d'; }
"#;

const REFUSALS: &[Step] = &[
    step("a size in memory", "holm volume create -o size=2m data; echo $?; holm volume ls -q"),
    step(
        "a size without the option",
        "mkdir -p /q; truncate -s 64M /tmp/ext4; mkfs.ext4 -q -O quota,project -E quotatype=prjquota /tmp/ext4
        mount -o loop /tmp/ext4 /q; . /etc/quotas; h volume create -o size=2m data; echo $?; h volume ls -q; umount /q",
    ),
];

const EXT4: &[Step] = &[
    step(
        "ext4 is mounted",
        "mount -o loop,prjquota /tmp/ext4 /q; . /etc/quotas; h import /base.tar base >/dev/null",
    ),
    step("ext4 keeps a size", KEPT),
    step("ext4 tells a size", TOLD),
    step("ext4 and an archive", ARCHIVE),
    step("ext4 and an image", IMAGE),
    step("ext4 and a crash", CRASH),
    step(
        "ext4 without limits",
        "umount /q; mount -o loop /tmp/ext4 /q; . /etc/quotas; h run --rm -v small:/d base true; echo $?
        umount /q; mount -o loop,prjquota /tmp/ext4 /q; fill small",
    ),
    step("ext4 forgets a size", FORGOTTEN),
    step("ext4 is unmounted", "umount /q"),
];

const XFS: &[Step] = &[
    step(
        "xfs is mounted",
        "rm /tmp/ext4; truncate -s 320M /tmp/xfs; mkfs.xfs -q /tmp/xfs; mount -o loop,prjquota /tmp/xfs /q
        . /etc/quotas; h import /base.tar base >/dev/null",
    ),
    step("xfs keeps a size", KEPT),
    step("xfs tells a size", TOLD),
    step("xfs and an archive", ARCHIVE),
    step("xfs and an image", IMAGE),
    step("xfs and a crash", CRASH),
    step("xfs forgets a size", FORGOTTEN),
    step("xfs is unmounted", "umount /q"),
];

/// The kernel's own server and client of NFS. What mountd(8) would answer the server is written to it beforehand: who may have
/// which directory.
const NFS: &[Step] = &[
    step(
        "nfs is served",
        r"ip link set lo up; echo '127.0.0.1 localhost' >/etc/hosts; mkdir /srv; echo served >/srv/file; mkdir -p /var/lib/nfs/v4recovery
        mount -t nfsd nfsd /proc/fs/nfsd; echo '-2 -3 +4 +4.1 +4.2' >/proc/fs/nfsd/versions
        echo 'nfsd 127.0.0.1 2147483647 guest' >/proc/net/rpc/auth.unix.ip/channel
        echo 'guest /srv 2147483647 9234 65534 65534 0' >/proc/net/rpc/nfsd.export/channel
        echo 'guest 1 \x00000000 2147483647 /srv' >/proc/net/rpc/nfsd.fh/channel
        echo 'tcp 2049' >/proc/fs/nfsd/portlist; echo 2 >/proc/fs/nfsd/threads; echo Y >/proc/fs/nfsd/v4_end_grace",
    ),
    step(
        "nfs as a volume",
        r#"export HOLM_NETWORK=none; holm import /base.tar base >/dev/null
        holm volume create -o type=nfs -o device=localhost:/ -o o=vers=4.2,nosuid remote
        holm run --rm -v remote:/d base sh -c 'cat /d/file; echo written >/d/new'; cat /srv/new
        holm run -d --name user -v remote:/d base sleep 1000 >/dev/null; grep -c ' nfs4 .*nosuid' /proc/mounts"#,
    ),
    step(
        "nfs that does not answer",
        r#"export HOLM_NETWORK=none; echo 0 >/proc/fs/nfsd/threads
        timeout 10 holm ps --format '{{.Names}} {{.Mounts}}'; timeout 10 holm volume inspect -f '{{.Mountpoint}}' remote
        timeout 10 holm exec user echo alive; echo 2 >/proc/fs/nfsd/threads; echo Y >/proc/fs/nfsd/v4_end_grace"#,
    ),
    step(
        "nfs is left",
        "holm rm -f user; grep -c nfs4 /proc/mounts; holm volume rm remote; ls /srv; echo 0 >/proc/fs/nfsd/threads; umount /proc/fs/nfsd",
    ),
    step(
        "nfs without a server",
        "export HOLM_NETWORK=none; holm volume create -o type=nfs -o device=127.0.0.1:/ -o o=vers=4.2,soft,timeo=5,retrans=1 nobody
        timeout 50 holm run --rm -v nobody:/d base true; echo $?; holm volume rm nobody; holm rmi base >/dev/null",
    ),
];

const KEPT: &str = ". /etc/quotas; h volume create -o size=2m small; h volume create -o size=16m large; fill small; fill large";
const TOLD: &str = r#". /etc/quotas; h volume inspect -f '{{.Holm.Size}}' small large
[ $(h volume inspect -f '{{.Holm.Used}}' small) -gt 1900000 ] && echo used
h run --rm -v small:/d base df -k /d | tail -n 1 | awk '{ print $2 }'"#;
/// Root of the host may pass limits of ext4, so what Holm itself writes is put to the test, too. Of zeros it would make holes.
const ARCHIVE: &str = r#". /etc/quotas; dd if=/dev/urandom of=/tmp/big bs=1M count=4 2>/dev/null; tar -cf /tmp/big.tar -C /tmp big
h volume create -o size=2m other >/dev/null; h volume import other /tmp/big.tar; echo $?
h run --rm -v other:/d base ls /d; h volume import large --merge /tmp/big.tar; echo $?; rm /tmp/big /tmp/big.tar"#;
const IMAGE: &str = r#". /etc/quotas; h run --name fat base sh -c 'mkdir /data; dd if=/dev/urandom of=/data/big bs=64k count=64 2>/dev/null'
h commit fat fat >/dev/null; h rm fat >/dev/null; h volume create -o size=2m filled >/dev/null
h run --rm -v filled:/data fat ls /data; echo $?; h run --rm -v filled:/d base ls /d"#;
const CRASH: &str =
    ". /etc/quotas; export HOLM_FAIL_POINT=volume-staged; h volume create -o size=2m dead; echo $?
unset HOLM_FAIL_POINT; h ps -aq; h volume ls -q; ls -A /q/root/volumes/.work";
/// The number of a volume that is gone has no limit: a directory that gets it takes more.
const FORGOTTEN: &str = r#". /etc/quotas; project=$(sed 's/.*"project":\([0-9]*\).*/\1/' /q/root/volumes/small/volume.json)
h volume rm small other filled large; mkdir /q/dir; chattr -p $project +P /q/dir; fill /q/dir; rm -r /q/dir"#;

#[track_caller]
fn answer(step: &str) -> &'static Answer {
    GUEST.answer(step)
}

#[test]
#[ignore = "boots a virtual machine: cargo xtask test --slow"]
fn no_size_is_promised_that_nobody_keeps() {
    println!("{}", GUEST.boot().times());
    for step in ["a size in memory", "a size without the option"] {
        let refused = answer(step);
        assert_eq!(refused.out(), "1", "{refused}");
        for words in ["limit volume `data`", "keeps no limits of projects", "prjquota"] {
            assert!(refused.err().contains(words), "{words}: {refused}");
        }
    }
    GUEST.leaves_nothing("refusals");
}

/// The libraries of the guest's programs and of ours have words of their own for what the kernel answers.
#[track_caller]
fn sizes_are_kept(name: &str, word: &str, ours: &str) {
    answer(&format!("{name} is mounted")).says("");
    let full = format!("error writing '/d/big': {word}");
    answer(&format!("{name} keeps a size")).says(&format!("small\nlarge\n{full}\nbig\nbig"));
    answer(&format!("{name} tells a size")).says("2097152\n16777216\nused\n2048");
    let archive = answer(&format!("{name} and an archive"));
    assert_eq!(archive.out(), "1\n0", "{archive}");
    for words in ["import volume `other`", ours, "volume `other` holds 2097152 bytes at most"] {
        assert!(archive.err().contains(words), "{words}: {archive}");
    }
    let image = answer(&format!("{name} and an image"));
    assert_eq!(image.out(), "125", "{image}");
    assert!(image.err().contains(ours), "{image}");
    let crash = answer(&format!("{name} and a crash"));
    assert_eq!(crash.ok(), "137\nfilled\nlarge\nother\nsmall", "{crash}");
    answer(&format!("{name} forgets a size")).says("small\nother\nfilled\nlarge\nbig");
    answer(&format!("{name} is unmounted")).says("");
    GUEST.leaves_nothing(name);
}

#[test]
#[ignore = "boots a virtual machine: cargo xtask test --slow"]
fn ext4_keeps_sizes() {
    sizes_are_kept("ext4", "Disk quota exceeded", "Quota exceeded");
    let mounted_otherwise = answer("ext4 without limits");
    assert_eq!(mounted_otherwise.out(), "125\nerror writing '/d/big': Disk quota exceeded\nbig");
    for words in
        ["volume `small`: its file system keeps no limits of projects any more", "mount it with `prjquota`"]
    {
        assert!(mounted_otherwise.err().contains(words), "{words}: {mounted_otherwise}");
    }
}

#[test]
#[ignore = "boots a virtual machine: cargo xtask test --slow"]
fn xfs_keeps_sizes() {
    sizes_are_kept("xfs", "No space left on device", "No space left on device");
}

#[test]
#[ignore = "boots a virtual machine: cargo xtask test --slow"]
fn a_servers_directory_is_a_volume() {
    answer("nfs is served").says("");
    answer("nfs as a volume").says("remote\nserved\nwritten\n1");
    let silent = answer("nfs that does not answer");
    silent.says("user remote\n/run/holm/volumes/remote/root\nalive");
    let left = answer("nfs is left");
    assert_eq!(left.out(), "user\n0\nremote\nfile\nnew", "{left}");
    let refused = answer("nfs without a server");
    assert_eq!(refused.out(), "nobody\n125\nnobody", "{refused}");
    assert!(refused.err().contains("mount volume `nobody`"), "{refused}");
    GUEST.leaves_nothing("nfs");
}

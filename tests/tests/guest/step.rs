//! What a guest is told to do, and the programs that do it there.

use std::time::Duration;

use super::archive::Archive;

/// One shell script that runs in the guest, with nothing on its standard input.
pub struct Step {
    /// What tests ask for it by; unique in its guest.
    pub name: &'static str,
    /// For the guest's `sh`; there are the functions `eventually`, `ended` and `loops`, those of `/etc/bundles`
    /// ([`BUNDLES`]) for who sources it, and the programs `holm` and `holm-runtime`.
    pub script: &'static str,
}

/// Steps that belong together, by the name of what they are about.
pub type Area = (&'static str, &'static [Step]);

/// A step in a table.
pub const fn step(name: &'static str, script: &'static str) -> Step {
    Step { name, script }
}

/// Name of the step that looks at what an area left.
pub fn residue(area: &str) -> String {
    format!("what {area} left")
}

/// Adds the steps of these areas, each with a step behind it that looks at what is left, and what runs them:
/// `/etc/steps`.
pub fn add(archive: &mut Archive, areas: &[Area], left: &str, patience: Duration) {
    let mut all = Vec::new();
    for (area, steps) in areas {
        all.extend(steps.iter().map(|step| (step.name.to_owned(), step.script)));
        all.push((residue(area), left));
    }
    for (index, (name, script)) in all.iter().enumerate() {
        assert!(all[..index].iter().all(|(other, _)| other != name), "two steps `{name}`");
        let content = format!("#@step {name}\n. /etc/start\n{script}");
        archive.file(&format!("steps/{index:03}"), 0o644, content);
    }
    let runner = RUNNER.replace("PATIENCE", &patience.as_secs().to_string());
    archive.file("etc/steps", 0o755, runner);
    archive.file("etc/start", 0o644, START).file("etc/bundles", 0o644, BUNDLES);
}

/// Runs the steps and records on the second serial port what [`super::record`] reads. Each line of output
/// is marked, so that no output can be taken for a mark; each step has a session, so that it can end no other. A guest that
/// boots again goes on behind the step that made it do so, which leaves no record.
const RUNNER: &str = r#"#!/bin/sh
export PATH=/bin:/usr/bin:/sbin:/usr/sbin HOME=/
exec 3>/dev/ttyS1
stty raw <&3
for step in /steps/*; do
    if [ -d /kept ]; then
        [ ! -e "/kept/${step##*/}" ] || continue
        touch "/kept/${step##*/}"
        sync "/kept/${step##*/}"
    fi
    begin=$(cut -d' ' -f1 /proc/uptime)
    setsid timeout -s KILL PATIENCE sh "$step" >/tmp/.out 2>/tmp/.err </dev/null
    code=$?
    {
        head -n 1 "$step" | cut -c2-
        sed 's/^/o/' /tmp/.out; echo
        sed 's/^/e/' /tmp/.err; echo
        echo "@end $code $begin $(cut -d' ' -f1 /proc/uptime)"
    } >&3
done
echo @over >&3
sync
poweroff -f -f
"#;

/// Lets a step wait for a condition, for five seconds; ask whether a process has ended, reaped or not; and
/// list loop devices with the files behind them.
const START: &str = r#"
ended() { ! grep -q '^State:.[^ZX]' "/proc/$1/status" 2>/dev/null; }
loops() { grep -H . /sys/block/*/loop/backing_file 2>/dev/null; }
eventually() {
    tries=0
    while ! eval "$1"; do
        tries=$((tries + 1))
        [ $tries -lt 100 ] || { echo "not within five seconds: $1" >&2; exit 99; }
        sleep 0.05
    done
}
"#;

/// `$R` is the runtime and `$S` is it with groups of systemd's. `bundle NAME SCRIPT` makes the bundle `/tmp/NAME` of a
/// container that runs a script. `edit NAME` changes its configuration by sed, `group NAME PATH` its group, `limit NAME
/// JSON` adds a limit, `confine NAME PROFILE` sets its profile. `quietly COMMAND` shows of a command only what it says in
/// the log. `pid NAME` prints the first process, `stopped NAME` asks whether it has ended.
const BUNDLES: &str = r#"
R="/usr/bin/holm-runtime --root /run/oci --log /tmp/oci.log"
S="$R --systemd-cgroup"
quietly() { "$@" >/dev/null 2>&1; code=$?; [ $code = 0 ] || tail -n 1 /tmp/oci.log >&2; return $code; }
edit() { name=$1; shift; sed -i "$@" ${B:-/tmp}/$name/config.json; }
group() { edit $1 "s|\"cgroupsPath\": \"[^\"]*\",||; s|\"namespaces\": \[|\"cgroupsPath\": \"$2\",&|"; }
limit() { edit $1 "s|\"devices\": \[|$2,&|"; }
confine() { edit $1 's|"apparmorProfile": "[^"]*",||; s|"args": \[|"apparmorProfile": "'"$2"'",&|'; }
pid() { $R state $1 | sed -n 's/.*"pid": \([0-9]*\).*/\1/p'; }
stopped() { $R state $1 | grep -q stopped; }
bundle() {
    mkdir -p ${B:-/tmp}/$1/rootfs; tar -xf /base.tar -C ${B:-/tmp}/$1/rootfs; rm -f ${B:-/tmp}/$1/config.json
    $R spec $SPEC -b ${B:-/tmp}/$1
    echo "$2" >${B:-/tmp}/$1/rootfs/script
    edit $1 -e 's/"terminal": true/"terminal": false/' -e 's/"readonly": true/"readonly": false/' -e 's|^.*"sh"$|"sh", "/script"|'
}
"#;

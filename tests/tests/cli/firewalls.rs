//! Networks beside the firewalls that people have: Debian's firewalld, ufw and Docker as they are, each in namespaces that are a
//! host of its own. Each forbids by itself what a network needs, which a bridge of somebody else's shows.

use std::process::Command;
use std::time::Duration;

use holm_tests::{Call, Holm, Outcome, debian};

const PACKAGES: &[&str] = &["dbus", "firewalld", "iproute2", "iptables", "nftables", "python3", "ufw"];

/// The host, `out` beyond it at 192.0.2.2, and `plain` behind a bridge that is nobody's. `firewall` runs a program of Debian's
/// there; `passes` says whether `plain` has a way to `out`; `works` what a network of Holm's must be able to do.
const HOST: &str = r#"
set -eu
ip link set lo up
mount -t tmpfs run /run
mkdir -p /run/netns /run/lock /run/dbus
tar -xf "$TARBALL" -C "$TREE"
mount --bind /run "$TREE/run"
mount -t proc proc "$TREE/proc"
mount --rbind /sys "$TREE/sys"
mount --rbind /dev "$TREE/dev"
link() { # name, host's address, its address
    ip netns add $1
    ip link add $1 type veth peer name eth0 netns $1
    ip addr add $2/24 dev $1
    ip link set $1 up
    ip -n $1 addr add $3/24 dev eth0
    ip -n $1 link set eth0 up
    ip -n $1 link set lo up
}
link out 192.0.2.1 192.0.2.2
link plain 10.77.0.1 10.77.0.2
ip -n plain route add default via 10.77.0.1
ip -n out route add 10.77.0.0/24 via 192.0.2.1
echo 1 >/proc/sys/net/ipv4/ip_forward
trap '$HOLM rm -f $($HOLM ps -aq) >/dev/null 2>&1 || true' EXIT
echo there >"$TREE/srv/index.html"
ip netns exec out busybox httpd -p 80 -h "$TREE/srv"
firewall() { chroot "$TREE" "$@"; }
eventually() { for try in $(seq 100); do ! "$@" || return 0; sleep 0.1; done; echo "never: $*"; return 1; }
there() { [ "$("$@" timeout 2 busybox wget -q -O- http://192.0.2.2)" = there ]; }
passes() { if there ip netns exec plain; then echo plain passes; else echo plain is stopped; fi; }
page() { [ "$(ip netns exec out timeout 3 busybox wget -q -O- http://192.0.2.1:8080)" = hello ]; }
reaches() { there $HOLM exec $1; }
finds() { $HOLM exec shop-web nslookup -type=a shop-web.shop | grep -q 'Address: 172'; }
works() {
    eventually reaches web; eventually reaches shop-web; eventually finds; eventually page
    echo works
}
start() { $HOLM run -d "$@" base sh -c 'mkdir /www; echo hello >/www/index.html; httpd -f -p 80 -h /www' >/dev/null; }
passes
"#;

/// Both kinds of network, and what must work in them.
const WORKLOADS: &str = r"
$HOLM network create shop >/dev/null
start --name web -p 8080:80; start --name shop-web --network shop
passes
works
";

/// Runs a script on such a host; what it says.
fn host(steps: &str) -> Outcome {
    let holm = Holm::new();
    let tree = holm.scratch("debian");
    std::fs::create_dir(&tree).expect("a directory");
    let mut command = Command::new("unshare");
    command.args(["--net", "--mount", "--pid", "--fork", "--mount-proc", "--kill-child", "sh", "-c"]);
    command.arg(format!("{HOST}{steps}")).env_remove("HOLM_NETWORK");
    command
        .env("TARBALL", debian::tarball(PACKAGES))
        .env("TREE", &tree)
        .env("HOLM", holm.shell_words().replace('\'', ""));
    Call::new(command).timeout(Duration::from_secs(180)).run()
}

#[test]
#[ignore = "runs Debian's firewalld: cargo xtask test --slow"]
fn firewalld_is_told_of_bridges() {
    let outcome = host(&format!(
        r#"
firewall dbus-daemon --system --fork --nopidfile
begin() {{ firewall firewalld --nopid --nofork >/run/firewalld.log 2>&1 & daemon=$!; eventually firewall firewall-cmd -q --state; }}
begin
{WORKLOADS}
zone() {{ firewall firewall-cmd --zone=$1 --list-interfaces | sed 's/holm-[0-9a-f]*/other/' | xargs -n1 | sort | xargs; }}
busybox httpd -p 81 -h "$TREE/srv"
own() {{ [ "$($HOLM exec web timeout 2 busybox wget -q -O- http://192.0.2.1:81)" = there ]; }}
if own; then echo the host answers; fi
zone trusted; $HOLM doctor | grep ^firewalld | tr -s ' ' | sed 's/holm-[0-9a-f]*/other/'
firewall firewall-cmd -q --reload; passes; works
kill $daemon; wait $daemon || true; passes
begin; works
firewall firewall-cmd -q --zone=trusted --remove-interface=holm0; $HOLM doctor | grep -A1 ^firewalld | grep -v '^[-m]' | tr -s ' '
permanently() {{ firewall firewall-cmd -q --permanent "$@"; }}
permanently --new-zone=holm; permanently --zone=holm --set-target=ACCEPT; permanently --zone=holm --add-service=dns
permanently --zone=holm --add-rich-rule='rule priority="32767" reject'; firewall firewall-cmd -q --reload
works; zone holm; if ! own; then echo it does not; fi
$HOLM rm -f web shop-web >/dev/null
is_forgotten() {{ [ -z "$(zone holm)" ]; }}
eventually is_forgotten || eventually is_forgotten"#
    ));
    insta::assert_snapshot!(outcome.ok(), @r"
    plain passes
    plain is stopped
    works
    the host answers
    holm0 other
    firewalld ok holm0 is in zone trusted, other is in zone trusted
    plain is stopped
    works
    plain is stopped
    works
    firewalld limited rejects what comes from holm0
    firewalld limited: workloads there reach neither the name server of their network nor anything beyond the host
     hint: firewall-cmd --zone=trusted --add-interface=holm0
    works
    holm0 other
    it does not
    ");
}

#[test]
#[ignore = "runs Debian's ufw: cargo xtask test --slow"]
fn ufw_lets_workloads_pass() {
    let outcome = host(&format!(
        r"
firewall ufw logging off >/dev/null; firewall ufw --force enable >/dev/null
{WORKLOADS}
$HOLM doctor | grep ^forwarding | tr -s ' '
firewall ufw reload >/dev/null; passes; works; firewall ufw reload; firewall ufw status | head -1; works
firewall ufw disable >/dev/null; passes; firewall ufw --force enable >/dev/null; works
$HOLM rm -f web shop-web >/dev/null; $HOLM network rm shop >/dev/null
firewall ufw disable >/dev/null"
    ));
    insta::assert_snapshot!(outcome.ok(), @r"
    plain passes
    plain is stopped
    works
    forwarding ok dropped by chain FORWARD of table ip filter, chain FORWARD of table ip6 filter; workloads pass through chain ufw-user-forward of table ip filter, chain ufw6-user-forward of table ip6 filter
    plain is stopped
    works
    Firewall reloaded
    Status: active
    works
    plain passes
    works
    ");
}

#[test]
#[ignore = "runs Debian's Docker: cargo xtask test --slow"]
fn docker_lets_workloads_pass() {
    let outcome = host(&format!(
        r#"
begin() {{
    dockerd --data-root "$TREE/docker" --exec-root /run/docker --pidfile /run/docker.pid --host unix:///run/docker.sock \
        --storage-driver vfs >/run/docker.log 2>&1 &
    daemon=$!
    eventually docker --host unix:///run/docker.sock version >/dev/null
}}
echo 0 >/proc/sys/net/ipv4/ip_forward; begin
{WORKLOADS}
$HOLM doctor | grep ^forwarding | tr -s ' '
kill $daemon; wait $daemon || true; iptables -F; iptables -X || true; begin; passes; works
$HOLM rm -f web shop-web >/dev/null; $HOLM network rm shop >/dev/null; kill $daemon; wait $daemon || true"#
    ));
    insta::assert_snapshot!(outcome.ok(), @r"
    plain passes
    plain is stopped
    works
    forwarding ok dropped by chain FORWARD of table ip filter; workloads pass through chain FORWARD of table ip filter
    plain is stopped
    works
    ");
}

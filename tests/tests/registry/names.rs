//! Holm in a mount namespace of its own, in which `registry.test` is this machine: a name that nothing takes for loopback.
//! And a certificate for it.

use std::path::Path;
use std::process::Command;

use holm_tests::{Call, Holm};

/// The name, without a port.
pub const NAME: &str = "registry.test";

/// The registry at this address of loopback, by that name.
pub fn named(address: &str) -> String {
    let port = address.rsplit(':').next().expect("an address has a port");
    format!("{NAME}:{port}")
}

/// A call of Holm there. No proxy of this machine's is heeded.
pub fn call(holm: &Holm, words: &[&str]) -> Call {
    let hosts = holm.file("hosts", format!("127.0.0.1 localhost {NAME}\n"));
    let inner = holm.command();
    let mut command = Command::new("unshare");
    command.args(["-m", "sh", "-c", "mount --bind \"$0\" /etc/hosts && exec \"$@\"", &hosts]);
    command.arg(inner.get_program()).args(inner.get_args()).args(words);
    for (name, value) in inner.get_envs() {
        match value {
            Some(value) => command.env(name, value),
            None => command.env_remove(name),
        };
    }
    for name in ["HTTP_PROXY", "HTTPS_PROXY", "ALL_PROXY", "NO_PROXY"] {
        command.env_remove(name).env_remove(name.to_ascii_lowercase());
    }
    Call::new(command)
}

/// Writes the installation's `registries.toml`.
pub fn rules(holm: &Holm, text: &str) {
    std::fs::write(holm.registries(), text).expect("a file of the test's");
}

/// Files of a certificate.
pub struct Certificate {
    /// Of who vouches for it.
    pub authority: String,
    /// Itself.
    pub certificate: String,
    /// Its key.
    pub key: String,
}

/// Makes a certificate for the name and for 127.0.0.1, and an authority that has signed it.
pub fn certify(directory: &Path) -> Certificate {
    let script = "new='-newkey ec -pkeyopt ec_paramgen_curve:prime256v1 -nodes'
        openssl req -x509 $new -days 2 -subj /CN=authority -keyout ca.key -out ca.crt &&
        openssl req $new -subj /CN=registry -keyout key.pem -out request.pem &&
        echo subjectAltName=IP:127.0.0.1,DNS:registry.test > names &&
        openssl x509 -req -in request.pem -CA ca.crt -CAkey ca.key -CAcreateserial -days 2 -extfile names -out cert.pem";
    let mut command = Command::new("sh");
    command.args(["-c", script]).current_dir(directory);
    Call::new(command).run().ok();
    let path = |name: &str| directory.join(name).display().to_string();
    Certificate { authority: path("ca.crt"), certificate: path("cert.pem"), key: path("key.pem") }
}

//! Directories and files of the host in a machine: by virtio-fs, with the host's owners, and read-only where asked.

use std::fs;
use std::os::unix::fs::MetadataExt;

use super::traces::{is_gone, with_machines};

#[test]
#[ignore = "boots virtual machines"]
fn go_both_ways_and_keep_what_is_read_only() {
    with_machines(|holm| {
        let place = tempfile::tempdir().expect("a directory");
        let (shared, file) = (place.path().join("shared"), place.path().join("file"));
        fs::create_dir(&shared).expect("made");
        fs::write(shared.join("from-host"), "host\n").expect("written");
        fs::write(&file, "one\n").expect("written");
        let directory = format!("{}:/data", shared.display());
        let read_only = format!("{}:/etc/one:ro", file.display());
        holm.start(&["--name", "box", "-v", &directory, "-v", &read_only], "sleep 1000");
        let id = holm.inspect("box", "{{.Id}}");
        let sh = |script: &str| holm.run(["exec", "box", "sh", "-c", script]);
        assert_eq!(sh("cat /data/from-host /etc/one").ok(), "host\none");
        assert_eq!(sh("echo guest > /data/from-guest && chown 33:44 /data/from-guest; mv /data/from-host /data/moved").code(), 0);
        let metadata = fs::metadata(shared.join("from-guest")).expect("seen on the host");
        assert_eq!((metadata.uid(), metadata.gid(), metadata.len()), (33, 44, 6));
        assert!(shared.join("moved").exists() && !shared.join("from-host").exists());
        assert!(sh("echo x > /etc/one").err().contains("Read-only"), "the host's file stays");
        assert_eq!(fs::read_to_string(&file).expect("there"), "one\n");
        assert_eq!(sh("ls -a /data/..").ok(), sh("ls -a /").ok(), "nothing above is reached");
        holm.ok(["rm", "-f", "box"]);
        is_gone(holm, &id);
    });
}

//! Kernels in a store: import, names, the default, removal.

use std::path::Path;

use holm_spec::kernel::{Format, KernelConfig};
use holm_spec::platform::Platform;
use holm_spec::{Digest, Reference};

use super::image::tests::{arm64_image, bzimage};
use super::package::tests::whole_package;
use super::{ImportKernel, Kernel};
use crate::Kind;
use crate::image::tests::{CONFIG_TYPE, config, store_image};
use crate::store::Store;
use crate::store::tests::scratch;

const RELEASE: &str = "6.1.0-1-cloud-amd64";

fn import(store: &Store, bytes: &[u8], name: Option<&str>) -> Kernel {
    let reference = name.map(parsed);
    let request = ImportKernel { reference: reference.as_ref(), modules: None, origin: "file" };
    store.import_kernel(bytes, &request).expect("import").kernel
}

fn parsed(text: &str) -> Reference {
    text.parse().expect("a reference")
}

fn names(kernels: &[super::KernelSummary]) -> Vec<String> {
    kernels.iter().flat_map(|row| &row.names).map(|name| name.reference.familiar()).collect()
}

/// Names and contents of the files of a newc archive.
fn unpack(archive: &[u8]) -> Vec<(String, usize)> {
    let number = |at: usize| {
        let digits = std::str::from_utf8(&archive[at..at + 8]).expect("digits");
        usize::from_str_radix(digits, 16).expect("a number")
    };
    let (mut at, mut files) = (0, Vec::new());
    loop {
        let (size, length) = (number(at + 54), number(at + 94));
        let name = String::from_utf8(archive[at + 110..at + 109 + length].to_vec()).expect("a name");
        if name == "TRAILER!!!" {
            return files;
        }
        files.push((name, size));
        at = ((at + 110 + length).next_multiple_of(4) + size).next_multiple_of(4);
    }
}

#[test]
fn a_package_becomes_an_artifact_of_files_that_can_be_booted() {
    let (_dir, store) = scratch();
    let kernel = import(&store, &whole_package(), None);
    let modules = ["virtio_ring", "virtio_pci", "virtio_blk", "virtio_console", "overlay", "erofs"];
    let expected = KernelConfig {
        version: 1,
        release: RELEASE.into(),
        platform: Platform { os: "linux".into(), architecture: "amd64".into() },
        format: Format::BzImage,
        modules: modules.map(String::from).into(),
        origin: "linux-image-1 6.1.5-1".into(),
    };
    assert_eq!(kernel.config, expected);
    assert_eq!(kernel.reference, Some(parsed(&format!("localhost/kernel:{RELEASE}"))));
    assert_eq!(std::fs::read(&kernel.image).expect("a file"), bzimage(RELEASE));
    let archive = std::fs::read(&kernel.modules).expect("a file");
    assert_eq!(archive.len() as u64, kernel.modules_size);
    let files: Vec<String> = unpack(&archive).into_iter().map(|(name, _)| name).collect();
    let numbered = (0..).zip(modules).map(|(place, name)| format!("lib/modules/{place:02}-{name}.ko"));
    let expected: Vec<String> =
        ["lib", "lib/modules"].map(String::from).into_iter().chain(numbered).collect();
    assert_eq!(files, expected);
    assert_eq!(std::fs::read_dir(store.paths().ingest()).expect("list").count(), 0);
}

#[test]
fn the_form_of_the_manifest_is_pinned() {
    let (_dir, store) = scratch();
    let kernel = import(&store, &whole_package(), None);
    let manifest: serde_json::Value =
        serde_json::from_slice(&store.blob(&kernel.id).expect("a blob")).expect("JSON");
    assert_eq!(manifest["artifactType"], "application/vnd.holm.kernel.v1");
    assert_eq!(manifest["config"]["mediaType"], "application/vnd.holm.kernel.config.v1+json");
    assert_eq!(manifest["layers"][0]["mediaType"], "application/vnd.holm.kernel.image.v1");
    assert_eq!(manifest["layers"][1]["mediaType"], "application/vnd.holm.kernel.modules.v1.cpio");
    assert_eq!(manifest["annotations"]["org.opencontainers.image.version"], "6.1.5-1");
    let (_other_dir, other) = scratch();
    assert_eq!(
        import(&other, &whole_package(), Some("other")).id,
        kernel.id,
        "the same package, the same digest"
    );
    assert_eq!(kernel.id.to_string(), PINNED);
}

const PINNED: &str = "sha256:bc3b6c6b5f9336b1089c807df1f3a7c8e15fdfc2bb3b01c9f5b5f4905d2219e8";

#[test]
fn a_file_without_modules_is_taken_with_a_warning() {
    let (_dir, store) = scratch();
    let request = ImportKernel { origin: "vmlinuz", ..ImportKernel::default() };
    let imported = store.import_kernel(&bzimage("6.12.3+")[..], &request).expect("import");
    assert_eq!(imported.kernel.reference, Some(parsed("localhost/kernel:6.12.3_")));
    assert_eq!((imported.kernel.config.origin.as_str(), imported.warnings.len()), ("vmlinuz", 1));
    assert!(
        imported.warnings[0].contains("virtio_mmio or virtio_pci, virtio_blk"),
        "{:?}",
        imported.warnings
    );
    assert_eq!(unpack(&std::fs::read(&imported.kernel.modules).expect("a file")).len(), 2);
}

#[test]
fn what_cannot_be_imported_leaves_nothing() {
    let (dir, store) = scratch();
    let refused = |bytes: &[u8], request: &ImportKernel<'_>| {
        let error = store.import_kernel(bytes, request).expect_err("refused");
        assert!(error.to_string().contains("import a kernel from `it`"), "{error}");
        error.kind()
    };
    let request = ImportKernel { origin: "it", ..ImportKernel::default() };
    assert_eq!(refused(b"", &request), Kind::Invalid);
    assert_eq!(refused(&whole_package()[..900], &request), Kind::Invalid);
    let with_modules = ImportKernel { modules: Some(dir.path()), ..request };
    assert_eq!(refused(&whole_package(), &with_modules), Kind::Invalid);
    std::fs::write(dir.path().join("modules.builtin"), "k/ext4.ko").expect("write");
    assert_eq!(refused(&bzimage("6.1"), &with_modules), Kind::UnfitKernel);
    let absent = ImportKernel { modules: Some(Path::new("/nonexistent")), ..request };
    assert_eq!(refused(&bzimage("6.1"), &absent), Kind::Io);
    let pinned = parsed(&format!("a@{}", Digest::of(b"x")));
    let pinned = ImportKernel { reference: Some(&pinned), ..request };
    assert_eq!(refused(&bzimage("6.1"), &pinned), Kind::Invalid);
    for directory in [store.paths().blobs(), store.paths().refs(), store.paths().ingest()] {
        assert_eq!(std::fs::read_dir(directory).expect("list").count(), 0);
    }
}

#[test]
fn the_default_is_the_last_one_unless_another_was_chosen() {
    let (_dir, store) = scratch();
    let error = store.kernel(None).expect_err("none");
    assert_eq!(
        (error.kind(), error.to_string()),
        (Kind::NoKernel, "there is no kernel for linux/amd64".into())
    );
    let default = |store: &Store| store.kernel(None).expect("a default").config.release;
    import(&store, &bzimage("6.1"), None);
    import(&store, &bzimage("6.2"), None);
    import(&store, &arm64_image("6.9"), None);
    assert_eq!(default(&store), "6.2");
    let arm64 = Platform { os: "linux".into(), architecture: "arm64".into() };
    assert_eq!(store.default_kernel(&arm64).expect("another").config.release, "6.9");

    store.set_default_kernel("localhost/kernel:6.1").expect("set");
    import(&store, &bzimage("6.3"), None);
    assert_eq!(default(&store), "6.1");
    store.unset_default_kernel(&Platform::host()).expect("unset");
    assert_eq!(default(&store), "6.3");
    let id = store.kernel(None).expect("a default").id;
    assert_eq!(store.set_default_kernel(&id.to_string()).expect_err("an id").kind(), Kind::Invalid);

    store.set_default_kernel("localhost/kernel:6.1").expect("set");
    let exclusive = store.exclusive().expect("lock");
    exclusive.remove_kernel("localhost/kernel:6.1", false, &[], &[]).expect("remove");
    drop(exclusive);
    assert_eq!(default(&store), "6.3");
    import(&store, &bzimage("6.1"), None);
    import(&store, &bzimage("6.4"), None);
    assert_eq!(default(&store), "6.4", "what was removed is forgotten");
    std::fs::write(store.paths().kernel_defaults(), b"{").expect("damage");
    assert_eq!(default(&store), "6.4");
}

#[test]
fn images_and_kernels_are_told_apart() {
    let (_dir, store) = scratch();
    let kernel = import(&store, &bzimage("6.1"), Some("both:kernel"));
    let image = store_image(&store, &config("amd64"), CONFIG_TYPE);
    store.set_reference(&store.in_use().expect("lock"), &parsed("both:image"), &image).expect("set");

    assert_eq!(store.list().expect("list").len(), 1);
    assert_eq!(names(&store.kernels().expect("list")), ["both:kernel"]);
    assert_eq!(store.resolve("both:kernel").expect_err("a kernel").kind(), Kind::WrongSort);
    assert_eq!(store.kernel(Some("both:image")).expect_err("an image").kind(), Kind::WrongSort);
    assert_eq!(store.resolve(&kernel.id.short()).expect_err("a kernel's id").kind(), Kind::NotFound);
    assert_eq!(store.kernel(Some(&kernel.id.short())).expect("by its id").id, kernel.id);
    assert_eq!(store.kernel(Some("nothing")).expect_err("nothing").kind(), Kind::NoKernel);

    let exclusive = store.exclusive().expect("lock");
    for name in ["both:kernel", &kernel.id.short(), &kernel.id.to_string()] {
        let error = exclusive.remove(name, true, &[]).expect_err("a kernel");
        assert!(matches!(error.kind(), Kind::WrongSort | Kind::NotFound), "{name}: {error}");
    }
    let error = exclusive.remove_kernel("both:image", true, &[], &[]).expect_err("an image");
    assert_eq!(error.kind(), Kind::WrongSort);
    assert_eq!(error.to_string(), "remove kernel `both:image`");
    drop(exclusive);
    store.tag("both:kernel", &parsed("third")).expect("another name");
    assert_eq!(names(&store.kernels().expect("list")), ["both:kernel", "third:latest"]);
}

#[test]
fn removal_takes_the_files_and_collection_does_not() {
    let (_dir, store) = scratch();
    let kernel = import(&store, &whole_package(), Some("kept"));
    let moved = import(&store, &bzimage("6.1"), Some("moving"));
    import(&store, &bzimage("6.2"), Some("moving"));
    let exclusive = store.exclusive().expect("lock");
    assert_eq!(exclusive.repair(&[]).expect("repair"), Vec::<String>::new());
    assert!(kernel.modules.exists() && moved.image.exists(), "one without a name stays");

    let machines = [(kernel.id, "box".to_owned())];
    let error = exclusive.remove_kernel("kept", false, &machines, &[]).expect_err("used");
    assert_eq!(error.kind(), Kind::InUse);
    exclusive.remove_kernel(&moved.id.short(), false, &machines, &[]).expect("remove");
    assert!(!moved.image.exists());
    // Both have an archive without a module, the same.
    assert!(moved.modules.exists());
    exclusive.remove_kernel("kept", false, &[], &[]).expect("remove");
    exclusive.remove_kernel("moving", false, &[], &[]).expect("remove");
    assert_eq!(store.file_names(&store.paths().blobs()).expect("list"), Vec::<String>::new());
    assert!(store.kernels().expect("list").is_empty());
}

#[test]
fn a_kernel_whose_files_are_damaged_is_told() {
    let (_dir, store) = scratch();
    let kernel = import(&store, &bzimage("6.1"), Some("a"));
    std::fs::write(&kernel.image, b"short").expect("damage");
    assert_eq!(store.kernel(Some("a")).expect_err("damaged").kind(), Kind::Corrupt);
    assert!(store.kernels().expect("list").is_empty());
    import(&store, &bzimage("6.1"), Some("a"));
    assert!(store.kernel(Some("a")).is_ok(), "importing again heals");
    std::fs::remove_file(&kernel.modules).expect("damage");
    let error = store.kernel(Some("a")).expect_err("damaged");
    assert_eq!(error.kind(), Kind::Corrupt);
    let exclusive = store.exclusive().expect("lock");
    exclusive.remove_kernel("a", false, &[], &[]).expect("what is damaged can go");
}

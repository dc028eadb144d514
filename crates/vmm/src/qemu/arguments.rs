//! From a description to QEMU's command line.

use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd};

use holm_spec::agent::{LAYERS_DISK, PORT, SCRATCH_DISK, SHARES_TAG};
use holm_spec::machine::Accelerator;
use serde_json::{Value, json};

use super::{Ends, copy};
use crate::machine::Description;
use crate::{Error, Result, host};

/// A command line, and what it needs beside itself.
#[derive(Debug)]
pub struct Arguments {
    /// The words.
    pub words: Vec<String>,
    /// Descriptors that the words name.
    pub inherited: Vec<OwnedFd>,
    /// Devices of the machine, a line each, for people.
    pub devices: Vec<String>,
    /// The disk with the layers, as QEMU is told of it.
    pub layers: Option<Value>,
    /// Sets of descriptors that disks are read through.
    sets: usize,
}

/// A machine without anything that a workload does not need. A kind with ACPI, from which Debian's kernels learn of
/// virtio's devices without PCI: it reaches user space in two thirds of the time that q35 takes (docs/design/0011).
const MICROVM: &str = "microvm,acpi=on,pcie=off,pit=off,pic=off,rtc=on,isa-serial=on";
/// What QEMU calls the disk with the layers, and the device that it is in.
pub const LAYERS: &str = "layers";
/// QEMU gives up what it needs only before it runs.
const SANDBOX: &str = "on,obsolete=deny,elevateprivileges=deny,spawn=deny,resourcecontrol=deny";

impl Arguments {
    /// The command line of a machine with these streams.
    pub fn new(description: &Description, ends: &Ends) -> Result<Self> {
        let mut arguments =
            Self { words: Vec::new(), inherited: Vec::new(), devices: Vec::new(), layers: None, sets: 0 };
        arguments.add_machine(description)?;
        arguments.add_boot(description);
        arguments.add_streams(ends)?;
        arguments.add_snapshot(ends)?;
        arguments.add_disks(description)?;
        arguments.add_shares(description)?;
        arguments.add_taps(description)?;
        arguments.add_memory_devices();
        Ok(arguments)
    }

    fn add_machine(&mut self, description: &Description) -> Result<()> {
        let accelerator = match description.accelerator {
            Accelerator::Kvm => "kvm",
            Accelerator::Tcg => "tcg,thread=multi",
        };
        let processor = match (description.accelerator, description.platform.architecture.as_str()) {
            (Accelerator::Kvm, _) => "host",
            // The real algorithm of pointer authentication takes half of the time of what is translated.
            (Accelerator::Tcg, "arm64") => "max,pauth-impdef=on",
            (Accelerator::Tcg, _) => "max",
        };
        let machine = match description.platform.architecture.as_str() {
            "amd64" => MICROVM,
            "arm64" => "virt,gic-version=3,highmem=on",
            other => return Err(Error::new(format!("no machine is known for {other}"))),
        };
        self.option("-nodefaults", &[]);
        self.option("-no-user-config", &[]);
        self.option("-sandbox", &[SANDBOX]);
        self.option("-display", &["none"]);
        // It waits for the command to run; what resets itself ends.
        self.option("-S", &[]);
        self.option("-no-reboot", &[]);
        self.option("-machine", &[machine]);
        // Virtio 1.x, without which some devices do not work.
        self.option("-global", &["virtio-mmio.force-legacy=false"]);
        self.option("-accel", &[accelerator]);
        self.option("-cpu", &[processor]);
        self.option("-smp", &[&description.cpus.to_string()]);
        self.option("-m", &[&format!("size={}k", description.memory / 1024)]);
        let (cpus, mebibytes) = (description.cpus, description.memory >> 20);
        self.devices.push(format!("{cpus} x {processor}, {mebibytes} MiB of memory, {accelerator}"));
        Ok(())
    }

    fn add_boot(&mut self, description: &Description) {
        self.option("-kernel", &[&description.kernel.display().to_string()]);
        self.option("-initrd", &[&description.initrd.display().to_string()]);
        self.option("-append", &[&kernel_command_line(description)]);
    }

    fn add_streams(&mut self, ends: &Ends) -> Result<()> {
        for (name, socket) in [("qmp", &ends.qmp), ("console", &ends.console), ("agent", &ends.channel)] {
            let number = self.inherit(socket.as_fd())?;
            self.option("-chardev", &[&format!("socket,id={name},fd={number}")]);
        }
        self.option("-mon", &["chardev=qmp,mode=control"]);
        self.option("-serial", &["chardev:console"]);
        self.device("virtio-serial-device", "max_ports=2");
        // QEMU tells who comes and goes only at ports with an id.
        self.option("-device", &[&format!("virtserialport,id=agent,chardev=agent,name={PORT}")]);
        self.devices.push(format!("serial port: kernel messages; virtio port `{PORT}`: agent"));
        Ok(())
    }

    /// It waits for a machine's memory and devices before anything else.
    fn add_snapshot(&mut self, ends: &Ends) -> Result<()> {
        let Some(socket) = &ends.snapshot else { return Ok(()) };
        let number = self.inherit(socket.as_fd())?;
        self.option("-incoming", &[&format!("fd:{number}")]);
        Ok(())
    }

    fn add_disks(&mut self, description: &Description) -> Result<()> {
        if let Some(layers) = &description.layers {
            let files = layers.files().map(|file| self.set(file)).collect::<Result<Vec<_>>>()?;
            let descriptor = layers.descriptor(&files)?;
            let path = self.set(descriptor.as_fd())?;
            let file = json!({"driver": "file", "filename": path, "read-only": true, "locking": "off"});
            let drive = json!({"driver": "vmdk", "node-name": LAYERS, "read-only": true, "file": file});
            self.option("-blockdev", &[&drive.to_string()]);
            self.device("virtio-blk-device", &format!("id={LAYERS},drive={LAYERS},serial={LAYERS_DISK}"));
            self.layers = Some(drive);
            self.devices.push(format!("virtio disk `{LAYERS_DISK}`: {} layers, read-only", files.len() - 2));
        }
        if let Some(scratch) = &description.scratch {
            let path = self.set(scratch.as_fd())?;
            // The guest's flushes reach the host's page cache only if it asks; what it discards is given back.
            let drive = "driver=raw,node-name=scratch,discard=unmap,detect-zeroes=unmap,file.driver=file";
            self.option("-blockdev", &[&format!("{drive},file.discard=unmap,file.filename={path}")]);
            self.device("virtio-blk-device", &format!("drive=scratch,serial={SCRATCH_DISK}"));
            self.devices.push(format!("virtio disk `{SCRATCH_DISK}`: what the workload writes"));
        }
        Ok(())
    }

    /// The other process reads and writes the guest's memory, so that must be a file that both map.
    fn add_shares(&mut self, description: &Description) -> Result<()> {
        let Some(shares) = &description.shares else { return Ok(()) };
        let number = self.inherit(shares.as_fd())?;
        let memory = format!("memory-backend-memfd,id=memory,share=on,size={}k", description.memory / 1024);
        self.option("-object", &[&memory]);
        self.option("-machine", &["memory-backend=memory"]);
        self.option("-chardev", &[&format!("socket,id=shares,fd={number}")]);
        self.device("vhost-user-fs-device", &format!("chardev=shares,tag={SHARES_TAG},queue-size=1024"));
        self.devices.push(format!("virtio file system `{SHARES_TAG}`: directories of the host"));
        Ok(())
    }

    /// The host's kernel carries the frames; what the guest leaves unfinished of them (checksums, segments) it finishes.
    fn add_taps(&mut self, description: &Description) -> Result<()> {
        for (number, tap) in description.taps.iter().enumerate() {
            let descriptor = self.inherit(tap.descriptor.as_fd())?;
            self.option("-netdev", &[&format!("tap,id=net{number},fd={descriptor}")]);
            let mtu = tap.mtu.map_or_else(String::new, |mtu| format!(",host_mtu={mtu}"));
            let properties = format!("netdev=net{number},mac={}{mtu}", tap.hardware);
            self.device("virtio-net-device", &properties);
            self.devices.push(format!("virtio network device {}", tap.hardware));
        }
        Ok(())
    }

    fn add_memory_devices(&mut self) {
        self.device("virtio-balloon-device", "free-page-reporting=on");
        self.option("-object", &["rng-builtin,id=rng"]);
        self.device("virtio-rng-device", "rng=rng");
        self.devices.push("virtio balloon: free pages go back to the host; virtio rng".to_owned());
    }

    fn option(&mut self, name: &str, value: &[&str]) {
        self.words.push(name.to_owned());
        self.words.extend(value.iter().map(|&word| word.to_owned()));
    }

    fn device(&mut self, driver: &str, properties: &str) {
        self.option("-device", &[&format!("{driver},{properties}")]);
    }

    /// A copy of a descriptor for the child; its number.
    fn inherit(&mut self, descriptor: BorrowedFd<'_>) -> Result<i32> {
        let copy = copy(descriptor)?;
        let number = copy.as_raw_fd();
        self.inherited.push(copy);
        Ok(number)
    }

    /// A set with one descriptor; the path that QEMU opens it by.
    fn set(&mut self, descriptor: BorrowedFd<'_>) -> Result<String> {
        let number = self.inherit(descriptor)?;
        self.sets += 1;
        self.option("-add-fd", &[&format!("fd={number},set={}", self.sets)]);
        Ok(format!("/dev/fdset/{}", self.sets))
    }
}

/// What every guest's kernel is told: messages on the serial port, an end instead of a wait where it panics, and the
/// clock's rate, which it would get wrong if it measured while the emulator is not given time. Its cryptography does not
/// test itself, which takes a tenth of the time to user space (docs/design/0011).
fn kernel_command_line(description: &Description) -> String {
    let mut words = match description.platform.architecture.as_str() {
        "arm64" => "console=ttyAMA0".to_owned(),
        _ => "console=ttyS0 pci=off i8042.noaux=1 reboot=t".to_owned(),
    };
    words.push_str(" quiet panic=-1 oops=panic random.trust_cpu=on cryptomgr.notests");
    if let (Some(rate), "amd64") = (host::clock_rate(), description.platform.architecture.as_str()) {
        words.push_str(&format!(" tsc_early_khz={rate}"));
    }
    if !description.command_line.is_empty() {
        words.push(' ');
        words.push_str(&description.command_line);
    }
    words
}

//! Whether KVM can run a guest here, by running one of a few instructions.
//!
//! `/dev/kvm` alone says little: a host that emulates the guest's kernel mode (DESIGN section 12) delivers `syscall` with
//! a wrong code segment, and no Linux program survives its first system call. So the guest does what every Linux guest
//! does and few emulators do right:
//!
//! ```text
//! ring 3   lock cmpxchg16b on a zeroed word; syscall
//! ring 0   the code segment to port 0x10; what came of cmpxchg16b to port 0x11; a byte to an address without memory; hlt
//! ```
#![expect(unsafe_code, reason = "guest memory is given to KVM by address")]

use kvm_bindings::{Msrs, kvm_msr_entry, kvm_regs, kvm_segment, kvm_sregs, kvm_userspace_memory_region};
use kvm_ioctls::{Kvm, VcpuExit, VcpuFd, VmFd};
use rustix::mm::{MapFlags, ProtFlags, mmap_anonymous, munmap};

/// Bytes of the guest's memory; what lies behind is mapped in its page tables and is no memory.
const MEMORY: usize = 1 << 20;
const PML4: u64 = 0x1000;
const PDPT: u64 = 0x2000;
const DIRECTORY: u64 = 0x3000;
const GDT: u64 = 0x4000;
const USER: u64 = 0x5000;
const KERNEL: u64 = USER + 0x40;
const STACK: u64 = 0x8000;

/// Selectors, in the order that `syscall` and `sysret` want.
const KERNEL_CODE: u16 = 0x08;
const USER_DATA: u16 = 0x18 | 3;
const USER_CODE: u16 = 0x20 | 3;

const SEGMENT_PORT: u16 = 0x10;
const RESULT_PORT: u16 = 0x11;
const NO_MEMORY: u64 = 0x18_0000;
const MARK: u8 = 0x5a;
/// `cmpxchg16b` has succeeded, and the word holds what it was given.
const RIGHT: u8 = 1 + 0x11;

/// Starts at [`USER`].
const PROGRAM: [u8; 0x5a] = {
    let user = [
        0x31, 0xc0, // xor eax, eax
        0x31, 0xd2, // xor edx, edx
        0xbb, 0x11, 0, 0, 0, // mov ebx, 0x11
        0xb9, 0x22, 0, 0, 0, // mov ecx, 0x22
        0xf0, 0x48, 0x0f, 0xc7, 0x0c, 0x25, 0, 0x70, 0, 0, // lock cmpxchg16b [0x7000]
        0x41, 0x0f, 0x94, 0xc0, // setz r8b
        0x0f, 0x05, // syscall
    ];
    let kernel = [
        0x8c, 0xc8, // mov eax, cs
        0x66, 0xe7, 0x10, // out 0x10, ax
        0x44, 0x88, 0xc0, // mov al, r8b
        0x02, 0x04, 0x25, 0, 0x70, 0, 0, // add al, [0x7000]
        0xe6, 0x11, // out 0x11, al
        0xc6, 0x04, 0x25, 0, 0, 0x18, 0, MARK, // mov byte [0x180000], 0x5a
        0xf4, // hlt
    ];
    let mut program = [0; 0x5a];
    let mut at = 0;
    while at < user.len() {
        program[at] = user[at];
        at += 1;
    }
    let mut at = 0;
    while at < kernel.len() {
        program[0x40 + at] = kernel[at];
        at += 1;
    }
    program
};

/// Runs the guest. It may hang where KVM is broken: run it in a process that can be ended.
///
/// # Errors
/// Why KVM does not serve, for people.
pub fn run() -> Result<(), String> {
    let kvm = Kvm::new().map_err(|error| format!("/dev/kvm cannot be opened: {error}"))?;
    let vm = kvm.create_vm().map_err(|error| format!("KVM makes no machine: {error}"))?;
    let memory = Memory::new(&vm)?;
    write_tables(&memory);
    let mut processor = vm.create_vcpu(0).map_err(|error| format!("KVM makes no processor: {error}"))?;
    set_up(&kvm, &processor).map_err(|error| format!("KVM refuses a processor's state: {error}"))?;
    let seen = observe(&mut processor)?;
    judge(&seen)
}

/// What the guest did that could be seen.
#[derive(Debug, Default, PartialEq, Eq)]
struct Seen {
    segment: Option<u16>,
    result: Option<u8>,
    mark: Option<u8>,
}

fn judge(seen: &Seen) -> Result<(), String> {
    match seen.segment {
        None => return Err("KVM's guest did not come to its system call".to_owned()),
        Some(KERNEL_CODE) => {}
        Some(other) => {
            return Err(format!(
                "KVM here delivers `syscall` with code segment {other:#x} instead of {KERNEL_CODE:#x}"
            ));
        }
    }
    if seen.result != Some(RIGHT) {
        return Err("KVM here does not execute `cmpxchg16b` as processors do".to_owned());
    }
    if seen.mark != Some(MARK) {
        return Err("KVM here does not tell of writes where there is no memory".to_owned());
    }
    Ok(())
}

fn observe(processor: &mut VcpuFd) -> Result<Seen, String> {
    let mut seen = Seen::default();
    // Four exits are to be seen; a few more would be the kernel's own affair.
    for _ in 0..64 {
        match processor.run() {
            Ok(VcpuExit::IoOut(SEGMENT_PORT, data)) => {
                seen.segment = data.try_into().ok().map(u16::from_le_bytes);
            }
            Ok(VcpuExit::IoOut(RESULT_PORT, data)) => seen.result = data.first().copied(),
            Ok(VcpuExit::MmioWrite(NO_MEMORY, data)) => seen.mark = data.first().copied(),
            // A shutdown is the third fault in a row: what was seen before says what is wrong.
            Ok(VcpuExit::Hlt | VcpuExit::Shutdown) => return Ok(seen),
            Ok(VcpuExit::Intr) => {}
            Ok(other) => return Err(format!("KVM's guest ended with {other:?}")),
            Err(error) if error.errno() == INTERRUPTED => {}
            Err(error) => return Err(format!("KVM runs no guest: {error}")),
        }
    }
    Err("KVM's guest does not come to its end".to_owned())
}

/// `EINTR`.
const INTERRUPTED: i32 = 4;

/// The guest's memory.
struct Memory {
    address: *mut u8,
}

impl Memory {
    fn new(vm: &VmFd) -> Result<Self, String> {
        let failed = |what: &str| format!("KVM takes no memory: {what}");
        // SAFETY: a new mapping at an address that the kernel chooses.
        let address = unsafe {
            mmap_anonymous(
                std::ptr::null_mut(),
                MEMORY,
                ProtFlags::READ | ProtFlags::WRITE,
                MapFlags::PRIVATE,
            )
        };
        let memory = Self { address: address.map_err(|errno| failed(&errno.to_string()))?.cast() };
        let region = kvm_userspace_memory_region {
            slot: 0,
            guest_phys_addr: 0,
            memory_size: MEMORY as u64,
            userspace_addr: memory.address as u64,
            flags: 0,
        };
        // SAFETY: the mapping is that large, and outlives the machine, which is dropped before it.
        unsafe { vm.set_user_memory_region(region) }.map_err(|error| failed(&error.to_string()))?;
        Ok(memory)
    }

    /// # Panics
    /// If the place is not in the memory.
    fn write(&self, at: u64, bytes: &[u8]) {
        let at = usize::try_from(at).expect("an address below a mebibyte");
        assert!(at + bytes.len() <= MEMORY, "within the guest's memory");
        // SAFETY: the range was checked, and no guest runs yet.
        unsafe { std::ptr::copy_nonoverlapping(bytes.as_ptr(), self.address.add(at), bytes.len()) };
    }
}

impl Drop for Memory {
    fn drop(&mut self) {
        // SAFETY: nothing uses the mapping any more.
        let _ = unsafe { munmap(self.address.cast(), MEMORY) };
    }
}

/// One table each, and in the last one page of 2 MiB: present, writable, for user mode.
fn write_tables(memory: &Memory) {
    const TABLE: u64 = 0b111;
    const LARGE_PAGE: u64 = 0b1000_0111;
    memory.write(PML4, &(PDPT | TABLE).to_le_bytes());
    memory.write(PDPT, &(DIRECTORY | TABLE).to_le_bytes());
    memory.write(DIRECTORY, &LARGE_PAGE.to_le_bytes());
    let descriptors =
        [0, 0x00af_9b00_0000_ffff, 0x00cf_9300_0000_ffff, 0x00cf_f300_0000_ffff, 0x00af_fb00_0000_ffff];
    for (at, descriptor) in (GDT..).step_by(8).zip(descriptors) {
        memory.write(at, &u64::to_le_bytes(descriptor));
    }
    memory.write(USER, &PROGRAM);
}

/// In 64-bit user mode at the program's beginning.
fn set_up(kvm: &Kvm, processor: &VcpuFd) -> Result<(), kvm_ioctls::Error> {
    let cpuid = kvm.get_supported_cpuid(kvm_bindings::KVM_MAX_CPUID_ENTRIES)?;
    processor.set_cpuid2(&cpuid)?;
    let mut system = processor.get_sregs()?;
    enter_long_mode(&mut system);
    processor.set_sregs(&system)?;
    processor.set_regs(&kvm_regs { rip: USER, rsp: STACK, rflags: 2, ..kvm_regs::default() })?;
    let entry = |index, data| kvm_msr_entry { index, data, ..kvm_msr_entry::default() };
    // STAR with both selectors, LSTAR with the entry, SFMASK with nothing.
    let star = u64::from(KERNEL_CODE) << 32 | 0x13 << 48;
    let registers = [entry(0xc000_0081, star), entry(0xc000_0082, KERNEL), entry(0xc000_0084, 0)];
    let registers = Msrs::from_entries(&registers).expect("three fit");
    processor.set_msrs(&registers).map(drop)
}

fn enter_long_mode(system: &mut kvm_sregs) {
    // Protection, paging, native errors of the floating-point unit, extension type; physical addresses of 36 bits and
    // more, SSE; long mode enabled and active, system calls.
    (system.cr0, system.cr3, system.cr4, system.efer) = (0x8000_0033, PML4, 0x620, 0x501);
    (system.gdt.base, system.gdt.limit) = (GDT, 39);
    let code = kvm_segment {
        base: 0,
        limit: u32::MAX,
        selector: USER_CODE,
        type_: 11,
        present: 1,
        dpl: 3,
        s: 1,
        l: 1,
        g: 1,
        ..kvm_segment::default()
    };
    let data = kvm_segment { selector: USER_DATA, type_: 3, l: 0, db: 1, ..code };
    system.cs = code;
    (system.ds, system.es, system.fs, system.gs, system.ss) = (data, data, data, data, data);
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_fault_has_its_words() {
        let right = Seen { segment: Some(KERNEL_CODE), result: Some(RIGHT), mark: Some(MARK) };
        assert_eq!(judge(&right), Ok(()));
        let says =
            |seen: Seen, words: &str| assert!(judge(&seen).expect_err("a fault").contains(words), "{seen:?}");
        says(Seen::default(), "did not come to its system call");
        says(Seen { segment: Some(0x2b), ..Seen::default() }, "code segment 0x2b instead of 0x8");
        says(Seen { segment: Some(KERNEL_CODE), result: Some(1), mark: None }, "cmpxchg16b");
        says(Seen { segment: Some(KERNEL_CODE), result: Some(RIGHT), mark: None }, "no memory");
    }
}

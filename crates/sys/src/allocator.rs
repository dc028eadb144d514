//! Memory for a program that has one thread and does not live long.
//!
//! ```text
//! chunk  |block|block|block|last block|          free           |
//!                                     ^ next                     ^ limit
//! lists  16 -> block -> block    32 -> block    ...    2^k -> block
//! ```
//! A block is taken from the list of its size, or else from the chunk; the last block of the chunk grows and goes in
//! place, all others go to the list of their size. Sizes are multiples of 16 bytes up to 1 KiB and powers of two
//! above, so whatever a program does again and again for days finds the blocks of the last time. Nothing is ever
//! joined or given back to the kernel: that is work for the end of the process, which comes soon.
//!
//! There is no lock, which is half of what an allocation costs elsewhere. Instead the thread is checked: a second one
//! that asks for memory ends the program.
#![expect(unsafe_code, reason = "an allocator hands out raw memory")]

use std::alloc::{GlobalAlloc, Layout};
use std::cell::UnsafeCell;
use std::ptr::{self, NonNull};
use std::sync::atomic::{AtomicUsize, Ordering};

/// Every block begins at a multiple of this.
const GRAIN: usize = 16;
/// Largest block whose size is a multiple of [`GRAIN`], in bytes.
const LARGEST_FINE: usize = 1024;
/// A list for each multiple and for each power of two.
const LISTS: usize = LARGEST_FINE / GRAIN + usize::BITS as usize;
/// The first chunk, in bytes: part of the program's zeroed data, so most commands ask the kernel for nothing.
const FIRST_CHUNK: usize = 256 << 10;
/// Smallest of the other chunks, in bytes.
const CHUNK: usize = 1 << 20;

/// An allocator for programs with one thread; see the module.
#[derive(Debug)]
pub struct SingleThreaded {
    /// The thread that it belongs to; 0 until the first allocation.
    owner: AtomicUsize,
    heap: UnsafeCell<Heap>,
    first: UnsafeCell<FirstChunk>,
}

#[derive(Debug)]
#[repr(C, align(4096))]
struct FirstChunk([u8; FIRST_CHUNK]);

// SAFETY: `heap` and `first` are reached only through `Self::heap`, which lets one thread pass.
unsafe impl Sync for SingleThreaded {}

#[derive(Debug)]
struct Heap {
    /// Where the chunk in use begins.
    start: *mut u8,
    /// What of it was never handed out, or came back.
    next: *mut u8,
    limit: *mut u8,
    /// The chunk in use has been given.
    begun: bool,
    lists: [Option<NonNull<Free>>; LISTS],
}

/// What stands in a block that is free.
#[derive(Debug)]
struct Free {
    next: Option<NonNull<Self>>,
}

thread_local! {
    /// Its address tells threads apart.
    static MARK: u8 = const { 0 };
}

impl SingleThreaded {
    /// An allocator that has handed out nothing.
    #[must_use]
    #[expect(clippy::new_without_default, reason = "it is for statics")]
    pub const fn new() -> Self {
        let none = ptr::null_mut();
        let heap = Heap { start: none, next: none, limit: none, begun: false, lists: [None; LISTS] };
        Self {
            owner: AtomicUsize::new(0),
            heap: UnsafeCell::new(heap),
            first: UnsafeCell::new(FirstChunk([0; FIRST_CHUNK])),
        }
    }

    /// The heap, for the thread that came first. A process that is forked has a heap of its own and the same thread.
    #[expect(clippy::mut_from_ref, reason = "only one thread gets it, and never twice at once")]
    fn heap(&self) -> &mut Heap {
        let here = MARK.with(|mark| ptr::from_ref(mark).addr());
        match self.owner.load(Ordering::Relaxed) {
            owner if owner == here => {}
            // A second thread cannot be there yet: making it takes memory.
            0 => self.owner.store(here, Ordering::Relaxed),
            _ => std::process::abort(),
        }
        // SAFETY: this is the one thread that gets here, and no method of `Heap` calls back.
        let heap = unsafe { &mut *self.heap.get() };
        if !heap.begun {
            heap.begin(self.first.get().cast(), FIRST_CHUNK);
        }
        heap
    }
}

// SAFETY: blocks are disjoint, of at least the size and alignment that is asked for, and stay where they are until
// they are given back.
unsafe impl GlobalAlloc for SingleThreaded {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        self.heap().take(layout.size(), layout.align())
    }

    unsafe fn dealloc(&self, block: *mut u8, layout: Layout) {
        // SAFETY: the caller gives back what `alloc` gave for this layout.
        unsafe { self.heap().give_back(block, layout.size()) }
    }

    unsafe fn realloc(&self, block: *mut u8, layout: Layout, size: usize) -> *mut u8 {
        let heap = self.heap();
        if heap.resize(block, layout.size(), size) {
            return block;
        }
        let fresh = heap.take(size, layout.align());
        if !fresh.is_null() {
            // SAFETY: both blocks are as large as the smaller size, and no block overlaps another.
            unsafe { ptr::copy_nonoverlapping(block, fresh, layout.size().min(size)) };
            // SAFETY: the caller gives the block up.
            unsafe { heap.give_back(block, layout.size()) };
        }
        fresh
    }
}

impl Heap {
    fn begin(&mut self, start: *mut u8, length: usize) {
        (self.start, self.next, self.limit) = (start, start, start.wrapping_add(length));
        self.begun = true;
    }

    /// A block of at least that size; null if the kernel has no memory.
    fn take(&mut self, size: usize, align: usize) -> *mut u8 {
        let Some((list, size)) = class(size) else { return ptr::null_mut() };
        if let Some(block) = self.lists[list].filter(|block| block.addr().get().is_multiple_of(align)) {
            // SAFETY: what is in a list is a block that nobody has, with a `Free` in it.
            self.lists[list] = unsafe { block.read() }.next;
            return block.as_ptr().cast();
        }
        self.take_from_chunk(size, align).unwrap_or_else(|| {
            let length = size.saturating_add(align).max(CHUNK);
            let chunk = map(length);
            if chunk.is_null() {
                return chunk;
            }
            self.begin(chunk, length);
            self.take_from_chunk(size, align).unwrap_or(ptr::null_mut())
        })
    }

    fn take_from_chunk(&mut self, size: usize, align: usize) -> Option<*mut u8> {
        let gap = self.next.addr().wrapping_neg() & (align - 1);
        let needed = size.checked_add(gap)?;
        if needed > self.limit.addr() - self.next.addr() {
            return None;
        }
        let block = self.next.wrapping_add(gap);
        self.next = block.wrapping_add(size);
        Some(block)
    }

    /// # Safety
    /// `block` was taken with `size`, or resized to it, and nobody uses it any more.
    unsafe fn give_back(&mut self, block: *mut u8, size: usize) {
        let Some((list, size)) = class(size) else { return };
        if self.is_last(block, size) {
            self.next = block;
            return;
        }
        let Some(free) = NonNull::new(block.cast::<Free>()) else { return };
        // SAFETY: the block is nobody's, at least `GRAIN` bytes and aligned to them, which is enough for a `Free`.
        unsafe { free.write(Free { next: self.lists[list] }) };
        self.lists[list] = Some(free);
    }

    /// Whether the block can have another size where it is; then it has.
    fn resize(&mut self, block: *mut u8, old: usize, new: usize) -> bool {
        let (Some((_, old)), Some((_, new))) = (class(old), class(new)) else { return false };
        if self.is_last(block, old) && new <= self.limit.addr() - block.addr() {
            self.next = block.wrapping_add(new);
            return true;
        }
        // One that shrinks keeps its space until it is given back, as a block of its new size.
        new <= old
    }

    fn is_last(&self, block: *mut u8, size: usize) -> bool {
        block >= self.start && block.wrapping_add(size) == self.next
    }
}

/// The list of blocks for a size, and how large these are; `None` for a size beyond all memory.
fn class(size: usize) -> Option<(usize, usize)> {
    if size <= LARGEST_FINE {
        let grains = size.div_ceil(GRAIN).max(1);
        return Some((grains - 1, grains * GRAIN));
    }
    let size = size.checked_next_power_of_two()?;
    Some((LARGEST_FINE / GRAIN + size.ilog2() as usize, size))
}

/// Fresh memory from the kernel; null if there is none.
fn map(length: usize) -> *mut u8 {
    let (protection, flags) = (libc::PROT_READ | libc::PROT_WRITE, libc::MAP_PRIVATE | libc::MAP_ANONYMOUS);
    // SAFETY: a new private mapping at a place of the kernel's choice touches no memory that is in use.
    let start = unsafe { libc::mmap(ptr::null_mut(), length, protection, flags, -1, 0) };
    if start == libc::MAP_FAILED { ptr::null_mut() } else { start.cast() }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn layout(size: usize, align: usize) -> Layout {
        Layout::from_size_align(size, align).expect("a power of two")
    }

    /// Numbers that look random and are the same each time.
    struct Numbers(u64);

    impl Numbers {
        fn below(&mut self, limit: usize) -> usize {
            self.0 = self.0.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
            (self.0 >> 33) as usize % limit
        }
    }

    /// A block that holds one byte all over, so that any overlap shows.
    struct Block {
        at: *mut u8,
        layout: Layout,
        filled: u8,
    }

    impl Block {
        fn fill(at: *mut u8, layout: Layout, filled: u8) -> Self {
            assert!(!at.is_null() && at.addr().is_multiple_of(layout.align()));
            // SAFETY: the block has that size.
            unsafe { at.write_bytes(filled, layout.size()) };
            Self { at, layout, filled }
        }

        fn check(&self, length: usize) {
            // SAFETY: the block has that size and was filled.
            let content = unsafe { std::slice::from_raw_parts(self.at, length) };
            assert!(content.iter().all(|byte| *byte == self.filled));
        }
    }

    fn size(numbers: &mut Numbers) -> usize {
        let limit = [64, 1500, 40_000][numbers.below(3)];
        1 + numbers.below(limit)
    }

    #[test]
    fn blocks_never_overlap_and_keep_their_content() {
        static HEAP: SingleThreaded = SingleThreaded::new();
        let mut numbers = Numbers(7);
        let mut blocks: Vec<Block> = Vec::new();
        for turn in 0..20_000 {
            let filled = turn as u8;
            if blocks.len() < 50 || numbers.below(3) == 0 {
                let layout = layout(size(&mut numbers), 1 << numbers.below(8));
                // SAFETY: the layout is not empty.
                blocks.push(Block::fill(unsafe { HEAP.alloc(layout) }, layout, filled));
                continue;
            }
            let chosen = numbers.below(blocks.len());
            let block = blocks.swap_remove(chosen);
            block.check(block.layout.size());
            if numbers.below(2) == 0 {
                // SAFETY: it is given back once.
                unsafe { HEAP.dealloc(block.at, block.layout) };
                continue;
            }
            let new = layout(size(&mut numbers), block.layout.align());
            // SAFETY: the old block is given up.
            let at = unsafe { HEAP.realloc(block.at, block.layout, new.size()) };
            let kept = new.size().min(block.layout.size());
            Block { at, ..block }.check(kept);
            blocks.push(Block::fill(at, new, filled));
        }
    }

    #[test]
    fn the_last_block_grows_shrinks_and_goes_in_place() {
        static HEAP: SingleThreaded = SingleThreaded::new();
        // SAFETY: every block is used as its layout says.
        unsafe {
            let first = HEAP.alloc(layout(10, 1));
            assert_eq!(HEAP.realloc(first, layout(10, 1), 5000), first);
            assert_eq!(HEAP.realloc(first, layout(5000, 1), 100), first);
            let second = HEAP.alloc(layout(8, 8));
            assert_eq!(second.addr(), first.addr() + 112);
            assert_ne!(HEAP.realloc(first, layout(100, 1), 5000), first);
            HEAP.dealloc(second, layout(8, 8));
            assert_eq!(HEAP.alloc(layout(100, 1)), first);
        }
    }

    #[test]
    fn what_is_done_again_and_again_needs_no_more_memory() {
        static HEAP: SingleThreaded = SingleThreaded::new();
        let mut chunks = std::collections::BTreeSet::new();
        for turn in 0..100_000 {
            let sizes = [24, 300, 5000, 70_000 + turn % 100, 17];
            // SAFETY: every block is used as its layout says.
            unsafe {
                let blocks = sizes.map(|size| HEAP.alloc(layout(size, 64)));
                for (block, size) in blocks.into_iter().zip(sizes) {
                    HEAP.dealloc(block, layout(size, 64));
                }
            }
            chunks.insert(HEAP.heap().start.addr());
        }
        assert_eq!(chunks.len(), 1);
    }

    #[test]
    fn what_is_too_large_is_refused() {
        static HEAP: SingleThreaded = SingleThreaded::new();
        // SAFETY: the layout is valid, whatever its size.
        unsafe {
            assert!(HEAP.alloc(layout(isize::MAX as usize - 64, 16)).is_null());
            assert!(!HEAP.alloc(layout(3 << 20, 4096)).is_null());
        }
    }
}

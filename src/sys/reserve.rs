//! malloc(3) with a reserve. When the system has no memory left, small allocations come from a piece of the program's own
//! memory. PID 1 then keeps running, logs the shortage, and fails only what needs much memory.
//!
//! The reserve lies in .bss: its pages cost nothing before they are used. It is a row of units with one bit each. A
//! block needs no header, since a caller of `dealloc` passes its size.

use std::alloc::{GlobalAlloc, Layout, System};
use std::cell::UnsafeCell;
use std::mem::MaybeUninit;
use std::ops::Range;
use std::ptr;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};

use nix::sys::resource::{RLIM_INFINITY, Resource, getrlimit};

/// The size of the reserve in bytes. A reload while 64 callers are answered takes 90,000; 310,000 if each of them sends a line
/// that does not end.
pub const SIZE: usize = 512 * 1024;
/// The least that a block takes, in bytes.
const UNIT: usize = 64;
const UNITS: usize = SIZE / UNIT;
const BITS: usize = usize::BITS as usize;

/// The allocator of the binary.
pub struct Allocator;

/// In a section of its own, so that the linker's script can put it after all other variables. Between them it would
/// spread them over one more page.
// SAFETY: the section's name begins with `.bss.`, as that of zeros must, and the value is all zeros.
#[cfg_attr(all(target_os = "linux", not(test)), unsafe(link_section = ".bss.reserve"))]
static RESERVE: Reserve = Reserve::new();

/// An allocation has failed.
static SHORT: AtomicBool = AtomicBool::new(false);

/// Nothing is taken from the reserve for the moment.
static CLOSED: AtomicBool = AtomicBool::new(false);

/// Makes room in a buffer without the reserve, and returns whether there is room. For callers that can do with less.
pub fn try_reserve(buffer: &mut Vec<u8>, more: usize) -> bool {
    if buffer.capacity() - buffer.len() >= more {
        return true;
    }
    CLOSED.store(true, Ordering::Relaxed);
    let made = buffer.try_reserve(more).is_ok();
    CLOSED.store(false, Ordering::Relaxed);
    made
}

/// How many bytes of the reserve are in use now.
pub fn used() -> usize {
    RESERVE.used.load(Ordering::Relaxed) * UNIT
}

/// The most bytes of the reserve that were ever in use at one time; 0 as long as memory was never short.
pub fn peak() -> usize {
    RESERVE.peak.load(Ordering::Relaxed) * UNIT
}

/// The log line about a shortage of memory. It is returned once per run of the program, after the first failed allocation.
pub fn notice() -> Option<String> {
    static TOLD: AtomicBool = AtomicBool::new(false);
    if !SHORT.load(Ordering::Relaxed) || TOLD.swap(true, Ordering::Relaxed) {
        return None;
    }
    let limits = [("RLIMIT_AS", Resource::RLIMIT_AS), ("RLIMIT_DATA", Resource::RLIMIT_DATA)].into_iter().filter_map(|(name, limit)| {
        let (soft, _) = getrlimit(limit).ok()?;
        (soft != RLIM_INFINITY).then(|| format!("{name} is {} KiB", soft / 1024))
    });
    let limits: Vec<String> = limits.collect();
    let cause = if limits.is_empty() { "the system has none left".to_owned() } else { limits.join(", ") };
    Some(format!("out of memory: {cause}; using a reserve of {} KiB until more is available", SIZE / 1024))
}

// SAFETY: every block comes from the system's allocator or from the reserve, and goes back to where it came from, which
// its address tells. Both give blocks of at least the size and the alignment that the layout asks for, and neither unwinds.
unsafe impl GlobalAlloc for Allocator {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        // SAFETY: the caller keeps to the contract of `GlobalAlloc`, which is the same here.
        let block = unsafe { System.alloc(layout) };
        if block.is_null() { short(layout) } else { block }
    }

    unsafe fn alloc_zeroed(&self, layout: Layout) -> *mut u8 {
        // SAFETY: as in `alloc`.
        let block = unsafe { System.alloc_zeroed(layout) };
        if !block.is_null() {
            return block;
        }
        let block = short(layout);
        if !block.is_null() {
            // SAFETY: the block is that long. It may have been used before, so it has to be cleared.
            unsafe { block.write_bytes(0, layout.size()) };
        }
        block
    }

    unsafe fn dealloc(&self, block: *mut u8, layout: Layout) {
        if RESERVE.holds(block) {
            RESERVE.give_back(block, layout.size());
        } else {
            // SAFETY: what the reserve does not hold has come from the system's allocator, with this layout.
            unsafe { System.dealloc(block, layout) };
        }
    }

    unsafe fn realloc(&self, block: *mut u8, layout: Layout, size: usize) -> *mut u8 {
        // SAFETY: the caller warrants that the size does not overflow once it is rounded up to the alignment.
        let wanted = unsafe { Layout::from_size_align_unchecked(size, layout.align()) };
        let smaller = size <= layout.size();
        if !RESERVE.holds(block) {
            // SAFETY: as in `dealloc`.
            let moved = unsafe { System.realloc(block, layout, size) };
            // free(3) asks for no size: a block that cannot be made smaller may stay as it is.
            return match moved.is_null() {
                false => moved,
                true if smaller => block,
                // SAFETY: both layouts are those of the blocks.
                true => unsafe { self.move_to(short(wanted), block, layout, size) },
            };
        }
        if smaller {
            RESERVE.shrink(block, layout.size(), size);
            return block;
        }
        // Out of the reserve, if the shortage is over.
        // SAFETY: as in `alloc`: `realloc` is not called with a size of 0.
        let outside = unsafe { System.alloc(wanted) };
        if outside.is_null() && !CLOSED.load(Ordering::Relaxed) && RESERVE.grow(block, layout.size(), size) {
            return block;
        }
        let target = if outside.is_null() { short(wanted) } else { outside };
        // SAFETY: both layouts are those of the blocks.
        unsafe { self.move_to(target, block, layout, size) }
    }
}

/// Out of line, since it is hardly ever needed.
#[cold]
#[inline(never)]
fn short(layout: Layout) -> *mut u8 {
    SHORT.store(true, Ordering::Relaxed);
    if CLOSED.load(Ordering::Relaxed) { ptr::null_mut() } else { RESERVE.take(layout) }
}

impl Allocator {
    /// Copies a block to a larger place, gives the old one back, and returns the new one. Without a new place nothing
    /// happens, and the answer is null.
    ///
    /// # Safety
    /// `block` has been allocated here with `layout`. `target` is null, or a block of `size` bytes, not fewer than that.
    unsafe fn move_to(&self, target: *mut u8, block: *mut u8, layout: Layout, size: usize) -> *mut u8 {
        if !target.is_null() {
            // SAFETY: two blocks in use never overlap, and both are at least that long.
            unsafe { ptr::copy_nonoverlapping(block, target, layout.size().min(size)) };
            // SAFETY: by the contract of this function.
            unsafe { self.dealloc(block, layout) };
        }
        target
    }
}

/// Aligned to a unit and no more: a page of its own would separate variables that share one, and the start would touch
/// both.
#[repr(C, align(64))]
struct Reserve {
    memory: UnsafeCell<[MaybeUninit<u8>; SIZE]>,
    /// A bit for each unit: whether it is in use.
    map: [AtomicUsize; UNITS / BITS],
    /// A thread reads or changes the map.
    busy: AtomicBool,
    used: AtomicUsize,
    peak: AtomicUsize,
}

// SAFETY: `memory` is reached only through the blocks that `take` gives away, and no two of them overlap: the map, which
// says so, is changed by one thread at a time.
unsafe impl Sync for Reserve {}

impl Reserve {
    const fn new() -> Reserve {
        Reserve {
            memory: UnsafeCell::new([MaybeUninit::uninit(); SIZE]),
            map: [const { AtomicUsize::new(0) }; UNITS / BITS],
            busy: AtomicBool::new(false),
            used: AtomicUsize::new(0),
            peak: AtomicUsize::new(0),
        }
    }

    fn start(&self) -> *mut u8 {
        self.memory.get().cast()
    }

    /// Whether this address lies in the reserve.
    fn holds(&self, block: *mut u8) -> bool {
        (block.addr()).wrapping_sub(self.start().addr()) < SIZE
    }

    /// A block for this layout, or null.
    fn take(&self, layout: Layout) -> *mut u8 {
        let count = units(layout.size());
        let step = (layout.align() / UNIT).max(1);
        let first = self.alone(|| {
            let first = self.find(count, step)?;
            self.mark(first..first + count, true);
            Some(first)
        });
        match first.flatten() {
            Some(first) => self.start().wrapping_add(first * UNIT),
            None => ptr::null_mut(),
        }
    }

    /// Takes a block of this size back.
    fn give_back(&self, block: *mut u8, size: usize) {
        let first = self.index(block);
        self.alone(|| self.mark(first..first + units(size), false));
    }

    /// Takes the end of a block back.
    fn shrink(&self, block: *mut u8, old: usize, new: usize) {
        let first = self.index(block);
        self.alone(|| self.mark(first + units(new)..first + units(old), false));
    }

    /// Makes a block larger where it is; whether that was possible.
    fn grow(&self, block: *mut u8, old: usize, new: usize) -> bool {
        let first = self.index(block);
        let more = first + units(old)..first.saturating_add(units(new));
        let grown = self.alone(|| {
            let free = more.end <= UNITS && more.clone().all(|unit| !self.is_taken(unit));
            if free {
                self.mark(more.clone(), true);
            }
            free
        });
        grown == Some(true)
    }

    fn index(&self, block: *mut u8) -> usize {
        block.addr().wrapping_sub(self.start().addr()) / UNIT
    }

    /// Calls a function with the map, unless another thread uses the map right now. No thread waits: a second one gets no
    /// memory from the reserve, or leaks the block that it frees. The program has one thread.
    fn alone<T>(&self, action: impl FnOnce() -> T) -> Option<T> {
        if self.busy.swap(true, Ordering::Acquire) {
            return None;
        }
        let result = action();
        self.busy.store(false, Ordering::Release);
        Some(result)
    }

    /// The first run of free units that is long enough and begins at an address that is a multiple of `step` units.
    fn find(&self, count: usize, step: usize) -> Option<usize> {
        let start = self.start().addr() / UNIT;
        let aligned = |unit: usize| (start + unit).checked_next_multiple_of(step)?.checked_sub(start);
        let mut first = aligned(0)?;
        while first.checked_add(count)? <= UNITS {
            match (first..first + count).rev().find(|unit| self.is_taken(*unit)) {
                None => return Some(first),
                Some(taken) => first = aligned(taken + 1)?,
            }
        }
        None
    }

    fn is_taken(&self, unit: usize) -> bool {
        self.map.get(unit / BITS).is_none_or(|word| word.load(Ordering::Relaxed) & bit(unit) != 0)
    }

    fn mark(&self, units: Range<usize>, taken: bool) {
        let count = units.len();
        for unit in units {
            if let Some(word) = self.map.get(unit / BITS) {
                let rest = word.load(Ordering::Relaxed) & !bit(unit);
                word.store(if taken { rest | bit(unit) } else { rest }, Ordering::Relaxed);
            }
        }
        let used = self.used.load(Ordering::Relaxed);
        let used = if taken { used + count } else { used.saturating_sub(count) };
        self.used.store(used, Ordering::Relaxed);
        self.peak.store(self.peak.load(Ordering::Relaxed).max(used), Ordering::Relaxed);
    }
}

fn units(size: usize) -> usize {
    size.div_ceil(UNIT).max(1)
}

fn bit(unit: usize) -> usize {
    1 << (unit % BITS)
}

#[cfg(test)]
mod tests {
    use std::hint::black_box;

    use super::*;

    /// A reserve of a test's own.
    macro_rules! reserve {
        () => {{
            static TESTED: Reserve = Reserve::new();
            &TESTED
        }};
    }

    fn layout(size: usize, align: usize) -> Layout {
        Layout::from_size_align(size, align).expect("a layout")
    }

    /// Numbers that look random and are the same each time: xorshift, Marsaglia 2003.
    struct Numbers(u64);

    impl Numbers {
        fn below(&mut self, end: usize) -> usize {
            self.0 ^= self.0 << 13;
            self.0 ^= self.0 >> 7;
            self.0 ^= self.0 << 17;
            (self.0 % end as u64) as usize
        }
    }

    struct Block {
        start: *mut u8,
        layout: Layout,
        filled_with: u8,
    }

    impl Block {
        fn range(&self) -> Range<usize> {
            self.start.addr()..self.start.addr() + self.layout.size()
        }

        fn fill(&self) {
            // SAFETY: the reserve has given the block away with this layout.
            unsafe { self.start.write_bytes(self.filled_with, self.layout.size()) };
        }

        #[track_caller]
        fn assert_untouched(&self, length: usize) {
            // SAFETY: it has been filled, and nobody else has it.
            let bytes = unsafe { std::slice::from_raw_parts(self.start, length) };
            assert!(bytes.iter().all(|byte| *byte == self.filled_with), "somebody else has written into a block");
        }
    }

    #[test]
    fn blocks_are_aligned_and_apart_and_keep_their_bytes_whatever_comes_and_goes() {
        let reserve = reserve!();
        let mut numbers = Numbers(0x5eed);
        let mut blocks: Vec<Block> = Vec::new();
        let (mut refused, mut grown) = (0, 0);
        for step in 0..20_000_u32 {
            match numbers.below(10) {
                0..5 => {
                    let largest = [16, 200, 5_000, 70_000][numbers.below(4)];
                    let layout = layout(1 + numbers.below(largest), 1 << numbers.below(13));
                    let start = reserve.take(layout);
                    if start.is_null() {
                        refused += 1;
                        continue;
                    }
                    assert!(reserve.holds(start) && start.addr().is_multiple_of(layout.align()));
                    let block = Block { start, layout, filled_with: step as u8 };
                    let range = block.range();
                    assert!(reserve.holds(start.wrapping_add(layout.size() - 1)), "it ends in the reserve, too");
                    assert!(blocks.iter().all(|other| other.range().end <= range.start || range.end <= other.range().start));
                    block.fill();
                    blocks.push(block);
                }
                5 if !blocks.is_empty() => {
                    let index = numbers.below(blocks.len());
                    let block = &mut blocks[index];
                    let (old, new) = (block.layout.size(), block.layout.size() + 1 + numbers.below(1_000));
                    if reserve.grow(block.start, old, new) {
                        grown += 1;
                        block.assert_untouched(old);
                        block.layout = layout(new, block.layout.align());
                        block.fill();
                    }
                }
                6 if !blocks.is_empty() => {
                    let index = numbers.below(blocks.len());
                    let block = &mut blocks[index];
                    let (old, new) = (block.layout.size(), 1 + numbers.below(block.layout.size()));
                    reserve.shrink(block.start, old, new);
                    block.assert_untouched(new);
                    block.layout = layout(new, block.layout.align());
                }
                _ if !blocks.is_empty() => {
                    let block = blocks.swap_remove(numbers.below(blocks.len()));
                    block.assert_untouched(block.layout.size());
                    reserve.give_back(block.start, block.layout.size());
                }
                _ => {}
            }
            let taken: usize = blocks.iter().map(|block| units(block.layout.size())).sum();
            assert_eq!(reserve.used.load(Ordering::Relaxed), taken, "the model and the map disagree");
        }
        assert!(refused > 100 && grown > 100, "refused {refused} times, grown {grown} times: too few to say anything");
        for block in blocks.drain(..) {
            block.assert_untouched(block.layout.size());
            reserve.give_back(block.start, block.layout.size());
        }
        assert_eq!(reserve.used.load(Ordering::Relaxed), 0, "nothing leaks");
        let all = reserve.take(layout(SIZE, UNIT));
        assert_eq!(all, reserve.start(), "what was given back is one piece again");
    }

    #[test]
    fn what_does_not_fit_is_refused_and_costs_nothing() {
        let reserve = reserve!();
        for layout in [layout(SIZE + 1, 1), layout(isize::MAX as usize - 4096, 1), layout(1, 1 << 40)] {
            assert!(reserve.take(layout).is_null());
        }
        let block = reserve.take(layout(SIZE, 1));
        assert!(!block.is_null());
        assert!(reserve.take(layout(1, 1)).is_null(), "it is used up");
        assert!(!reserve.grow(block, SIZE, SIZE + 1));
        assert!(!reserve.grow(block, SIZE, usize::MAX));
        reserve.give_back(block, SIZE);
        assert_eq!(reserve.used.load(Ordering::Relaxed), 0);
        assert_eq!(reserve.peak.load(Ordering::Relaxed) * UNIT, SIZE);
    }

    #[test]
    fn addresses_outside_are_not_taken_for_its_own() {
        let reserve = reserve!();
        assert!(reserve.holds(reserve.start()));
        assert!(reserve.holds(reserve.start().wrapping_add(SIZE - 1)));
        for outside in [reserve.start().wrapping_add(SIZE), reserve.start().wrapping_sub(1), ptr::null_mut(), Box::into_raw(Box::new(0))] {
            assert!(!reserve.holds(outside));
        }
    }

    #[test]
    fn room_in_a_buffer_is_made_or_refused() {
        let mut buffer = vec![0; 10];
        assert!(try_reserve(&mut buffer, 1_000) && buffer.capacity() >= 1_010);
        assert!(!try_reserve(&mut buffer, isize::MAX as usize), "and this one is not");
        assert_eq!(buffer, [0; 10]);
    }

    /// The allocator itself, with requests that no system can grant and ones that it can.
    #[test]
    fn the_allocator_passes_on_what_the_system_gives_and_moves_what_it_gave_itself() {
        // SAFETY: each block is used within its layout and given back once with the layout that it has then.
        unsafe {
            let huge = layout(isize::MAX as usize - 4096, 8);
            // An optimiser that saw nobody use a block would leave it out.
            assert!(black_box(Allocator.alloc(huge)).is_null() && black_box(Allocator.alloc_zeroed(huge)).is_null());
            let ordinary = Allocator.alloc_zeroed(layout(100, 8));
            assert!(!ordinary.is_null() && !RESERVE.holds(ordinary));
            let ordinary = Allocator.realloc(ordinary, layout(100, 8), 10_000);
            assert!(black_box(Allocator.realloc(ordinary, layout(10_000, 8), huge.size())).is_null());
            Allocator.dealloc(ordinary, layout(10_000, 8));

            let own = RESERVE.take(layout(100, 8));
            own.write_bytes(7, 100);
            let own = Allocator.realloc(own, layout(100, 8), 50);
            assert!(RESERVE.holds(own));
            assert!(black_box(Allocator.realloc(own, layout(50, 8), huge.size())).is_null(), "and it stays what it was");
            let outside = Allocator.realloc(own, layout(50, 8), 1_000);
            assert!(!RESERVE.holds(outside));
            assert_eq!(std::slice::from_raw_parts(outside, 50), [7; 50]);
            assert_eq!((used(), peak()), (0, 2 * UNIT));
            Allocator.dealloc(outside, layout(1_000, 8));

            CLOSED.store(true, Ordering::Relaxed);
            assert!(short(layout(1, 1)).is_null(), "closed");
            CLOSED.store(false, Ordering::Relaxed);
        }
    }
}

//! The argument block a program starts with.

use alloc::vec::Vec;
use core::ffi::CStr;

/// Arguments and environment, as the kernel laid them out on the first stack page.
pub struct Args {
    words: Vec<&'static CStr>,
    environment: Vec<&'static CStr>,
}

impl Args {
    /// Reads the block at the initial stack pointer: argc, argv, null, envp, null.
    ///
    /// # Safety
    /// `stack` must be the stack pointer the kernel started the program with, and the block must stay
    /// unchanged while the program runs.
    pub unsafe fn from_stack(stack: *const usize) -> Args {
        // SAFETY: the caller passes the block the psABI describes, which begins with the count and holds
        // two null-terminated arrays of C strings.
        unsafe {
            let count = *stack;
            let strings = |mut at: *const *const core::ffi::c_char| {
                let mut list = Vec::new();
                while !(*at).is_null() {
                    list.push(CStr::from_ptr(*at));
                    at = at.add(1);
                }
                list
            };
            let argv = stack.add(1);
            let envp = argv.add(count + 1);
            Args { words: strings(argv.cast()), environment: strings(envp.cast()) }
        }
    }

    /// Number of words, the program's name included.
    pub fn len(&self) -> usize {
        self.words.len()
    }

    /// Whether even the name is missing.
    pub fn is_empty(&self) -> bool {
        self.words.is_empty()
    }

    /// Word `index` (0 is the program's name), or "" for a word that is missing or not UTF-8.
    pub fn get(&self, index: usize) -> &'static str {
        self.words.get(index).and_then(|word| word.to_str().ok()).unwrap_or("")
    }

    /// The words after the program's name.
    pub fn rest(&self) -> impl Iterator<Item = &'static str> + '_ {
        self.words.iter().skip(1).filter_map(|word| word.to_str().ok())
    }

    /// The value of an environment variable.
    pub fn var(&self, name: &str) -> Option<&'static str> {
        self.environment.iter().find_map(|entry| {
            let (key, value) = entry.to_str().ok()?.split_once('=')?;
            (key == name).then_some(value)
        })
    }
}

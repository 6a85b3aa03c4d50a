//! How glibc's allocator is set for a process that moves much data. Other allocators do not read this.
//!
//! With an arena for each thread an agent holds 262 MB after two uploads of 1.5 GB, with two arenas 128 MB. And buffers
//! of a megabyte that come and go are taken from memory that stays, up to 16 MiB of it: given back and faulted in anew
//! with each of them they take a tenth of the processor time of a large transfer.

/// See mallopt(3).
const SETTINGS: [(&str, &str); 3] =
    [("MALLOC_ARENA_MAX", "2"), ("MALLOC_TRIM_THRESHOLD_", "16777216"), ("MALLOC_MMAP_THRESHOLD_", "4194304")];

/// The environment variables for a process to be started; what this process was itself started with stays as it is.
pub fn settings() -> impl Iterator<Item = (&'static str, &'static str)> {
    SETTINGS.into_iter().filter(|(name, _)| std::env::var_os(name).is_none())
}

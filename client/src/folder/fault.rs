//! Points in an operation at which a test steps in between. Outside of this crate's own tests they are nothing.

#[cfg(not(test))]
#[inline(always)]
pub(super) fn at(_: &'static str) {}

#[cfg(test)]
pub(super) use hook::{at, during};

#[cfg(test)]
mod hook {
    use std::cell::RefCell;

    type Hook = Box<dyn FnMut(&'static str)>;

    thread_local! {
        static HOOK: RefCell<Option<Hook>> = const { RefCell::new(None) };
    }

    pub(crate) fn at(point: &'static str) {
        HOOK.with_borrow_mut(|hook| {
            if let Some(hook) = hook {
                hook(point);
            }
        });
    }

    /// Runs `work` with `hook` called at every point on this thread.
    pub(crate) fn during<T>(hook: impl FnMut(&'static str) + 'static, work: impl FnOnce() -> T) -> T {
        HOOK.set(Some(Box::new(hook)));
        let result = work();
        HOOK.set(None);
        result
    }
}

//! The parameters of a statement, in the forms in which callers have them.

use super::ToSql;

/// Values for `?1`, `?2` and so on.
pub trait Params {
    /// Hands them over in their order.
    fn with<R>(&self, take: impl FnOnce(&[&dyn ToSql]) -> R) -> R;
}

impl Params for () {
    fn with<R>(&self, take: impl FnOnce(&[&dyn ToSql]) -> R) -> R {
        take(&[])
    }
}

impl Params for &[&dyn ToSql] {
    fn with<R>(&self, take: impl FnOnce(&[&dyn ToSql]) -> R) -> R {
        take(self)
    }
}

impl<T: ToSql, const N: usize> Params for [T; N] {
    fn with<R>(&self, take: impl FnOnce(&[&dyn ToSql]) -> R) -> R {
        take(&self.each_ref().map(|value| value as &dyn ToSql))
    }
}

impl<T: ToSql, const N: usize> Params for &[T; N] {
    fn with<R>(&self, take: impl FnOnce(&[&dyn ToSql]) -> R) -> R {
        (*self).with(take)
    }
}

impl<A: ToSql, B: ToSql> Params for (A, B) {
    fn with<R>(&self, take: impl FnOnce(&[&dyn ToSql]) -> R) -> R {
        take(&[&self.0, &self.1])
    }
}

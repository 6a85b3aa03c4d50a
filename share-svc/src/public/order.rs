//! In which order a folder is listed, and which page of the list is shown; an address says it in its query.

use std::cmp::Ordering;

use crate::desk::{Item, ItemKind};

/// By what a folder is sorted.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Sort {
    Name,
    Size,
    Date,
}

const ASCENDING: &str = "ascending";
const DESCENDING: &str = "descending";

impl Sort {
    fn as_str(self) -> &'static str {
        match self {
            Sort::Name => "name",
            Sort::Size => "size",
            Sort::Date => "date",
        }
    }

    /// The direction that people mostly want: names from A, the largest and the newest first.
    pub(super) fn usual_way(self) -> &'static str {
        if self == Sort::Name { ASCENDING } else { DESCENDING }
    }

    pub(super) fn other_way(self) -> &'static str {
        if self == Sort::Name { DESCENDING } else { ASCENDING }
    }
}

/// How a list is shown.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Order {
    pub(super) by: Sort,
    /// The other way round than [`Sort::usual_way`].
    pub(super) reversed: bool,
    /// From nought.
    pub(super) page: usize,
}

impl Order {
    /// What the query says; by name, from the first page, where it says nothing that is known.
    pub(super) fn of(query: Option<&str>) -> Self {
        let mut order = Order { by: Sort::Name, reversed: false, page: 0 };
        for pair in query.unwrap_or_default().split('&') {
            match pair.split_once('=') {
                Some(("sort", "size")) => order.by = Sort::Size,
                Some(("sort", "date")) => order.by = Sort::Date,
                Some(("reversed", "1")) => order.reversed = true,
                // People count from one.
                Some(("page", number)) => order.page = number.parse::<usize>().unwrap_or(1).saturating_sub(1),
                _ => {}
            }
        }
        order
    }

    /// The query of the list sorted by a column that somebody chose: once more turns it round.
    pub(super) fn clicked(self, by: Sort) -> String {
        Order { by, reversed: self.by == by && !self.reversed, page: 0 }.query()
    }

    /// The query of another page of the same list.
    pub(super) fn at(self, page: usize) -> String {
        Order { page, ..self }.query()
    }

    fn query(self) -> String {
        let mut query = format!("sort={}", self.by.as_str());
        if self.reversed {
            query.push_str("&reversed=1");
        }
        if self.page > 0 {
            query.push_str(&format!("&page={}", self.page + 1));
        }
        query
    }

    pub(super) fn sort(self, items: &mut [Item]) {
        let bytes = |item: &Item| if let ItemKind::File(file) = &item.kind { file.size } else { 0 };
        items.sort_by(|a, b| {
            let usual = match self.by {
                Sort::Name => Ordering::Equal,
                Sort::Size => bytes(b).cmp(&bytes(a)),
                Sort::Date => b.changed.cmp(&a.changed),
            };
            let usual = usual.then_with(|| a.name.cmp(&b.name));
            // Folders stand together, whichever way the rest is turned.
            let folders_first = (a.kind != ItemKind::Folder).cmp(&(b.kind != ItemKind::Folder));
            folders_first.then(if self.reversed { usual.reverse() } else { usual })
        });
    }
}

#[cfg(test)]
mod tests {
    use bytes::Bytes;
    use quics_types::{Digest, Mtime};

    use super::*;
    use crate::desk::File;

    fn names(query: &str) -> Vec<u8> {
        let item = |name: &'static str, size: Option<u64>, seconds: i64| Item {
            name: Bytes::from_static(name.as_bytes()),
            changed: Mtime { seconds, nanos: 0 },
            kind: size.map_or(ItemKind::Folder, |size| {
                ItemKind::File(File { size, executable: false, content: Digest::from_bytes([0; 32]) })
            }),
        };
        let mut items = [item("b", Some(1), 3), item("z", None, 9), item("a", Some(2), 1), item("c", Some(1), 2)];
        Order::of(Some(query)).sort(&mut items);
        items.iter().map(|item| item.name[0]).collect()
    }

    #[test]
    fn lists_are_sorted_by_each_column_both_ways_and_folders_stand_first() {
        assert_eq!(names(""), b"zabc");
        assert_eq!(names("sort=name&reversed=1"), b"zcba");
        assert_eq!(names("sort=size"), b"zabc");
        assert_eq!(names("sort=size&reversed=1"), b"zcba");
        assert_eq!(names("sort=date"), b"zbca");
        assert_eq!(names("sort=nonsense&x&=&sort"), b"zabc");
    }

    #[test]
    fn what_is_chosen_is_what_is_read_back() {
        let order = Order::of(Some("sort=date&page=3"));
        assert_eq!(order, Order { by: Sort::Date, reversed: false, page: 2 });
        assert_eq!(Order::of(Some(&order.at(7))), Order { page: 7, ..order });
        assert_eq!(Order::of(Some(&order.clicked(Sort::Date))), Order { by: Sort::Date, reversed: true, page: 0 });
        assert_eq!(Order::of(Some(&order.clicked(Sort::Size))), Order { by: Sort::Size, reversed: false, page: 0 });
        for page in ["page=0", "page=-1", "page=99999999999999999999999", "page="] {
            assert_eq!(Order::of(Some(page)).page, 0, "{page}");
        }
    }
}

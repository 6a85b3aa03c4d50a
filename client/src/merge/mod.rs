//! Texts side by side: what differs, and what becomes of two changes of one text.

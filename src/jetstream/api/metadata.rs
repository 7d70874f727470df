//! The user's notes on a stream or consumer, and the server's (T-37).

use litemap::LiteMap;

/// Keys and texts, sorted by key. Nearly always there are one to three, for which a list is a tenth of a tree.
pub type Metadata = LiteMap<String, String>;

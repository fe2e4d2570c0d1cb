//! The nouns that there are inventories of.

pub mod event;
pub mod host;
pub mod orphan;
pub mod task;
pub mod vdi;
pub mod vm;

use time::OffsetDateTime;

use crate::schema::Cell;

/// Milliseconds since 1970; nothing for times before.
pub(crate) fn time_cell(time: Option<OffsetDateTime>) -> Cell<'static> {
    let ms = time.and_then(|time| u64::try_from(time.unix_timestamp_nanos() / 1_000_000).ok());
    ms.map_or(Cell::None, Cell::Number)
}

fn time_of(ms: u64) -> Option<OffsetDateTime> {
    OffsetDateTime::from_unix_timestamp_nanos(i128::from(ms) * 1_000_000).ok()
}

fn text_cell(text: Option<&str>) -> Cell<'_> {
    text.filter(|text| !text.is_empty()).map_or(Cell::None, Cell::Text)
}

/// Declares an enum whose values are words: stored, shown and typed as these.
macro_rules! words {
    ($(#[$doc:meta])* $name:ident { $($(#[$variant_doc:meta])* $variant:ident = $word:literal,)* }) => {
        $(#[$doc])*
        #[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, serde::Serialize, serde::Deserialize)]
        pub enum $name {
            $($(#[$variant_doc])* #[serde(rename = $word)] $variant,)*
        }

        impl $name {
            /// All words, in the order of declaration.
            pub const WORDS: &'static [&'static str] = &[$($word),*];

            #[must_use]
            pub const fn as_str(self) -> &'static str {
                match self {
                    $(Self::$variant => $word,)*
                }
            }

            #[must_use]
            pub fn parse(word: &str) -> Option<Self> {
                match word {
                    $($word => Some(Self::$variant),)*
                    _ => None,
                }
            }
        }
    };
}
use words;
